"""Calls of several items that are computed as one, such as samplings with different seeds.

The results wait in `Shared.ready` under the keys of their nodes. When an item runs, its own call
takes what is there, so that caches, manifests and reports are as if it had computed it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LatentloomError
from ..graph.prepared import Prepared
from ..node.cancel import CancelToken
from ..node.context import Context
from ..node.many import Many
from .call import Ready, arguments_of
from .item import Item

if TYPE_CHECKING:
    from .executor import Engine, PlannedRun


@dataclass
class Gain:
    """The effect of computing calls together.

    Attributes:
        calls: that were computed in batches, and `batches`, their number.
        model_calls: evaluations of the denoising network that the batches took.
        separate_model_calls: that the calls would have taken one by one.
    """

    calls: int = 0
    batches: int = 0
    model_calls: int = 0
    separate_model_calls: int = 0


@dataclass(frozen=True)
class _Call:
    item: Item
    node: Prepared
    key: str
    arguments: Mapping[str, Any]


class Together:
    """Computes calls of items that run next, as far as their nodes can compute several as one.

    Attributes:
        gain: so far.
        spent: model calls and seconds that an item has used before it runs, by its index.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.gain = Gain()
        self.spent: defaultdict[int, tuple[int, float]] = defaultdict(lambda: (0, 0.0))

    def compute(
        self, planned: Sequence[tuple[Item, PlannedRun]], cancel: CancelToken | None
    ) -> None:
        """Compute what is alike in items that are planned; what fails, items compute themselves."""
        ids = dict.fromkeys(
            id
            for _, run in planned
            for id, step in run.plan.nodes.items()
            if step.action == "run" and run.nodes[id].spec.together is not None
        )
        for id in ids:
            groups: defaultdict[Hashable, list[_Call]] = defaultdict(list)
            limits: dict[Hashable, int] = {}
            for call in self._calls(id, planned, cancel):
                assert call.node.spec.alike is not None
                alike = call.node.spec.alike(**call.arguments)
                if alike is not None:
                    groups[alike.key].append(call)
                    limits[alike.key] = alike.limit
            for key, calls in groups.items():
                for start in range(0, len(calls), limits[key]):
                    self._compute(calls[start : start + limits[key]], cancel)

    def close(self) -> None:
        """Drop results that no item took."""
        self._engine.shared.ready.clear()

    def _calls(
        self, id: str, planned: Sequence[tuple[Item, PlannedRun]], cancel: CancelToken | None
    ) -> list[_Call]:
        """Return the different calls of a node with their values, for which what is above runs."""
        waiting: dict[str, tuple[Item, Prepared]] = {}
        for item, run in planned:
            step = run.plan.nodes.get(id)
            if step is not None and step.action == "run":
                waiting.setdefault(step.key, (item, run.nodes[id]))
        if len(waiting) < 2:
            return []
        calls = []
        for key, (item, node) in waiting.items():
            linked = self._linked(item, node, cancel)
            if linked is not None:
                try:
                    calls.append(_Call(item, node, key, arguments_of(node, linked)))
                except LatentloomError:
                    continue  # the item reports it when it runs
        return calls

    def _linked(
        self, item: Item, node: Prepared, cancel: CancelToken | None
    ) -> dict[str, Any] | None:
        """Return the values of a node's links; None if there are none, or lists of them."""
        origins = {source.node for source in node.links.values()}
        result = self._engine.run(item.graph, item.workspace, origins, cancel=cancel)
        calls, seconds = self.spent[item.index]
        self.spent[item.index] = calls + result.model_calls, seconds + result.seconds
        if result.status != "done":
            return None
        linked = {}
        for name, source in node.links.items():
            spec = self._engine.registry[item.graph.nodes[source.node].type]
            value = result[source.node]
            linked[name] = value if spec.has_bare_result else value[source.output]
        return None if any(value.__class__ is Many for value in linked.values()) else linked

    def _compute(self, calls: Sequence[_Call], cancel: CancelToken | None) -> None:
        spec, shared = calls[0].node.spec, self._engine.shared
        together = spec.together
        if len(calls) < 2 or together is None or (cancel is not None and cancel.is_set()):
            return
        context = Context(calls[0].node.id)
        if cancel is not None:
            context.cancelled = cancel.is_set
        start = time.perf_counter()

        def work() -> Sequence[Any]:
            with shared.sharing(spec):
                return together([call.arguments for call in calls], context)

        try:
            values = shared.workers(spec.device).submit(work).result()
        except Exception:  # noqa: BLE001 - the items run the node themselves, and report errors
            return
        seconds = (time.perf_counter() - start) / len(calls)
        more = context.model_calls % len(calls)
        for index, (call, value) in enumerate(zip(calls, values, strict=True)):
            share = context.model_calls // len(calls) + (index < more)
            shared.ready[call.key] = Ready(value, seconds, share, context.notes)
        self.gain.calls += len(calls)
        self.gain.batches += 1
        self.gain.model_calls += context.model_calls
        self.gain.separate_model_calls += context.model_calls * len(calls)
