"""How a node may use the processor's threads; the engine computes nothing, so that whoever does
registers here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from ..node.spec import NodeSpec

Sharing = Callable[[NodeSpec], AbstractContextManager[object]]

_sharing: list[Sharing] = []
_ALONE = nullcontext()


def register(sharing: Sharing) -> None:
    """Enter this around the calls of nodes from now on; it must not load what is heavy in vain."""
    _sharing[:] = [sharing]


def sharing(spec: NodeSpec) -> AbstractContextManager[object]:
    """To be entered around a call of a node."""
    return _sharing[0](spec) if _sharing else _ALONE
