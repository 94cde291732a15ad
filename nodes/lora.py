"""LoRAs: small files that change a model, put on it just before use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, LoraFile, Model

LoraStrength = Annotated[float, Between(-100.0, 100.0, step=0.01)]
WHOLE = "a whole LoRA that fits the model"


class LoraPatched(NamedTuple):
    """The outputs of LoraLoader."""

    MODEL: Model
    CLIP: Clip


@node("LoraLoader", category="loaders")
class LoraLoader:
    """Change a model and its text encoder by a LoRA.

    Several in a row add up in their order. The loaded model itself stays as it is.

    Args:
        model: the model; of the family that the LoRA was made for.
        clip: its text encoder.
        lora_name: name of an installed LoRA: kohya's, diffusers' or PEFT's names of layers;
            LoRA, LoCon, LoHa, LoKr, DoRA, OFT or GLoRA.
        strength_model: how much of it changes the model; 0 is none, below 0 the opposite.
        strength_clip: how much of it changes the text encoder.

    Raises:
        InputError: the file is damaged, not safe to load, or nothing in it fits.

    Source: ComfyUI's LoraLoader.
    """

    @staticmethod
    def run(
        model: Model,
        clip: Clip,
        lora_name: LoraFile,
        strength_model: LoraStrength = 1.0,
        strength_clip: LoraStrength = 1.0,
    ) -> LoraPatched:
        from latentloom.diffusion.networks.lora import with_clip_lora, with_lora

        with as_input_error("lora_name", WHOLE):
            return LoraPatched(
                with_lora(model, lora_name, strength_model),
                with_clip_lora(clip, lora_name, strength_clip),
            )

    @staticmethod
    def check(lora_name: Path) -> None:
        _check(lora_name)

    @staticmethod
    def family(lora_name: Path) -> str | None:
        return _family(lora_name)


@node("LoraLoaderModelOnly", category="loaders")
class LoraLoaderModelOnly:
    """Change a model by a LoRA, and leave its text encoder.

    Args:
        model: the model; of the family that the LoRA was made for.
        lora_name: name of an installed LoRA.
        strength_model: how much of it changes the model; 0 is none, below 0 the opposite.

    Raises:
        InputError: the file is damaged, not safe to load, or nothing in it fits.

    Source: ComfyUI's LoraLoaderModelOnly.
    """

    @staticmethod
    def run(model: Model, lora_name: LoraFile, strength_model: LoraStrength = 1.0) -> Model:
        from latentloom.diffusion.networks.lora import with_lora

        with as_input_error("lora_name", WHOLE):
            return with_lora(model, lora_name, strength_model)

    @staticmethod
    def check(lora_name: Path) -> None:
        _check(lora_name)

    @staticmethod
    def family(lora_name: Path) -> str | None:
        return _family(lora_name)


def _check(path: Path) -> None:
    from latentloom.diffusion.weights.lora_file import check_lora

    with as_input_error("lora_name", WHOLE):
        check_lora(path)


def _family(path: Path) -> str | None:
    from latentloom.diffusion.weights.lora_file import detect_lora_family

    with as_input_error("lora_name", WHOLE):
        return detect_lora_family(path)
