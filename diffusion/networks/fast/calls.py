"""The calls of one network with fast forwards: eager at first, then captured."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .capture import Capture, Captures, Function, Record, captures, record_on_gpu, signature
from .layers import (
    FinalNormForward,
    Fused,
    PromptProjections,
    ResidualForward,
    TimeProjections,
    TransformerForward,
    identity,
)

# Numbers of eager calls that are remembered, to capture the second one of a kind.
MAX_SEEN = 256
_numbers = count()


class Tools(NamedTuple):
    """The kernels and the capture that fast calls use; tests use stand-ins."""

    fused: Fused
    record: Record
    captures: Captures


def gpu_tools() -> Tools:
    """Return Triton's kernels and CUDA graphs."""
    from . import fused

    return Tools(fused, record_on_gpu, captures())


class FastCalls:
    """A network whose layers have fast forwards around each call, and its captured calls.

    The parameters stay those of the network, in another memory layout: convolutions are
    channels-last, and products of one input lie in one storage.

    Args:
        network: one that `why_not_network` finds nothing against, on its device.

    Attributes:
        failure: why nothing is captured any more; None while captures succeed.
    """

    def __init__(self, network: Any, tools: Tools) -> None:
        self._network, self._tools = network, tools
        self._forwards = _make_forwards(network, tools.fused)
        self._processors = [(layer, layer.processor) for layer in _attentions(network)]
        # Captures outlive nothing: those of a network that is gone go too.
        self._number = next(_numbers)
        weakref.finalize(self, tools.captures.drop, self._number)
        self._weights_key: Hashable = None
        self._seen: set[Hashable] = set()
        self._made: dict[str, tuple[Tensor, Tensor]] = {}
        self.failure: str | None = None

    @property
    def is_untouched(self) -> bool:
        """False while an attention layer has another processor, which only eager calls run."""
        return all(layer.processor is own for layer, own in self._processors)

    def drop(self) -> None:
        """Release the captured calls, before the network leaves its device."""
        self._tools.captures.drop(self._number)
        self._made.clear()

    def begin(self, weights_key: Hashable) -> None:
        """Forget what was made with other weights; the key identifies the patches on them."""
        if weights_key != self._weights_key:
            self._weights_key = weights_key
            self._made.clear()

    def project(self, context: Tensor) -> Tensor:
        """Return keys and values of a prompt for all layers, computed once for each tensor."""
        return self._once("context", self._forwards.prompts, context)

    def embed_hint(self, hint: Tensor) -> Tensor:
        """Return a ControlNet's embedding of a hint, computed once for each tensor."""
        return self._once("hint", self._network.controlnet_cond_embedding, hint)

    def run(
        self, key: Hashable, function: Function, changing: Any, constant: Any = ()
    ) -> tuple[bool, Sequence[Tensor]]:
        """Call a function of the network; its second call of a kind is captured.

        Args:
            key: of the function, and of what it depends on besides its inputs and the weights.
            function: takes the parts of `changing`, then those of `constant`.
            changing, constant: tuples of structures; see `Capture`.

        Returns:
            Whether the call was captured, and tensors that the next call overwrites.
        """
        key = (key, signature(changing), signature(constant))
        capture = self._tools.captures.find(self._number, key)
        if capture is not None:
            return True, capture.replay(changing, constant)

        def attached(*arguments: Any) -> Sequence[Tensor]:
            with self._attached():
                return function(*arguments)

        outputs = attached(*changing, *constant)
        if key in self._seen and self.failure is None:
            self._capture(key, attached, changing, constant, outputs)
        elif len(self._seen) < MAX_SEEN:
            self._seen.add(key)
        return False, outputs

    def _capture(
        self,
        key: Hashable,
        function: Function,
        changing: Any,
        constant: Any,
        outputs: Sequence[Tensor],
    ) -> None:
        """Capture a call, and keep it if it gives what the eager call gave."""
        try:
            capture = Capture(function, changing, constant, self._tools.record)
            replayed = capture.replay(changing, constant)
        except torch.OutOfMemoryError:
            self._tools.captures.clear()
            self.failure = "no memory for captured calls"
            return
        except RuntimeError as error:
            self.failure = f"a call could not be captured: {str(error).partition(chr(10))[0]}"
            return
        if all(map(_are_alike, replayed, outputs)):
            self._tools.captures.add(self._number, key, capture)
        else:
            self.failure = "a captured call gave other values"

    def _once(self, name: str, function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
        """Return a function of a tensor, from the last call if that was for the same tensor."""
        made = self._made.get(name)
        if made is None or made[0] is not tensor:
            made = self._made[name] = (tensor, function(tensor))
        return made[1]

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Give the layers their fast forwards."""
        forwards = self._forwards
        for layer, forward in forwards.by_layer:
            layer.__dict__["forward"] = forward
        try:
            yield
        finally:
            for layer, _ in forwards.by_layer:
                del layer.__dict__["forward"]
            if forwards.times is not None:
                forwards.times.forget()


class _Forwards(NamedTuple):
    by_layer: list[tuple[nn.Module, Callable[..., Any]]]
    times: TimeProjections | None
    prompts: PromptProjections


def _make_forwards(network: Any, fused: Fused) -> _Forwards:
    """Make the forwards, and bring the parameters into their layout."""
    network.to(memory_format=torch.channels_last)
    layers = list(network.modules())
    residuals = [layer for layer in layers if type(layer).__name__ == "ResnetBlock2D"]
    transformers = [layer for layer in layers if type(layer).__name__ == "Transformer2DModel"]
    timed = [block for block in residuals if block.time_emb_proj is not None]
    times = TimeProjections(timed) if timed else None
    blocks = _transformer_blocks(network)
    prompts = PromptProjections([block.attn2 for block in blocks])
    by_layer: list[tuple[nn.Module, Callable[..., Any]]] = [
        (block, ResidualForward(block, times, fused)) for block in residuals
    ]
    by_layer += [(model, TransformerForward(model, prompts, fused)) for model in transformers]
    if hasattr(network, "controlnet_cond_embedding"):
        by_layer.append((network.controlnet_cond_embedding, identity))
    for owner in layers:
        norm = getattr(owner, "conv_norm_out", None)
        if isinstance(norm, nn.GroupNorm) and isinstance(owner.conv_act, nn.SiLU):
            by_layer += [(norm, FinalNormForward(norm, fused)), (owner.conv_act, identity)]
    return _Forwards(by_layer, times, prompts)


def _transformer_blocks(network: nn.Module) -> list[Any]:
    kind = "BasicTransformerBlock"
    return [layer for layer in network.modules() if type(layer).__name__ == kind]


def _attentions(network: nn.Module) -> list[Any]:
    return [layer for block in _transformer_blocks(network) for layer in (block.attn1, block.attn2)]


def _are_alike(first: Tensor, second: Tensor) -> bool:
    """Return True if two results are the same up to the order of sums."""
    spread = second.float().std(correction=0)
    difference = (first.float() - second.float()).square().mean().sqrt()
    return bool((difference <= 1e-2 * spread) | ~torch.isfinite(spread))
