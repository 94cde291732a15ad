"""LoRAs: small files of weight changes, applied to a model just before use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Clip, LoraFile, Model

LoraStrength = Annotated[float, Between(-100.0, 100.0, step=0.01)]
LORA = "a LoRA that fits the model"


class ModelAndClip(NamedTuple):
    """The outputs of LoraLoader."""

    MODEL: Model
    CLIP: Clip


@node("LoraLoader", category="model/loaders")
class LoraLoader:
    """Apply a LoRA to a model and its text encoder.

    Chained LoRAs add up. The loaded weights are not modified.

    Args:
        model: a model of the LoRA's family.
        clip: its text encoder.
        lora_name: an installed LoRA, LoCon, LoHa, LoKr, DoRA, OFT or GLoRA file, with the key
            names of kohya, diffusers or PEFT.
        strength_model: strength on the model; 0 is off, negative values invert the effect.
        strength_clip: strength on the text encoder.

    Raises:
        InputError: the file is damaged or unsafe to load, or none of its keys fit the model.

    Source: ComfyUI's LoraLoader.
    """

    @staticmethod
    def run(
        model: Model,
        clip: Clip,
        lora_name: LoraFile,
        strength_model: LoraStrength = 1.0,
        strength_clip: LoraStrength = 1.0,
    ) -> ModelAndClip:
        from latentloom.diffusion.networks.lora import with_clip_lora, with_lora

        with as_input_error("lora_name", LORA):
            return ModelAndClip(
                with_lora(model, lora_name, strength_model),
                with_clip_lora(clip, lora_name, strength_clip),
            )

    @staticmethod
    def check(lora_name: Path) -> None:
        _check(lora_name)

    @staticmethod
    def family(lora_name: Path) -> str | None:
        return _family(lora_name)


@node("LoraLoaderModelOnly", category="model/loaders")
class LoraLoaderModelOnly:
    """Apply a LoRA to a model, but not to its text encoder.

    Args:
        model: a model of the LoRA's family.
        lora_name: an installed LoRA.
        strength_model: strength on the model; 0 is off, negative values invert the effect.

    Raises:
        InputError: the file is damaged or unsafe to load, or none of its keys fit the model.

    Source: ComfyUI's LoraLoaderModelOnly.
    """

    @staticmethod
    def run(model: Model, lora_name: LoraFile, strength_model: LoraStrength = 1.0) -> Model:
        from latentloom.diffusion.networks.lora import with_lora

        with as_input_error("lora_name", LORA):
            return with_lora(model, lora_name, strength_model)

    @staticmethod
    def check(lora_name: Path) -> None:
        _check(lora_name)

    @staticmethod
    def family(lora_name: Path) -> str | None:
        return _family(lora_name)


def _check(path: Path) -> None:
    from latentloom.diffusion.weights.lora_file import check_lora

    with as_input_error("lora_name", LORA):
        check_lora(path)


def _family(path: Path) -> str | None:
    from latentloom.diffusion.weights.lora_file import detect_lora_family

    with as_input_error("lora_name", LORA):
        return detect_lora_family(path)
