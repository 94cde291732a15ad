"""Load networks from diffusers folders and from parts of files, each once.

Files are local, and reading them runs no code. A missing weight is an error, never made up.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..families.stored import StoredNetwork
from ..weights.config_file import MAX_GROWTH, read_config
from ..weights.detect import find_torch_weights, list_weight_files
from ..weights.digest import content_digest
from ..weights.headers import read_tensor_infos
from ..weights.parameters import check_complete, unknown_weight
from ..weights.vae_keys import rename_old_attention
from ..weights.weight_file import open_weights
from .narrow import list_narrow_weights
from .residency import residency
from .weights import Weights

W = TypeVar("W", bound=Weights)

_loaded: WeakValueDictionary[tuple[str, str], Weights] = WeakValueDictionary()
_lock = threading.RLock()


def load_shared(part: str, make: Callable[[str], W], *paths: Path) -> W:
    """Return the weights of a part of a model, loaded once while anything uses them.

    Args:
        make: takes the digest of the files.
        paths: the files and folders that the part is read from.
    """
    digest = _digest(paths)

    def reload() -> Weights:
        if _digest(paths) != digest:
            raise ModelFileError(f"{paths[0].name} changed while it was in use; run again")
        return make(digest)

    with _lock:
        weights = cast("W | None", _loaded.get((part, digest)))
        if weights is None:
            weights = make(digest)
            weights.reload_with(reload)
            _loaded[(part, digest)] = weights
        residency().touch(weights)
        return weights


def _digest(paths: Sequence[Path]) -> str:
    return "".join(content_digest(path) for path in paths)


def load_network_file(
    path: Path,
    part: StoredNetwork,
    make: Callable[[], nn.Module],
    dtype: torch.dtype,
    stored: torch.dtype | None = None,
    *,
    is_narrow: bool = False,
) -> nn.Module:
    """Build a network without weights and fill it from a memory-mapped file, tensor by tensor.

    Args:
        stored: a narrower type that weights are rounded to first.
        is_narrow: leave the weights of linear layers and tables in the precision of the file.

    Raises:
        ModelFileError: the file lacks weights, or has some that the network does not have.
    """
    module = _make_empty(make)
    expected = module.state_dict()
    narrow = frozenset(list_narrow_weights(module) if is_narrow else ())
    weights: dict[str, Tensor] = {}

    def find(key: str, parameter: str) -> str:
        for name in (parameter, f"text_model.{parameter}"):  # by the version of transformers
            if name in expected:
                return name
        raise ModelFileError(unknown_weight(path.name, key))

    def add(key: str, parameter: str, weight: Tensor) -> None:
        name = find(key, parameter)
        shape = expected[name].shape
        if shape.numel() != weight.numel():
            raise ModelFileError(_wrong_shape(f"{path.name}: {key}", shape, weight.shape))
        weight = weight if stored is None else weight.to(stored)
        if not weight.dtype.is_floating_point:
            raise ModelFileError(f"{path.name}: {key}: weights in {weight.dtype} are not supported")
        is_smaller = name in narrow and weight.dtype.itemsize < dtype.itemsize
        own = weight.dtype if is_smaller else dtype
        weights[name] = weight.reshape(shape).to(own).contiguous()

    def split_rows(key: str, joined: Tensor, parameters: Sequence[str]) -> None:
        shapes = [expected[find(key, parameter)].shape for parameter in parameters]
        rows = [shape[0] for shape in shapes]
        if sum(rows) != len(joined):
            shape = (sum(rows), *shapes[0][1:])
            raise ModelFileError(_wrong_shape(f"{path.name}: {key}", shape, joined.shape))
        for parameter, weight in zip(parameters, torch.split(joined, rows), strict=True):
            add(key, parameter, weight)

    with open_weights(path) as file:
        for key, parameter in part.names.items():
            weight = file.get_tensor(key)
            if key in part.swapped:
                weight = torch.cat(weight.chunk(2)[::-1])
            add(key, parameter, weight.T if key in part.transposed else weight)
        for key, parameters in part.split.items():
            split_rows(key, file.get_tensor(key), parameters)
    check_complete(path.name, expected.keys() - weights.keys())
    module.load_state_dict(weights, assign=True)
    for owner in module.modules():
        _fill_buffers(owner)
    return module


def _fill_buffers(owner: nn.Module) -> None:
    """Compute the buffers of a layer that was built without weights and that no file holds."""
    empty = {name: buffer for name, buffer in owner.named_buffers(recurse=False) if buffer.is_meta}
    if "position_ids" in empty:
        ids = torch.arange(empty.pop("position_ids").shape[-1])[None]
        owner.register_buffer("position_ids", ids, persistent=False)
    if empty:  # frequencies of rotary positions
        made = dict(type(owner)(owner.config).named_buffers())
        for name in empty:
            owner.register_buffer(name, made[name], persistent=False)


def _wrong_shape(subject: str, expected: Sequence[int], got: Sequence[int]) -> str:
    return f"{subject}: expected the shape {tuple(expected)}, got {tuple(got)}"


def _make_empty(make: Callable[[], nn.Module]) -> nn.Module:
    """Build a network without weights."""
    with warnings.catch_warnings(), torch.device("meta"), _quiet():
        warnings.simplefilter("ignore")
        return make()


def load_network_folder(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load a network of a class of diffusers or transformers.

    The libraries fill in missing weights with random numbers; here they are an error. Files in
    torch's own form are not given to the libraries.

    Raises:
        ModelFileError: the network cannot be loaded completely.
        MemoryError, torch.OutOfMemoryError: memory is too small.
    """
    options: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": True,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
    }
    is_diffusers = kind.__module__.startswith("diffusers")
    dtype_option = "torch_dtype" if is_diffusers else "dtype"
    if is_diffusers:
        options["low_cpu_mem_usage"] = False
    name = f"{folder.parent.name}/{folder.name}"
    torch_file = find_torch_weights(folder)
    try:
        if torch_file is not None:
            return _load_torch_file(kind, torch_file, dtype)
        _check_size(kind, folder)
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            module, report = kind.from_pretrained(folder, **options, **{dtype_option: dtype})
    except (MemoryError, torch.OutOfMemoryError, ModelFileError):
        raise
    except Exception as error:  # the libraries raise no narrower class
        raise ModelFileError(f"{name} cannot be loaded: {error}") from error
    check_complete(name, report["missing_keys"])
    for key, got, expected in report["mismatched_keys"]:
        raise ModelFileError(_wrong_shape(f"{name}: {key}", expected, got))
    return module


def _configured(kind: Any, folder: Path) -> Callable[[], nn.Module]:
    """Return what builds a network of a library's class from the configuration in a folder."""
    if hasattr(kind, "load_config"):
        return partial(kind.from_config, kind.load_config(folder, local_files_only=True))
    return partial(kind, kind.config_class.from_pretrained(folder, local_files_only=True))


def _check_size(kind: Any, folder: Path) -> None:
    """Refuse a configuration of a far larger network than the weights are of, before it is made.

    Raises:
        ModelFileError: it is.
    """
    infos = [
        info for file in list_weight_files(folder) for info in read_tensor_infos(file).values()
    ]
    read_config(folder / "config.json").check_layers(len(infos))
    module = _make_empty(_configured(kind, folder))
    expected = sum(tensor.numel() for tensor in module.state_dict().values())
    stored = sum(math.prod(info.shape) for info in infos)
    if expected > MAX_GROWTH * stored:
        raise ModelFileError(
            f"{folder.parent.name}/{folder.name}/config.json: expected the configuration of "
            f"weights of {stored} numbers, got that of {expected}"
        )


def _load_torch_file(kind: Any, file: Path, dtype: torch.dtype) -> nn.Module:
    """Load a network of a library's class from a file in torch's own form and its configuration.

    Weights that the network does not have are ignored, as the libraries do.
    """
    make = _configured(kind, file.parent)
    expected = _make_empty(make).state_dict().keys()
    names = {key: rename_old_attention(key) for key in read_tensor_infos(file)}
    short = {key: name.removeprefix("text_model.") for key, name in names.items()}
    parameters = {
        key: name if name in expected else short[key]
        for key, name in names.items()
        if not expected.isdisjoint((name, short[key]))
    }
    return load_network_file(file, StoredNetwork({}, parameters), make, dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries' progress bars and reports; runs and errors have their own."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    has_bars = transformers_log.is_progress_bar_enabled()
    verbosity = (diffusers_log.get_verbosity(), transformers_log.get_verbosity())
    transformers_log.disable_progress_bar()
    diffusers_log.set_verbosity_error()
    transformers_log.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_log.set_verbosity(verbosity[0])
        transformers_log.set_verbosity(verbosity[1])
        if has_bars:
            transformers_log.enable_progress_bar()
