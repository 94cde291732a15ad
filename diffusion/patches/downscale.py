"""Deep shrink: while it composes, the network works on fewer cells from one block on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass
from typing import Any

from torch import Tensor, nn

from ..images.resize import resize
from ..networks.patch import StepState, ValuePatch

Size = tuple[int, int]


@dataclass(frozen=True)
class Downscale(ValuePatch):
    """Shrinks the output of a block in the first half, and enlarges it again where skips join.

    Args:
        block: number of the block; the first layer is 0, each residual layer and each
            downsampler counts one.
        factor: by which both sides shrink.
        start, end: shares of the schedule between which it acts; 0 is noise, 1 is the image.
        after_skip: shrink after the block's skip, which keeps its size.
        down, up: resize methods; see `diffusion.images.resize.resize`.

    Source: kohya's "deep shrink" for images larger than a model was trained on; ScaleCrafter
    (arXiv 2310.07702) gives the reason.
    """

    block: int = 3
    factor: float = 2.0
    _: KW_ONLY
    start: float = 0.0
    end: float = 0.35
    after_skip: bool = True
    down: str = "bicubic"
    up: str = "bicubic"

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Change the inputs and outputs of blocks."""
        net: Any = network
        firsts, lasts = _blocks(net)
        skips: list[Size] = []

        def shrink(x: Tensor) -> Tensor:
            if not state.is_between(self.start, self.end):
                return x
            height, width = (max(round(side / self.factor), 1) for side in x.shape[-2:])
            return resize(x, width, height, self.down)

        def shrink_input(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (shrink(inputs[0]), *inputs[1:])

        def shrink_output(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            return (shrink(output[0]), *output[1:]) if isinstance(output, tuple) else shrink(output)

        with ExitStack() as hooks:
            if self.after_skip and self.block + 1 < len(firsts):
                after = firsts[self.block + 1]
                hooks.callback(after.register_forward_pre_hook(shrink_input).remove)
            elif not self.after_skip and self.block < len(lasts):
                hooks.callback(lasts[self.block].register_forward_hook(shrink_output).remove)
            self._record_skips(net, skips, hooks)
            for up in net.up_blocks:
                self._enlarge(up, skips, hooks)
            yield

    def _record_skips(self, net: Any, skips: list[Size], hooks: ExitStack) -> None:
        """Record the sizes of the skips of a call, in the order in which they are made."""

        def record_first(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            skips[:] = [_size(output)]

        def record_block(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Any]) -> None:
            skips.extend(_size(skip) for skip in output[1])

        hooks.callback(net.conv_in.register_forward_hook(record_first).remove)
        for down in net.down_blocks:
            hooks.callback(down.register_forward_hook(record_block).remove)

    def _enlarge(self, up: Any, skips: list[Size], hooks: ExitStack) -> None:
        """Resize the features of an up block to the skip that each of its layers joins."""
        sizes: list[Size] = []

        def fit_input(_module: nn.Module, args: Any, options: dict[str, Any]) -> Any:
            count = len(options["res_hidden_states_tuple"])
            sizes[:] = skips[-1 : -count - 1 : -1]
            del skips[-count:]
            changed: dict[str, Any] = {
                "hidden_states": self._fit(options["hidden_states"], sizes[0])
            }
            if skips and getattr(up, "upsamplers", None) is not None:
                changed["upsample_size"] = skips[-1]
            return args, options | changed

        def fit_to_next(index: int) -> Any:
            def fit_output(_module: nn.Module, _inputs: Any, output: Any) -> Any:
                if index + 1 == len(sizes):
                    return output
                if isinstance(output, tuple):
                    return (self._fit(output[0], sizes[index + 1]), *output[1:])
                return self._fit(output, sizes[index + 1])

            return fit_output

        hooks.callback(up.register_forward_pre_hook(fit_input, with_kwargs=True).remove)
        for index, last in enumerate(getattr(up, "attentions", None) or up.resnets):
            hooks.callback(last.register_forward_hook(fit_to_next(index)).remove)

    def _fit(self, x: Tensor, size: Size) -> Tensor:
        return x if _size(x) == size else resize(x, size[1], size[0], self.up)


def _size(x: Tensor) -> Size:
    return (x.shape[-2], x.shape[-1])


def _blocks(net: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the first modules of the blocks of the first half and the middle, and the last."""
    firsts, lasts = [net.conv_in], [net.conv_in]
    for down in net.down_blocks:
        firsts += down.resnets
        lasts += getattr(down, "attentions", None) or down.resnets
        if down.downsamplers is not None:
            firsts.append(down.downsamplers[0])
            lasts.append(down.downsamplers[0])
    return [*firsts, net.mid_block.resnets[0]], lasts
