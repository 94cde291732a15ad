"""Detect what a model is from its configuration files or headers alone. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import Family, Prediction, SizeInputs
from ..families.other_unet import SCORE_NUMBERS
from ..families.stored import ParameterSizes, StoredNetwork
from ..families.table import (
    VIDEO_AUTOENCODER,
    autoencoder_family,
    family_for,
    is_known,
    scaled_space,
)
from ..families.unet import unet_family, with_in_channels
from .config_file import ConfigFile, read_config
from .folder_parameters import check_folder_parameters
from .headers import read_tensor_infos
from .language_keys import language_sizes, t5_sizes
from .missing_part import AUTOENCODER, TEXT_ENCODER, MissingPart
from .parameters import (
    check_parameters,
    projected_text_sizes,
    text_sizes,
    vae_sizes,
)
from .single_file import (
    ModelContents,
    detect_file_family,
    read_checkpoint,
    read_contents,
)
from .text_keys import VOCABULARY_FILES
from .tiny_vae import check_tiny_vae, find_tiny_vae_files
from .video_vae_keys import video_vae_sizes

WEIGHT_FILES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}
# Names in torch format of these files, which older folders have in their place.
TORCH_WEIGHT_FILES = {
    "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin",
    "model.safetensors": "pytorch_model.bin",
}
CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
TEXT_FOLDERS = (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
WITHOUT_PROJECTION, WITH_PROJECTION = "CLIPTextModel", "CLIPTextModelWithProjection"
# Settings of networks that take more conditioning than a prompt and sizes.
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
    """Check that a folder or a file has all parts of a checkpoint, in safe formats.

    Raises:
        ModelFileError: a part is missing, damaged or not supported, or does not fit the others.
    """
    if path.is_file():
        check_unet_file(path)
        contents = read_checkpoint(path)
        check_text_parameters(path, contents)
        if contents.vae is not None:
            check_vae_parameters(path, contents.vae)
        return
    family = detect_checkpoint_family(path)
    _check_unet(read_config(path / "unet" / "config.json"), family)
    _check_text_encoders(path, family)
    _check_class("vae", read_config(path / "vae" / "config.json"))
    for name in ("unet", "vae", *(text_encoder for text_encoder, _ in find_text_folders(path))):
        check_weights(path / name, WEIGHT_FILES[name])


def check_unet_file(path: Path) -> None:
    """Check that a file has a denoising network that can be loaded.

    Raises:
        ModelFileError: it has none, or one that lacks weights or has others.
    """
    contents = read_checkpoint(path)
    unet = contents.unet
    assert unet is not None
    assert contents.family is not None
    check_parameters(path, unet, contents.family.architecture.sizes)


def check_text_parameters(path: Path, contents: ModelContents) -> None:
    """Check that the text encoders of a file have all their weights, and no others.

    Raises:
        ModelFileError: a weight is missing, unknown or of another size.
    """
    for encoder in contents.text_encoders:
        sizes: ParameterSizes = projected_text_sizes if encoder.has_projection else text_sizes
        if not encoder.is_clip:
            sizes = t5_sizes if encoder.kind == "t5xxl" else language_sizes
        check_parameters(path, encoder.network, sizes)


def find_missing_parts(path: Path) -> tuple[MissingPart, ...]:
    """Return the networks that a checkpoint in one file leaves out; none for a folder.

    Raises:
        ModelFileError: it cannot be read.
    """
    if not path.is_file():
        return ()
    contents = read_checkpoint(path)
    parts = {TEXT_ENCODER: contents.text_encoders, AUTOENCODER: contents.vae}
    return tuple(part for part, network in parts.items() if not network)


def check_vae(path: Path) -> None:
    """Check that the folder or the file of an autoencoder can be loaded.

    Raises:
        ModelFileError: a file is missing, damaged, or holds no autoencoder.
    """
    detect_vae_family(path)
    tiny_vae = find_tiny_vae_files(path)
    if tiny_vae is not None:
        check_tiny_vae(tiny_vae)
        return
    if path.is_file():
        vae = read_contents(path).vae
        assert vae is not None
        check_vae_parameters(path, vae)
        return
    _check_class("vae", read_config(path / "config.json"))
    check_weights(path, WEIGHT_FILES["vae"])


def check_vae_parameters(path: Path, vae: StoredNetwork) -> None:
    """Check that the autoencoder of a file has all its weights, and no others.

    Raises:
        ModelFileError: a weight is missing, unknown or of another size.
    """
    check_parameters(path, vae, video_vae_sizes if vae.class_name else vae_sizes)


def check_weights(folder: Path, name: str) -> None:
    """Check that a network's folder has a weight file with a valid header.

    Raises:
        ModelFileError: it has none, or its configuration has more layers than it has tensors.
    """
    label = f"{folder.parent.name}/{folder.name}"
    file = find_torch_weights(folder) or folder / name
    if not file.is_file():
        raise ModelFileError(f"{label}: expected {name}, got a folder without weights")
    try:
        infos = read_tensor_infos(file)
    except ModelFileError as error:
        raise ModelFileError(f"{label}: {error}") from error
    if (folder / "config.json").is_file():
        read_config(folder / "config.json").check_layers(len(infos))
        check_folder_parameters(folder, file)


def find_torch_weights(folder: Path) -> Path | None:
    """Return the weight file in torch format of a folder that has none in safetensors."""
    for name, torch_name in TORCH_WEIGHT_FILES.items():
        if (folder / torch_name).is_file() and not (folder / name).is_file():
            return folder / torch_name
    return None


def list_weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder and its subfolders, sorted."""
    candidates = (file for name in TORCH_WEIGHT_FILES.values() for file in folder.rglob(name))
    torch_files = (file for file in candidates if find_torch_weights(file.parent) == file)
    return sorted([*folder.rglob("*.safetensors"), *torch_files])


def detect_checkpoint_family(path: Path) -> Family:
    """Return the family of a checkpoint, in a diffusers folder or in one file.

    Raises:
        ModelFileError: a configuration is missing or unreadable, or the file is not a checkpoint.
    """
    if path.is_file():
        return detect_file_family(path)
    unet = read_config(path / "unet" / "config.json")
    family = family_for(unet.read_count("cross_attention_dim"))
    if not is_known(family):
        family = replace(family, size_inputs=_size_inputs(path, unet))
    family = _with_latents(family, read_config(path / "vae" / "config.json"))
    cells = _sample_size(unet, family.native_size // family.vae_factor)
    schedule = read_noise_schedule(path)
    family = with_in_channels(family, unet.read_count("in_channels", family.latent_channels))
    return replace(
        family,
        prediction=schedule.prediction,
        zsnr=schedule.zsnr,
        native_size=cells * family.vae_factor,
    )


def detect_vae_family(path: Path) -> Family:
    """Return the family of an autoencoder: that of the checkpoint that it is part of, if any.

    The keys of an autoencoder in a separate file do not say its family; it is named after the
    layout of its latents.

    Raises:
        ModelFileError: a configuration is missing or unreadable, or a file holds none.
    """
    tiny_vae = find_tiny_vae_files(path)
    if tiny_vae is not None:
        return tiny_vae.family
    if path.is_file():
        return _vae_file_family(path)
    if (path.parent / "unet" / "config.json").is_file():
        return detect_checkpoint_family(path.parent)
    config = read_config(path / "config.json")
    scale = config.read_positive("scaling_factor", scaled_space(0.0).read_scale())
    space = scaled_space(scale)
    family = _with_latents(unet_family(space.name, space=space), config)
    if family.latent_channels == space.channels:
        return family
    return autoencoder_family(family.latent_channels, family.vae_factor)


def _vae_file_family(path: Path) -> Family:
    contents = read_contents(path)
    if contents.vae is None:
        raise ModelFileError(f"{path.name} holds no autoencoder")
    config = contents.vae.config
    if contents.vae.class_name:
        return VIDEO_AUTOENCODER
    channels, cell_px = config["latent_channels"], 2 ** (len(config["block_out_channels"]) - 1)
    if contents.unet is None or contents.family is None:
        return autoencoder_family(channels, cell_px)
    space = replace(contents.family.space, channels=channels, cell_px=cell_px)
    return replace(contents.family, space=space)


def find_text_folders(path: Path) -> list[tuple[str, str]]:
    """Return the subfolders of a diffusers folder's text encoders and of their tokenizers.

    Raises:
        ModelFileError: there are none.
    """
    pairs = [pair for pair in TEXT_FOLDERS if (path / pair[0] / "config.json").is_file()]
    if not pairs:
        raise ModelFileError(f"{path.name} has no text_encoder/config.json")
    return pairs


def has_projection(folder: Path) -> bool:
    """Return True for a text encoder with a projection of its pooled output.

    Raises:
        ModelFileError: the configuration is unreadable.
    """
    config = read_config(folder / "config.json")
    default = WITH_PROJECTION if folder.name.endswith("_2") else WITHOUT_PROJECTION
    architectures = config.values.get("architectures") or [default]
    if architectures not in ([WITHOUT_PROJECTION], [WITH_PROJECTION]):
        raise config.error("architectures", f"{WITHOUT_PROJECTION} or {WITH_PROJECTION}")
    return bool(architectures == [WITH_PROJECTION])


def read_noise_schedule(path: Path) -> NoiseSchedule:
    """Return the noise schedule of a diffusers folder; without a scheduler, that of SD1.5.

    Raises:
        ModelFileError: the schedule is not supported.
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
    """Return the family with the latent space of its autoencoder."""
    levels = vae.read_length("block_out_channels", 4, MAX_LEVELS)
    space = replace(
        family.space,
        channels=vae.read_count("latent_channels", 4),
        scale=vae.read_positive("scaling_factor", family.space.read_scale()),
        cell_px=2 ** (levels - 1),
    )
    return replace(family, space=space)


def _sample_size(unet: ConfigFile, default: int) -> int:
    """Return the larger side, in latent cells, of the size that a network was trained at."""
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
            raise unet.error(key, "null (models with this input are not supported)")
    embed_type = None if family.size_inputs == "none" else "text_time"
    _check_value(unet, "addition_embed_type", None, (embed_type,))
    channels = family.latent_channels
    if family.in_channels not in (channels, 2 * channels, 2 * channels + 1):
        expected = (
            f"{channels} (the channels of its latents), {2 * channels} (editing) "
            f"or {2 * channels + 1} (inpainting)"
        )
        raise unet.error("in_channels", expected)


def _size_inputs(path: Path, unet: ConfigFile) -> SizeInputs:
    """Return the extra conditioning of an unknown family, from the width of its input vector."""
    if unet.values.get("addition_embed_type") is None:
        return "none"
    width = unet.read_count("projection_class_embeddings_input_dim")
    size_dim = unet.read_count("addition_time_embed_dim")
    text_encoder, _ = find_text_folders(path)[-1]
    pooled = read_config(path / text_encoder / "config.json").read_count("hidden_size", 512)
    return "score" if width - pooled == SCORE_NUMBERS * size_dim else "sizes"


def _check_text_encoders(path: Path, family: Family) -> None:
    width = 0
    for name, tokenizer in find_text_folders(path):
        config = read_config(path / name / "config.json")
        has_projection(path / name)  # raises if its class is not supported
        width += config.read_count("hidden_size", 512)
        if config.read_count("max_position_embeddings", MIN_POSITIONS) < MIN_POSITIONS:
            raise config.error("max_position_embeddings", f"at least {MIN_POSITIONS}")
        missing = [file for file in VOCABULARY_FILES if not (path / tokenizer / file).is_file()]
        if missing:
            raise ModelFileError(f"{path.name}/{tokenizer} lacks {' and '.join(missing)}")
    if width != family.text_dim:
        expected = f"{family.text_dim} in total, the cross_attention_dim of the unet"
        raise config.error("hidden_size", expected)


def _check_class(part: str, config: ConfigFile) -> None:
    _check_value(config, "_class_name", CLASSES[part], (CLASSES[part],))


def _check_value(
    config: ConfigFile, key: str, default: object, allowed: tuple[object, ...]
) -> None:
    value = config.values.get(key, default)
    if isinstance(value, bool) or value not in allowed:
        raise config.error(key, " or ".join(map(str, allowed)))
