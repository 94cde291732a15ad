"""What a model holds, from its configuration files or header alone. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import (
    ANY_FAMILY,
    FAMILY_BY_TEXT_DIM,
    SD15,
    SDXL,
    Family,
    Prediction,
    SizeInputs,
    family_for,
)
from .config_file import ConfigFile, read_config
from .headers import read_tensor_infos
from .missing_part import AUTOENCODER, TEXT_ENCODER, MissingPart
from .single_file import SCORE_NUMBERS, detect_file_family, read_checkpoint, read_contents
from .text_keys import VOCABULARY_FILES
from .tiny_vae import check_tiny_vae, find_tiny_vae_files

WEIGHT_FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}
# What weights in torch's own form are called in such folders, where there are no safetensors.
OLD_WEIGHTS = {
    "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    "model.safetensors": "pytorch_model.bin",
}
CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
TEXTS = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
WITHOUT_PROJECTION, WITH_PROJECTION = "CLIPTextModel", "CLIPTextModelWithProjection"
# A network with one of these is asked with more than a prompt and sizes.
EXTRA_INPUTS = ("class_embed_type", "num_class_embeds", "encoder_hid_dim")
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
MAX_LEVELS = 8
MIN_POSITIONS = 77


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise schedule that a model was trained with; the fields are ModelSampling's."""

    prediction: Prediction = "eps"
    zsnr: bool = False
    beta_start: float = 0.00085
    beta_end: float = 0.012


def check_checkpoint(path: Path) -> None:
    """Whether a folder or a file has all that a checkpoint needs, in a form that is safe.

    Raises:
        ModelFileError: a part is missing, does not fit the others, is of a kind that is not
            supported, or its weights are damaged.
    """
    if path.is_file():
        read_checkpoint(path)
        return
    family = detect_checkpoint_family(path)
    _check_unet(read_config(path / "unet" / "config.json"), family)
    _check_texts(path, family)
    _check_class("vae", read_config(path / "vae" / "config.json"))
    for part in ("unet", "vae", *(text for text, _ in find_text_folders(path))):
        check_weights(path / part, WEIGHT_FILES[part])


def find_missing_parts(path: Path) -> tuple[MissingPart, ...]:
    """What a checkpoint in one file leaves out; a folder that does is refused.

    Raises:
        ModelFileError: it cannot be read.
    """
    if not path.is_file():
        return ()
    contents = read_checkpoint(path)
    held = {TEXT_ENCODER: bool(contents.text_encoders), AUTOENCODER: contents.vae is not None}
    return tuple(part for part, is_held in held.items() if not is_held)


def check_vae(path: Path) -> None:
    """Whether an autoencoder's folder can be loaded, or the file that holds one.

    Raises:
        ModelFileError: a file is missing, damaged, or holds no autoencoder.
    """
    detect_vae_family(path)
    halves = find_tiny_vae_files(path)
    if halves is not None:
        check_tiny_vae(halves)
    if path.is_file():
        return
    _check_class("vae", read_config(path / "config.json"))
    check_weights(path, WEIGHT_FILES["vae"])


def check_weights(folder: Path, name: str) -> None:
    """Whether a part's weights are there in a file with a sound header.

    Raises:
        ModelFileError: they are not.
    """
    where = f"{folder.parent.name}/{folder.name}"
    file = find_torch_weights(folder) or folder / name
    if not file.is_file():
        raise ModelFileError(f"{where}: expected {name}, it has no weights")
    try:
        read_tensor_infos(file)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from error


def find_torch_weights(folder: Path) -> Path | None:
    """A part's weights in torch's own form, where there are none in safetensors."""
    for name, old in OLD_WEIGHTS.items():
        if (folder / old).is_file() and not (folder / name).is_file():
            return folder / old
    return None


def list_weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder and its parts, sorted."""
    named = (file for name in OLD_WEIGHTS.values() for file in folder.rglob(name))
    old = (file for file in named if find_torch_weights(file.parent) == file)
    return sorted([*folder.rglob("*.safetensors"), *old])


def detect_checkpoint_family(path: Path) -> Family:
    """The family of a checkpoint, in a diffusers folder or in one file.

    Raises:
        ModelFileError: a configuration is missing or unreadable, or the file is no checkpoint.
    """
    if path.is_file():
        return detect_file_family(path)
    unet = read_config(path / "unet" / "config.json")
    family = family_for(unet.read_count("cross_attention_dim"))
    if family.name not in [known.name for known in FAMILY_BY_TEXT_DIM.values()]:
        family = replace(family, size_inputs=_size_inputs(path, unet))
    family = _with_latents(family, read_config(path / "vae" / "config.json"))
    cells = _sample_size(unet, family.native_size // family.vae_factor)
    noise = read_noise_schedule(path)
    return replace(
        family,
        prediction=noise.prediction,
        zsnr=noise.zsnr,
        native_size=cells * family.vae_factor,
        in_channels=unet.read_count("in_channels", family.latent_channels),
    )


def detect_vae_family(path: Path) -> Family:
    """The family of an autoencoder: its checkpoint's where it is part of one.

    An autoencoder in a file of its own does not tell which family it is of; any will do.

    Raises:
        ModelFileError: a configuration is missing or unreadable, or a file holds none.
    """
    halves = find_tiny_vae_files(path)
    if halves is not None:
        return halves.family
    if path.is_file():
        return _vae_file_family(path)
    if (path.parent / "unet" / "config.json").is_file():
        return detect_checkpoint_family(path.parent)
    config = read_config(path / "config.json")
    scale = config.read_positive("scaling_factor", SD15.latent_scale)
    is_sdxl = abs(scale - SDXL.latent_scale) < 1e-4
    family = _with_latents(SDXL if is_sdxl else SD15, config)
    if family.latent_channels == 4:
        return family
    return replace(family, name=f"latent-{family.latent_channels}")


def _vae_file_family(path: Path) -> Family:
    contents = read_contents(path)
    if contents.vae is None:
        raise ModelFileError(f"{path.name} holds no autoencoder")
    config = contents.vae.config
    found = contents.family if contents.unet is not None else None
    return replace(
        found or replace(SD15, name=ANY_FAMILY),
        latent_channels=config["latent_channels"],
        vae_factor=2 ** (len(config["block_out_channels"]) - 1),
    )


def detect_clip_family(paths: tuple[Path, ...]) -> Family:
    """The family of the models that text encoders in files of their own are for.

    Raises:
        ModelFileError: a file holds none, or no family has these together.
    """
    kinds: list[str] = []
    width = 0
    for path in paths:
        texts = read_contents(path).text_encoders
        if not texts:
            raise ModelFileError(f"{path.name} holds no CLIP text encoder")
        kinds += [text.kind for text in texts]
        width += sum(text.width for text in texts)
    names = " and ".join(path.name for path in paths)
    if len({*kinds}) != len(kinds) or (len(paths) > 1 and {*kinds} != {"l", "g"}):
        held = " and ".join(kind.upper() for kind in kinds)
        raise ModelFileError(f"{names} hold CLIP {held}; a model has one L and one G")
    if len(kinds) == 1 or width == SDXL.text_dim:
        return family_for(width)
    return replace(SDXL, name=f"sd-{width}", text_dim=width)


def find_text_folders(path: Path) -> list[tuple[str, str]]:
    """The names of a diffusers folder's text encoders and of their tokenizers.

    Raises:
        ModelFileError: there are none.
    """
    found = [pair for pair in TEXTS if (path / pair[0] / "config.json").is_file()]
    if not found:
        raise ModelFileError(f"{path.name} has no text_encoder/config.json")
    return found


def has_projection(folder: Path) -> bool:
    """Whether a text encoder has a projection for the pooled output.

    Raises:
        ModelFileError: the configuration is unreadable.
    """
    config = read_config(folder / "config.json")
    default = WITH_PROJECTION if folder.name.endswith("_2") else WITHOUT_PROJECTION
    kinds = config.values.get("architectures") or [default]
    if kinds not in ([WITHOUT_PROJECTION], [WITH_PROJECTION]):
        raise config.error("architectures", f"{WITHOUT_PROJECTION} or {WITH_PROJECTION}")
    return bool(kinds == [WITH_PROJECTION])


def read_noise_schedule(path: Path) -> NoiseSchedule:
    """The noise schedule of a diffusers folder; SD1.5's where the folder says nothing.

    Raises:
        ModelFileError: it is one that sampling does not know.
    """
    file = path / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return NoiseSchedule()
    config = read_config(file)
    _check_value(config, "prediction_type", "epsilon", tuple(PREDICTIONS))
    _check_value(config, "beta_schedule", "scaled_linear", ("scaled_linear",))
    _check_value(config, "num_train_timesteps", 1000, (1000,))
    _check_value(config, "trained_betas", None, (None,))
    prediction = PREDICTIONS[config.values.get("prediction_type", "epsilon")]
    zsnr = config.values.get("rescale_betas_zero_snr") is True
    start = config.read_positive("beta_start", NoiseSchedule.beta_start)
    end = config.read_positive("beta_end", NoiseSchedule.beta_end)
    if not start < end < 1:
        raise config.error("beta_end", f"a number between beta_start ({start}) and 1")
    return NoiseSchedule(prediction, zsnr, start, end)


def _with_latents(family: Family, vae: ConfigFile) -> Family:
    """The family with the figures of its autoencoder."""
    levels = vae.read_length("block_out_channels", 4, MAX_LEVELS)
    return replace(
        family,
        latent_channels=vae.read_count("latent_channels", 4),
        latent_scale=vae.read_positive("scaling_factor", family.latent_scale),
        vae_factor=2 ** (levels - 1),
    )


def _sample_size(unet: ConfigFile, default: int) -> int:
    """The larger side in latent cells that a network was trained at."""
    value = unet.values.get("sample_size")
    if not isinstance(value, list):
        return unet.read_count("sample_size", default)
    sides = [ConfigFile(unet.name, {"sample_size": side}) for side in value]
    if not sides:
        raise unet.error("sample_size", "one or two sides")
    return max(side.read_count("sample_size") for side in sides)


def _check_unet(unet: ConfigFile, family: Family) -> None:
    _check_class("unet", unet)
    for key in EXTRA_INPUTS:
        if unet.values.get(key) is not None:
            raise unet.error(key, "null (no model that is asked with such inputs)")
    expected = None if family.size_inputs == "none" else "text_time"
    _check_value(unet, "addition_embed_type", None, (expected,))
    plain = family.latent_channels
    if family.in_channels not in (plain, 2 * plain, 2 * plain + 1):
        expected = (
            f"{plain}, the channels of its latents, {2 * plain} for editing "
            f"or {2 * plain + 1} for inpainting"
        )
        raise unet.error("in_channels", expected)


def _size_inputs(path: Path, unet: ConfigFile) -> SizeInputs:
    """What a network of no known family is told, from what its vector has beside the pooled."""
    if unet.values.get("addition_embed_type") is None:
        return "none"
    vector = unet.read_count("projection_class_embeddings_input_dim")
    step = unet.read_count("addition_time_embed_dim")
    pooled = read_config(path / find_text_folders(path)[-1][0] / "config.json").read_count(
        "hidden_size", 512
    )
    return "score" if vector - pooled == SCORE_NUMBERS * step else "sizes"


def _check_texts(path: Path, family: Family) -> None:
    width = 0
    for name, words in find_text_folders(path):
        config = read_config(path / name / "config.json")
        has_projection(path / name)
        width += config.read_count("hidden_size", 512)
        if config.read_count("max_position_embeddings", MIN_POSITIONS) < MIN_POSITIONS:
            raise config.error("max_position_embeddings", f"at least {MIN_POSITIONS}")
        lacking = [word for word in VOCABULARY_FILES if not (path / words / word).is_file()]
        if lacking:
            raise ModelFileError(f"{path.name}/{words} lacks {' and '.join(lacking)}")
    if width != family.text_dim:
        others = f"{family.text_dim} in all, the cross_attention_dim of the unet"
        raise config.error("hidden_size", others)


def _check_class(part: str, config: ConfigFile) -> None:
    _check_value(config, "_class_name", CLASSES[part], (CLASSES[part],))


def _check_value(
    config: ConfigFile, key: str, default: object, allowed: tuple[object, ...]
) -> None:
    value = config.values.get(key, default)
    if isinstance(value, bool) or value not in allowed:
        raise config.error(key, " or ".join(map(str, allowed)))
