"""Loading models: a diffusers folder into handles. Only safetensors, only local files."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import torch

from . import devices
from .detect import check_checkpoint, check_vae, checkpoint_family, noise_table, vae_family
from .digest import content_digest
from .errors import ModelFileError
from .handles import Clip, Model, TextWeights, UNetWeights, Vae, VaeWeights, Weights
from .model_sampling import ModelSampling
from .single_file import Part, read_checkpoint, text_part, unet_part, vae_part
from .tokenizers import Tokenizer, clip_l, from_folder

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
    model = Model(_unet(path), family, ModelSampling(**asdict(noise_table(path))))
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

    return Vae(_shared("vae", make, path), vae_family(path))


def _unet(path: Path) -> UNetWeights:
    def make(digest: str) -> UNetWeights:
        from diffusers import UNet2DConditionModel

        module = _from_folder(UNet2DConditionModel, path / "unet", devices.network_dtype())
        return UNetWeights(module, digest)

    return _shared("unet", make, path / "unet")


def _text_encoder(path: Path) -> TextWeights:
    def make(digest: str) -> TextWeights:
        from transformers import CLIPTextModel

        tokenizer = from_folder(path / "tokenizer")
        module = _from_folder(CLIPTextModel, path / "text_encoder", torch.float32)
        _check_vocabulary(path.name, tokenizer, module.get_input_embeddings().num_embeddings)
        return TextWeights(module, digest, tokenizer)

    return _shared("text_encoder", make, path / "text_encoder", path / "tokenizer")


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
        Model(_shared("unet", unet, path), family, ModelSampling(family.prediction)),
        Clip(_shared("text_encoder", text, path), family),
        Vae(_shared("vae", vae, path), family),
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
    _check_complete(path.name, wanted.keys() - weights.keys())
    module.load_state_dict(weights, assign=True)
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta and name == "position_ids":
                owner.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)
    return module.to(devices.device())


def _shared(part: str, make: Callable[[str], W], *places: Path) -> W:
    """The weights of a part, loaded once while anything uses them.

    Args:
        places: the files and folders that it is made of.
    """
    digest = "".join(content_digest(place) for place in places)
    with _lock:
        known: Any = _loaded.get((part, digest))
        if known is None:
            known = _loaded[(part, digest)] = make(digest)
        found: W = known
        return found


def _from_folder(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A network of a library's class.

    The libraries fill what a file lacks with random numbers and go on; here that is an error.
    """
    options: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": True,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
    }
    named = "torch_dtype" if kind.__module__.startswith("diffusers") else "dtype"
    if named == "torch_dtype":
        options["low_cpu_mem_usage"] = False
    where = f"{folder.parent.name}/{folder.name}"
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            module, report = kind.from_pretrained(folder, **options, **{named: dtype})
    except Exception as error:
        raise ModelFileError(f"{where} cannot be loaded: {error}") from error
    _check_complete(where, report["missing_keys"])
    for name, got, wanted in report["mismatched_keys"]:
        shapes = f"{tuple(wanted)}, has {tuple(got)}"
        raise ModelFileError(f"{where}: the weights {name} want the shape {shapes}")
    return module.to(devices.device())


def _check_complete(where: str, missing: Collection[str]) -> None:
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelFileError(f"{where} lacks the weights {min(missing)}{more}")


def _check_vocabulary(where: str, tokenizer: Tokenizer, size: int) -> None:
    largest = tokenizer.largest
    if largest >= size:
        raise ModelFileError(
            f"{where}: the tokenizer has token {largest}, the text encoder knows {size}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and reports of the libraries': a run has its own bars, errors are typed."""
    from diffusers.utils import logging as networks
    from transformers.utils import logging as texts

    shown, levels = (
        texts.is_progress_bar_enabled(),
        (networks.get_verbosity(), texts.get_verbosity()),
    )
    texts.disable_progress_bar()
    networks.set_verbosity_error()
    texts.set_verbosity_error()
    try:
        yield
    finally:
        networks.set_verbosity(levels[0])
        texts.set_verbosity(levels[1])
        if shown:
            texts.enable_progress_bar()
