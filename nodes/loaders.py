"""Loaders of checkpoints and VAEs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from latentloom.engine.node.spec import Unavailable, node

from .checks import as_input_error
from .ports import CheckpointFile, Clip, DiffusersFolder, Model, Vae, VaeFile

MODEL = "a complete model"


class CheckpointOutputs(NamedTuple):
    """The outputs of the checkpoint loaders."""

    MODEL: Model
    CLIP: Clip
    VAE: Vae


@node("CheckpointLoaderSimple", category="model/loaders", device=True)
class CheckpointLoaderSimple:
    """Load a checkpoint: its diffusion model, text encoder and VAE.

    Args:
        ckpt_name: an installed checkpoint; `latentloom models` lists them.

    Raises:
        InputError: the checkpoint is incomplete, damaged, or unsafe to load.

    Source: ComfyUI's CheckpointLoaderSimple.
    """

    @staticmethod
    def run(ckpt_name: CheckpointFile) -> CheckpointOutputs:
        from latentloom.diffusion.networks.load import load_checkpoint

        with as_input_error("ckpt_name", MODEL):
            return CheckpointOutputs(*load_checkpoint(ckpt_name))

    @staticmethod
    def check(ckpt_name: Path) -> None:
        from latentloom.diffusion.weights.detect import check_checkpoint

        with as_input_error("ckpt_name", MODEL):
            check_checkpoint(ckpt_name)

    @staticmethod
    def family(ckpt_name: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_checkpoint_family

        with as_input_error("ckpt_name", MODEL):
            return detect_checkpoint_family(ckpt_name).name

    @staticmethod
    def unavailable(ckpt_name: Path) -> Mapping[str, Unavailable]:
        from latentloom.diffusion.weights.detect import find_missing_parts
        from latentloom.diffusion.weights.missing_part import TEXT_ENCODER

        with as_input_error("ckpt_name", MODEL):
            return {
                "CLIP" if part is TEXT_ENCODER else "VAE": Unavailable(
                    part.describe(ckpt_name), part.hint
                )
                for part in find_missing_parts(ckpt_name)
            }


@node("DiffusersLoader", category="model/loaders", device=True)
class DiffusersLoader:
    """Load a checkpoint in the diffusers layout, from `models/diffusers`.

    Args:
        model_path: an installed folder. CheckpointLoaderSimple loads such folders too.

    Raises:
        InputError: the checkpoint is incomplete, damaged, or unsafe to load.

    Source: ComfyUI's DiffusersLoader.
    """

    @staticmethod
    def run(model_path: DiffusersFolder) -> CheckpointOutputs:
        from latentloom.diffusion.networks.load import load_checkpoint

        with as_input_error("model_path", MODEL):
            return CheckpointOutputs(*load_checkpoint(model_path))

    @staticmethod
    def check(model_path: Path) -> None:
        from latentloom.diffusion.weights.detect import check_checkpoint

        with as_input_error("model_path", MODEL):
            check_checkpoint(model_path)

    @staticmethod
    def family(model_path: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_checkpoint_family

        with as_input_error("model_path", MODEL):
            return detect_checkpoint_family(model_path).name


@node("VAELoader", category="model/loaders", device=True)
class VAELoader:
    """Load a VAE.

    Args:
        vae_name: an installed VAE. A checkpoint's name loads its VAE; taesd and taesdxl load the
            tiny autoencoders whose encoder and decoder files are in `models/vae_approx`.

    Raises:
        InputError: the VAE is damaged or unsafe to load.

    Source: ComfyUI's VAELoader.
    """

    @staticmethod
    def run(vae_name: VaeFile) -> Vae:
        from latentloom.diffusion.networks.load import load_vae

        with as_input_error("vae_name", MODEL):
            return load_vae(vae_name)

    @staticmethod
    def check(vae_name: Path) -> None:
        from latentloom.diffusion.weights.detect import check_vae

        with as_input_error("vae_name", MODEL):
            check_vae(vae_name)

    @staticmethod
    def reads(vae_name: Path | None) -> Mapping[str, Path]:
        """Return the decoder file of an autoencoder that is stored in two files."""
        from latentloom.diffusion.weights.tiny_vae import find_tiny_vae_files

        files = find_tiny_vae_files(vae_name) if vae_name is not None else None
        return {} if files is None else {"decoder": files.decoder}

    @staticmethod
    def family(vae_name: Path) -> str:
        from latentloom.diffusion.weights.detect import detect_vae_family

        with as_input_error("vae_name", MODEL):
            return detect_vae_family(vae_name).name
