"""Loading models: a diffusers folder into handles. Only safetensors, only local files."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import torch

from . import devices
from .detect import check_checkpoint, check_vae, checkpoint_family, vae_family
from .digest import content_digest
from .errors import ModelFileError
from .handles import Clip, Model, TextWeights, UNetWeights, Vae, VaeWeights, Weights
from .model_sampling import ModelSampling
from .single_file import Part, read_checkpoint, text_part, unet_part, vae_part
from .tokenizers import clip_l, from_folder

W = TypeVar("W", bound=Weights)

_loaded: WeakValueDictionary[tuple[str, str], Weights] = WeakValueDictionary()
_lock = threading.RLock()


class Checkpoint(NamedTuple):
    """The three parts of a checkpoint."""

    model: Model
    clip: Clip
    vae: Vae


def load_checkpoint(path: Path) -> Checkpoint:
    """The parts of a diffusers folder or a single file; weights in use already are shared.

    Raises:
        ModelFileError: it is incomplete, unsafe, damaged, or of an unknown family.
    """
    check_checkpoint(path)
    if path.is_file():
        return _single_file(path)
    family = checkpoint_family(path)
    model = Model(_unet(path), family, ModelSampling(family.prediction))
    return Checkpoint(model, Clip(_text_encoder(path), family), load_vae(path / "vae"))


def load_vae(path: Path) -> Vae:
    """The autoencoder of a diffusers folder.

    Raises:
        ModelFileError: the folder is incomplete, unsafe or damaged.
    """
    check_vae(path)

    def make(digest: str) -> VaeWeights:
        from diffusers import AutoencoderKL

        module = _from_folder(AutoencoderKL, path, devices.vae_dtype())
        return VaeWeights(module, digest)

    return Vae(_shared("vae", path, make), vae_family(path))


def _unet(path: Path) -> UNetWeights:
    def make(digest: str) -> UNetWeights:
        from diffusers import UNet2DConditionModel

        module = _from_folder(UNet2DConditionModel, path / "unet", devices.network_dtype())
        return UNetWeights(module, digest)

    return _shared("unet", path / "unet", make)


def _text_encoder(path: Path) -> TextWeights:
    def make(digest: str) -> TextWeights:
        from transformers import CLIPTextModel

        module = _from_folder(CLIPTextModel, path / "text_encoder", torch.float32)
        folder = path / "tokenizer"
        return TextWeights(module, f"{digest}{content_digest(folder)}", from_folder(folder))

    return _shared("text_encoder", path / "text_encoder", make)


def _single_file(path: Path) -> Checkpoint:
    heads = read_checkpoint(path)
    family = checkpoint_family(path)

    def unet(digest: str) -> UNetWeights:
        from diffusers import UNet2DConditionModel

        part = unet_part(heads)
        make = partial(UNet2DConditionModel, **part.config)
        return UNetWeights(_from_file(path, part, make, devices.network_dtype()), digest)

    def text(digest: str) -> TextWeights:
        from transformers import CLIPTextConfig, CLIPTextModel

        part = text_part(heads)
        make = partial(CLIPTextModel, CLIPTextConfig(**part.config))
        return TextWeights(_from_file(path, part, make, torch.float32), digest, clip_l())

    def vae(digest: str) -> VaeWeights:
        from diffusers import AutoencoderKL

        part = vae_part(heads)
        make = partial(AutoencoderKL, **part.config)
        return VaeWeights(_from_file(path, part, make, devices.vae_dtype()), digest)

    return Checkpoint(
        Model(_shared("unet", path, unet), family, ModelSampling(family.prediction)),
        Clip(_shared("text_encoder", path, text), family),
        Vae(_shared("vae", path, vae), family),
    )


def _from_file(
    path: Path, part: Part, make: Callable[[], torch.nn.Module], dtype: torch.dtype
) -> torch.nn.Module:
    """A network made without weights, then given the file's, read mapped and one by one."""
    from safetensors import safe_open

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        module = make()
    wanted = module.state_dict()
    nested = "text_model." if next(iter(wanted)).startswith("text_model.") else ""
    weights: dict[str, torch.Tensor] = {}
    with safe_open(path, framework="pt") as file:
        for theirs, ours in part.names.items():
            place = wanted.get(nested + ours)
            if place is None:
                raise ModelFileError(f"{path.name}: {theirs} has no place in its network")
            weights[nested + ours] = file.get_tensor(theirs).reshape(place.shape).to(dtype)
    missing = wanted.keys() - weights.keys()
    if missing:
        raise ModelFileError(f"{path.name} lacks {sorted(missing)[0]} and {len(missing) - 1} more")
    module.load_state_dict(weights, assign=True)
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta and name == "position_ids":
                owner.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)
    return module.to(devices.device())


def _shared(part: str, folder: Path, make: Callable[[str], W]) -> W:
    """The weights of a folder, loaded once while anything uses them."""
    digest = content_digest(folder)
    with _lock:
        known: Any = _loaded.get((part, digest))
        if known is None:
            known = _loaded[(part, digest)] = make(digest)
        found: W = known
        return found


def _from_folder(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    named = "torch_dtype" if kind.__module__.startswith("diffusers") else "dtype"
    if named == "torch_dtype":
        options["low_cpu_mem_usage"] = False
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            module = kind.from_pretrained(folder, **options, **{named: dtype})
    except Exception as error:
        where = f"{folder.parent.name}/{folder.name}"
        raise ModelFileError(f"{where} cannot be loaded: {error}") from error
    return module.to(devices.device())


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of the libraries': a run has its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
