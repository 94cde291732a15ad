"""Networks with their weights: from a diffusers folder or from a part of a file, each once.

Only local files, read by what can run nothing. What a file lacks is an error, never made up.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..weights.detect import old_weights
from ..weights.digest import content_digest
from ..weights.headers import read_heads
from ..weights.keys import Part
from ..weights.vae_keys import new_name
from ..weights.weight_file import open_weights
from .handles import Weights
from .residency import residency

W = TypeVar("W", bound=Weights)

_loaded: WeakValueDictionary[tuple[str, str], Weights] = WeakValueDictionary()
_lock = threading.RLock()


def shared(part: str, make: Callable[[str], W], *places: Path) -> W:
    """The weights of a part, loaded once while anything uses them.

    Args:
        places: the files and folders that it is made of.
    """
    digest = _digest(places)

    def again() -> Weights:
        if _digest(places) != digest:
            raise ModelFileError(f"{places[0].name} changed while it was in use; run again")
        return make(digest)

    with _lock:
        known: Any = _loaded.get((part, digest))
        if known is None:
            known = _loaded[(part, digest)] = make(digest)
            known.reload = again
        residency().touch(known)
        found: W = known
        return found


def _digest(places: Sequence[Path]) -> str:
    return "".join(content_digest(place) for place in places)


def from_file(
    path: Path,
    part: Part,
    make: Callable[[], nn.Module],
    dtype: torch.dtype,
    stored: torch.dtype | None = None,
) -> nn.Module:
    """A network made without weights, then given the file's, read mapped and one by one.

    Args:
        stored: a narrower type that weights are rounded to on their way.

    Raises:
        ModelFileError: the file lacks weights, or has some that the network has no place for.
    """
    module = _blank(make)
    expected = module.state_dict()
    weights: dict[str, Tensor] = {}

    def put(theirs: str, ours: str, weight: Tensor) -> None:
        name = ours if ours in expected else f"text_model.{ours}"
        place = expected.get(name)
        if place is None:
            raise ModelFileError(f"{path.name}: {theirs} has no place in its network")
        if place.numel() != weight.numel():
            shapes = f"{tuple(place.shape)}, has {tuple(weight.shape)}"
            raise ModelFileError(f"{path.name}: {theirs} wants the shape {shapes}")
        weight = weight if stored is None else weight.to(stored)
        weights[name] = weight.reshape(place.shape).to(dtype).contiguous()

    with open_weights(path) as file:
        for theirs, ours in part.names.items():
            weight = file.get_tensor(theirs)
            put(theirs, ours, weight.T if theirs in part.turned else weight)
        for theirs, several in part.split.items():
            for ours, weight in zip(
                several, file.get_tensor(theirs).chunk(len(several)), strict=True
            ):
                put(theirs, ours, weight)
    check_complete(path.name, expected.keys() - weights.keys())
    module.load_state_dict(weights, assign=True)
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta and name == "position_ids":
                owner.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)
    return module


def _blank(make: Callable[[], nn.Module]) -> nn.Module:
    """A network that has no weights yet."""
    with warnings.catch_warnings(), torch.device("meta"), _quiet():
        warnings.simplefilter("ignore")
        return make()


def from_folder(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A network of a library's class.

    The libraries fill what a file lacks with random numbers and go on; here that is an error.
    Weights in torch's own form are never given to them.

    Raises:
        ModelFileError: it cannot be loaded whole.
        MemoryError, torch.OutOfMemoryError: there is no room for it.
    """
    options: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": True,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
    }
    of_diffusers = kind.__module__.startswith("diffusers")
    named = "torch_dtype" if of_diffusers else "dtype"
    if of_diffusers:
        options["low_cpu_mem_usage"] = False
    where = f"{folder.parent.name}/{folder.name}"
    old = old_weights(folder)
    try:
        if old is not None:
            return _from_old_file(kind, old, dtype)
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            module, report = kind.from_pretrained(folder, **options, **{named: dtype})
    except (MemoryError, torch.OutOfMemoryError, ModelFileError):
        raise
    except Exception as error:  # the libraries raise no narrower class
        raise ModelFileError(f"{where} cannot be loaded: {error}") from error
    check_complete(where, report["missing_keys"])
    for name, got, expected in report["mismatched_keys"]:
        shapes = f"{tuple(expected)}, has {tuple(got)}"
        raise ModelFileError(f"{where}: the weights {name} want the shape {shapes}")
    return module


def _from_old_file(kind: Any, file: Path, dtype: torch.dtype) -> nn.Module:
    """A network of a library's class, its configuration beside a file in torch's own form.

    What the network has no place for is left out, as the libraries do it.
    """
    folder = file.parent
    if hasattr(kind, "load_config"):
        make = partial(kind.from_config, kind.load_config(folder, local_files_only=True))
    else:
        make = partial(kind, kind.config_class.from_pretrained(folder, local_files_only=True))
    expected = _blank(make).state_dict().keys()
    names = {theirs: new_name(theirs) for theirs in read_heads(file)}
    bare = {theirs: ours.removeprefix("text_model.") for theirs, ours in names.items()}
    known = {
        theirs: ours if ours in expected else bare[theirs]
        for theirs, ours in names.items()
        if not expected.isdisjoint((ours, bare[theirs]))
    }
    return from_file(file, Part({}, known), make, dtype)


def check_complete(where: str, missing: Collection[str]) -> None:
    """Whether a file has all weights of its network.

    Raises:
        ModelFileError: some are missing.
    """
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelFileError(f"{where} lacks the weights {min(missing)}{more}")


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
