"""What a model holds, from its configuration files or header alone. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .config_file import ConfigFile, read_config
from .errors import ModelFileError
from .families import Family, Prediction, family_for
from .headers import read_heads
from .single_file import file_family, read_checkpoint
from .tokenizers import VOCABULARY

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
# A network with one of these is asked with more than a prompt.
EXTRA_INPUTS = ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim")
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
MOST_LEVELS = 8
POSITIONS = 77


@dataclass(frozen=True)
class NoiseTable:
    """The noise schedule that a model was trained with; the fields are ModelSampling's."""

    prediction: Prediction = "eps"
    zsnr: bool = False
    beta_start: float = 0.00085
    beta_end: float = 0.012


def check_checkpoint(path: Path) -> None:
    """Whether a folder or a file has all that a checkpoint needs, in a form that is safe.

    Raises:
        ModelFileError: a part is missing, does not fit the others, is of a kind that is not
            supported, or its weights are not safetensors.
    """
    if path.is_file():
        read_checkpoint(path)
        return
    family = checkpoint_family(path)
    _check_unet(read_config(path / "unet" / "config.json"), family)
    _check_text_encoder(read_config(path / "text_encoder" / "config.json"), family)
    _check_class("vae", read_config(path / "vae" / "config.json"))
    for part, name in WEIGHTS.items():
        check_weights(path / part, name)
    lacking = [name for name in VOCABULARY if not (path / "tokenizer" / name).is_file()]
    if lacking:
        raise ModelFileError(f"{path.name}/tokenizer lacks {' and '.join(lacking)}")


def check_vae(path: Path) -> None:
    """Whether an autoencoder's folder can be loaded.

    Raises:
        ModelFileError: a file is missing, or its weights are not safetensors.
    """
    vae_family(path)
    _check_class("vae", read_config(path / "config.json"))
    check_weights(path, WEIGHTS["vae"])


def check_weights(folder: Path, name: str) -> None:
    """Whether a part's weights are there as safetensors with a sound header.

    Raises:
        ModelFileError: they are not.
    """
    file, where = folder / name, f"{folder.parent.name}/{folder.name}"
    if not file.is_file():
        others = sorted(found.name for found in folder.glob("*.bin"))
        why = f"only {others[0]}, which may run code when loaded" if others else "no weights"
        raise ModelFileError(f"{where} wants {name}, has {why}")
    try:
        read_heads(file)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from error


def checkpoint_family(path: Path) -> Family:
    """The family of a checkpoint, in a diffusers folder or in one file.

    Raises:
        ModelFileError: a configuration is missing or unreadable, or the file is no checkpoint.
    """
    if path.is_file():
        return file_family(path)
    unet = read_config(path / "unet" / "config.json")
    family = family_for(unet.count("cross_attention_dim"))
    family = _with_latents(family, read_config(path / "vae" / "config.json"))
    cells = _sample_size(unet, family.native_size // family.vae_factor)
    return replace(
        family,
        prediction=noise_table(path).prediction,
        native_size=cells * family.vae_factor,
    )


def vae_family(path: Path) -> Family:
    """The family of an autoencoder's folder: its checkpoint's where it is part of one.

    Raises:
        ModelFileError: a configuration is missing or unreadable.
    """
    if (path.parent / "unet" / "config.json").is_file():
        return checkpoint_family(path.parent)
    config = read_config(path / "config.json")
    is_sdxl = abs(config.positive("scaling_factor", 0.18215) - 0.13025) < 1e-4
    family = _with_latents(family_for(2048 if is_sdxl else 768), config)
    if family.latent_channels == 4:
        return family
    return replace(family, name=f"latent-{family.latent_channels}")


def noise_table(path: Path) -> NoiseTable:
    """The noise schedule of a diffusers folder; SD1.5's where the folder says nothing.

    Raises:
        ModelFileError: it is one that sampling does not know.
    """
    file = path / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return NoiseTable()
    config = read_config(file)
    _check_value(config, "prediction_type", "epsilon", tuple(PREDICTIONS))
    _check_value(config, "beta_schedule", "scaled_linear", ("scaled_linear",))
    _check_value(config, "num_train_timesteps", 1000, (1000,))
    _check_value(config, "trained_betas", None, (None,))
    prediction = PREDICTIONS[config.values.get("prediction_type", "epsilon")]
    zsnr = config.values.get("rescale_betas_zero_snr") is True
    start = config.positive("beta_start", NoiseTable.beta_start)
    end = config.positive("beta_end", NoiseTable.beta_end)
    if not start < end < 1:
        raise config.wrong("beta_end", f"a number between beta_start ({start}) and 1")
    return NoiseTable(prediction, zsnr, start, end)


def _with_latents(family: Family, vae: ConfigFile) -> Family:
    """The family with the figures of its autoencoder."""
    levels = vae.length("block_out_channels", 4, MOST_LEVELS)
    return replace(
        family,
        latent_channels=vae.count("latent_channels", 4),
        latent_scale=vae.positive("scaling_factor", family.latent_scale),
        vae_factor=2 ** (levels - 1),
    )


def _sample_size(unet: ConfigFile, default: int) -> int:
    """The larger side in latent cells that a network was trained at."""
    value = unet.values.get("sample_size")
    if not isinstance(value, list):
        return unet.count("sample_size", default)
    sides = [ConfigFile(unet.name, {"sample_size": side}) for side in value]
    if not sides:
        raise unet.wrong("sample_size", "one or two sides")
    return max(side.count("sample_size") for side in sides)


def _check_unet(unet: ConfigFile, family: Family) -> None:
    _check_class("unet", unet)
    for key in EXTRA_INPUTS:
        if unet.values.get(key) is not None:
            raise unet.wrong(key, "null (a model that is asked with a prompt alone; no other yet)")
    plain = family.latent_channels
    if unet.count("in_channels", 4) not in (plain, 2 * plain + 1):
        wanted = f"{plain}, the channels of its latents, or {2 * plain + 1} for inpainting"
        raise unet.wrong("in_channels", wanted)


def _check_text_encoder(config: ConfigFile, family: Family) -> None:
    kinds = config.values.get("architectures") or ["CLIPTextModel"]
    if kinds != ["CLIPTextModel"]:
        raise config.wrong("architectures", "CLIPTextModel")
    if config.count("hidden_size", 512) != family.text_dim:
        raise config.wrong("hidden_size", f"{family.text_dim}, the cross_attention_dim of the unet")
    if config.count("max_position_embeddings", POSITIONS) < POSITIONS:
        raise config.wrong("max_position_embeddings", f"at least {POSITIONS}")


def _check_class(part: str, config: ConfigFile) -> None:
    _check_value(config, "_class_name", CLASSES[part], (CLASSES[part],))


def _check_value(
    config: ConfigFile, key: str, default: object, allowed: tuple[object, ...]
) -> None:
    value = config.values.get(key, default)
    if isinstance(value, bool) or value not in allowed:
        raise config.wrong(key, " or ".join(map(str, allowed)))
