"""Loaders of diffusion models in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Model, UnetFile

WeightType = Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
UNET = "a file with a diffusion model"


@node("UNETLoader", category="model/loaders", device=True)
class UNETLoader:
    """Load a diffusion model from `models/diffusion_models` or `models/unet`.

    Args:
        unet_name: an installed file, with the original key names or those of diffusers.
        weight_dtype: fp8 rounds the weights to 8 bits; computation keeps its precision.

    Raises:
        InputError: the file is damaged, or does not contain a diffusion model.

    Source: ComfyUI's UNETLoader.
    """

    @staticmethod
    def run(unet_name: UnetFile, weight_dtype: WeightType = "default") -> Model:
        from latentloom.diffusion.networks.load import load_unet

        with as_input_error("unet_name", UNET):
            return load_unet(unet_name, weight_dtype.removesuffix("_fast"))

    @staticmethod
    def check(unet_name: Path) -> None:
        from latentloom.diffusion.weights.detect import check_unet_file

        with as_input_error("unet_name", UNET):
            check_unet_file(unet_name)

    @staticmethod
    def family(unet_name: Path) -> str:
        from latentloom.diffusion.weights.single_file import detect_file_family

        with as_input_error("unet_name", UNET):
            return detect_file_family(unet_name).name
