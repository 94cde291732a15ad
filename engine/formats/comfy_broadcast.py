"""Links of the pack cg-use-everywhere: a node that feeds every unlinked input of its type.

A file of a recent version lists these links (`extra.ue_links`). In others they follow from the
types: "Seed Everywhere" feeds seeds, "Prompts Everywhere" conditioning by the input's name, and
"Anything Everywhere?" inputs that match regular expressions. The most specific wins; of two that
are equally specific neither does.

Source: the documentation of cg-use-everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import FormatError
from .comfy_level import BYPASSED, MUTED, Level, mode_of, sockets_of
from .comfy_values import connects
from .comfy_virtual import (
    BROADCASTS,
    FILTERED_EVERYWHERE,
    PROMPTS_EVERYWHERE,
    SEED_EVERYWHERE,
)

MAX_PATTERN, MAX_MATCHED = 200, 200
PRIORITIES = {FILTERED_EVERYWHERE: 10, PROMPTS_EVERYWHERE: 10, SEED_EVERYWHERE: 5}
_PROMPTS = (re.compile(r"(_|\b)pos(itive|_|\b)|^prompt"), re.compile(r"(_|\b)neg(ative|_|\b)"))
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")


class Feed(NamedTuple):
    """The source of an input: a node with a value of its own, or a linked socket of a node."""

    id: str
    socket: Mapping[str, Any] | None


@dataclass(frozen=True)
class _Offer:
    """A value that a node offers to every unlinked input of a type."""

    feed: Feed
    type: str
    priority: int
    fits: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]


class Broadcasts:
    """The links of one level that its broadcasting nodes make."""

    def __init__(self, level: Level) -> None:
        self._listed = dict(_listed_links(level))
        self._offers = [] if self._listed else list(_offers(level))

    def feed(self, id: str, node: Mapping[str, Any], index: int) -> Feed | str | None:
        """Return what feeds an unlinked input of a node: a feed, `node:slot`, or nothing."""
        if (id, index) in self._listed:
            return self._listed[id, index]
        if not self._offers:
            return None
        socket = sockets_of(node, "inputs")[index]
        fitting = [offer for offer in self._offers if _takes(node, socket, offer)]
        best = max((offer.priority for offer in fitting), default=0)
        chosen = [offer for offer in fitting if offer.priority == best]
        return chosen[0].feed if len(chosen) == 1 and chosen[0].feed.id != id else None


def _listed_links(level: Level) -> Iterator[tuple[tuple[str, int], str]]:
    """Yield (node, input index) and `node:output index` of the links that the file lists."""
    extra = level.data.get("extra")
    listed = extra.get("ue_links") if isinstance(extra, Mapping) else None
    for link in listed if isinstance(listed, list) else ():
        if not isinstance(link, Mapping):
            continue
        try:
            target, slot = str(link["downstream"]), int(link["downstream_slot"])
            origin, output = str(link["upstream"]), int(link["upstream_slot"])
        except (KeyError, TypeError, ValueError):
            continue
        sockets = sockets_of(level.nodes.get(target, {}), "inputs")
        if origin in level.nodes and 0 <= slot < len(sockets) and output >= 0:
            yield (target, slot), f"{origin}:{output}"


def _offers(level: Level) -> Iterator[_Offer]:
    for id, node in level.nodes.items():
        kind = node["type"]
        if kind not in BROADCASTS or mode_of(node) in (MUTED, BYPASSED):
            continue
        if kind == SEED_EVERYWHERE:
            yield _Offer(Feed(id, None), "INT", PRIORITIES[kind], _is_seed)
            continue
        fits = _filter(id, node) if kind == FILTERED_EVERYWHERE else _anything
        for index, socket in enumerate(sockets_of(node, "inputs")):
            link = level.links.get(str(socket.get("link")))
            if socket.get("link") is None or link is None:
                continue
            if kind == PROMPTS_EVERYWHERE and index < len(_PROMPTS):
                fits = _named(_PROMPTS[index])
            type = _type(level, link[0], link[1], socket)
            yield _Offer(Feed(id, socket), type, PRIORITIES.get(kind, 0), fits)


def _type(level: Level, origin: str, slot: int, socket: Mapping[str, Any]) -> str:
    """Return the type of what a broadcasting node gets: that of the output, else of its input."""
    outputs = sockets_of(level.nodes.get(origin, {}), "outputs")
    given = outputs[slot].get("type") if 0 <= slot < len(outputs) else None
    return str(given if given not in (None, "*") else socket.get("type", "*"))


def _takes(node: Mapping[str, Any], socket: Mapping[str, Any], offer: _Offer) -> bool:
    type = str(socket.get("type", "*"))
    is_typed = type not in ("", "*", "0") and offer.type not in ("", "*", "0")
    if not is_typed or not connects(type, offer.type) or node["type"] in BROADCASTS:
        return False
    return _is_open(node, socket, offer) and offer.fits(node, socket)


def _is_open(node: Mapping[str, Any], socket: Mapping[str, Any], offer: _Offer) -> bool:
    """Return whether an input may be fed: a widget only where the file or the rule says so."""
    properties = node.get("properties")
    settings = properties.get("ue_properties") if isinstance(properties, Mapping) else None
    held = settings if isinstance(settings, Mapping) else {}
    widgets, closed = held.get("widget_ue_connectable"), held.get("input_ue_unconnectable")
    name = str(socket.get("name", ""))
    if "widget" not in socket:
        return not (isinstance(closed, Mapping) and closed.get(name))
    if isinstance(widgets, Mapping):
        return bool(widgets.get(name))
    return offer.priority > 0


def _anything(_node: Mapping[str, Any], _socket: Mapping[str, Any]) -> bool:
    return True


def _is_seed(_node: Mapping[str, Any], socket: Mapping[str, Any]) -> bool:
    return "seed" in str(socket.get("name", ""))


def _named(pattern: re.Pattern[str]) -> Callable[..., bool]:
    return lambda _node, socket: bool(pattern.search(str(socket.get("name", ""))[:MAX_MATCHED]))


def _filter(id: str, node: Mapping[str, Any]) -> Callable[..., bool]:
    """Return the rule of a node with regular expressions for titles and names of inputs."""
    values, properties = node.get("widgets_values"), node.get("properties")
    settings = properties.get("ue_properties") if isinstance(properties, Mapping) else None
    listed = values if isinstance(values, list) else []
    patterns = [text if isinstance(text, str) else "" for text in (*listed, "", "")][:2]
    for index, key in enumerate(("title_regex", "input_regex")):
        if isinstance(settings, Mapping) and isinstance(settings.get(key), str):
            patterns[index] = settings[key]
    title, name = (_compile(id, pattern) for pattern in patterns)

    def fits(target: Mapping[str, Any], socket: Mapping[str, Any]) -> bool:
        shown = target.get("title")
        text = shown if isinstance(shown, str) else str(target["type"])
        label = str(socket.get("label") or socket.get("name", ""))
        return bool(title.search(text[:MAX_MATCHED]) and name.search(label[:MAX_MATCHED]))

    return fits


def _compile(id: str, pattern: str) -> re.Pattern[str]:
    """Compile a regular expression that cannot take long.

    Raises:
        FormatError: it is wrong, too long, repeats a group, or repeats more than twice.
    """
    plain = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "x", pattern[: MAX_PATTERN + 1])
    is_slow = bool(_REPEATED_GROUP.search(plain)) or len(_UNBOUNDED.findall(plain)) > 2
    try:
        if len(pattern) <= MAX_PATTERN and not is_slow:
            return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        pass
    raise FormatError(
        f"{FILTERED_EVERYWHERE} ({id}): expected a simple regular expression, got {pattern[:80]!r}"
    )
