"""Deep shrink: from one block on the network works on fewer cells, while it composes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..images.resize import resize
from ..networks.patch import StepState

Size = tuple[int, int]


@dataclass(frozen=True)
class Downscale:
    """Shrinks what a block of the first half gives, and grows it again where skips join.

    Args:
        block: number of the block; the first layer is 0, each residual layer and each step down
            counts one.
        factor: by which both sides shrink.
        start, end: shares of the way from noise (0) to image (1) between which it does.
        after_skip: the block's skip keeps its size.
        down, up: how it is shrunk and grown; see `diffusion.images.resize.resize`.

    Source: kohya's "deep shrink" for images larger than a model was trained on; ScaleCrafter
    (arXiv 2310.07702) gives the reason.
    """

    block: int = 3
    factor: float = 2.0
    start: float = 0.0
    end: float = 0.35
    after_skip: bool = True
    down: str = "bicubic"
    up: str = "bicubic"

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return repr(self)

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Change what goes into and comes out of the blocks."""
        net: Any = network
        firsts, lasts = _blocks(net)
        skips: list[Size] = []

        def shrunk(x: Tensor) -> Tensor:
            if not state.is_between(self.start, self.end):
                return x
            height, width = (max(round(side / self.factor), 1) for side in x.shape[-2:])
            return resize(x, width, height, self.down)

        def enter(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (shrunk(inputs[0]), *inputs[1:])

        def leave(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            return (shrunk(output[0]), *output[1:]) if isinstance(output, tuple) else shrunk(output)

        with ExitStack() as hooks:
            if self.after_skip and self.block + 1 < len(firsts):
                hooks.callback(firsts[self.block + 1].register_forward_pre_hook(enter).remove)
            elif not self.after_skip and self.block < len(lasts):
                hooks.callback(lasts[self.block].register_forward_hook(leave).remove)
            self._record_skips(net, skips, hooks)
            for up in net.up_blocks:
                self._grow(up, skips, hooks)
            yield

    def _record_skips(self, net: Any, skips: list[Size], hooks: ExitStack) -> None:
        """Note the size of each skip of a call, in the order in which they are made."""

        def first(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            skips[:] = [_size(output)]

        def level(_module: nn.Module, _inputs: Any, output: tuple[Tensor, Any]) -> None:
            skips.extend(_size(skip) for skip in output[1])

        hooks.callback(net.conv_in.register_forward_hook(first).remove)
        for down in net.down_blocks:
            hooks.callback(down.register_forward_hook(level).remove)

    def _grow(self, up: Any, skips: list[Size], hooks: ExitStack) -> None:
        """Grow what goes into each joint of a level of the second half to its skip's size."""
        sizes: list[Size] = []

        def enter(_module: nn.Module, args: Any, options: dict[str, Any]) -> Any:
            count = len(options["res_hidden_states_tuple"])
            sizes[:] = skips[-1 : -count - 1 : -1]
            del skips[-count:]
            changed: dict[str, Any] = {
                "hidden_states": self._fitted(options["hidden_states"], sizes[0])
            }
            if skips and getattr(up, "upsamplers", None) is not None:
                changed["upsample_size"] = skips[-1]
            return args, options | changed

        def joint(index: int) -> Any:
            def leave(_module: nn.Module, _inputs: Any, output: Any) -> Any:
                if index + 1 == len(sizes):
                    return output
                if isinstance(output, tuple):
                    return (self._fitted(output[0], sizes[index + 1]), *output[1:])
                return self._fitted(output, sizes[index + 1])

            return leave

        hooks.callback(up.register_forward_pre_hook(enter, with_kwargs=True).remove)
        for index, last in enumerate(getattr(up, "attentions", None) or up.resnets):
            hooks.callback(last.register_forward_hook(joint(index)).remove)

    def _fitted(self, x: Tensor, size: Size) -> Tensor:
        return x if _size(x) == size else resize(x, size[1], size[0], self.up)


def _size(x: Tensor) -> Size:
    return (x.shape[-2], x.shape[-1])


def _blocks(net: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    """The first and the last module of each block of the first half, and the middle's first."""
    firsts, lasts = [net.conv_in], [net.conv_in]
    for level in net.down_blocks:
        firsts += level.resnets
        lasts += getattr(level, "attentions", None) or level.resnets
        if level.downsamplers is not None:
            firsts.append(level.downsamplers[0])
            lasts.append(level.downsamplers[0])
    return [*firsts, net.mid_block.resnets[0]], lasts
