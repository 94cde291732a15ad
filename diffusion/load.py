"""Loading models: a diffusers folder into handles. Only safetensors, only local files."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

W = TypeVar("W", bound=Weights)

_loaded: WeakValueDictionary[tuple[str, str], Weights] = WeakValueDictionary()
_lock = threading.RLock()


class Checkpoint(NamedTuple):
    """The three parts of a checkpoint."""

    model: Model
    clip: Clip
    vae: Vae


def load_checkpoint(path: Path) -> Checkpoint:
    """The parts of a diffusers folder; weights that are in use already are shared.

    Raises:
        ModelFileError: the folder is incomplete, unsafe or damaged.
    """
    check_checkpoint(path)
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
        from transformers import CLIPTextModel, CLIPTokenizer

        module = _from_folder(CLIPTextModel, path / "text_encoder", torch.float32)
        folder = path / "tokenizer"
        try:
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ModelFileError(f"{path.name}/tokenizer cannot be loaded: {error}") from error
        return TextWeights(module, f"{digest}{content_digest(folder)}", tokenizer)

    return _shared("text_encoder", path / "text_encoder", make)


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
