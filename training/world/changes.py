"""Places before and after a change, and captions that ask for it."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from training.world.captions import HOUR_WORDS, SEASON_WORDS, STYLE_WORDS, caption, describe
from training.world.colours import HOURS, SEASONS, contrasting
from training.world.scenes import STYLES, TRAINING_SEEDS, Landscape, Scene, Sheet, sample_scene

if TYPE_CHECKING:
    from collections.abc import Iterator

# Captions that the pool's own scenes do not use.
VARIANTS = range(8, 14)


class Pair(NamedTuple):
    """A scene of the pool as it is and as it becomes, and a caption that says so."""

    before: Scene
    after: Scene
    text: str


def draw_pairs(count: int) -> Iterator[Pair]:
    """The first scenes of the pool, each with one change."""
    for seed in range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + count):
        yield change(seed)


def change(seed: int) -> Pair:
    """The scene of a seed with one change."""
    before, dice = sample_scene(seed), random.Random(-1 - seed)
    after, words = _changed(before, dice)
    return Pair(before, after, _saying(after, words))


def _changed(scene: Scene, dice: random.Random) -> tuple[Scene, tuple[str, ...]]:
    """The scene with one change, and words for what is new."""
    return _other_colour(scene, dice) if isinstance(scene, Sheet) else _other_look(scene, dice)


def _other_look(scene: Landscape, dice: random.Random) -> tuple[Landscape, tuple[str, ...]]:
    """The landscape in another season, at another hour or in another style."""
    part = dice.choice(("season", "season", "hour", "hour", "style"))
    if part == "season":
        season = dice.choice([name for name in SEASONS if name != scene.season])
        return replace(scene, season=season), SEASON_WORDS[season]
    if part == "hour":
        hour = dice.choice([name for name in HOURS if name != scene.hour])
        return replace(scene, hour=hour), HOUR_WORDS[hour]
    style = dice.choice([name for name in STYLES if name != scene.style])
    return replace(scene, style=style), STYLE_WORDS[style]


def _other_colour(scene: Sheet, dice: random.Random) -> tuple[Sheet, tuple[str, ...]]:
    """The sheet with another ground, or another colour of its first thing."""
    first, *others = scene.things
    grounds = [c for c in contrasting(*(t.colour for t in scene.things)) if c != scene.ground]
    if grounds and dice.random() < 0.5:
        ground = dice.choice(grounds)
        return replace(scene, ground=ground), (f"{ground} background",)
    colour = dice.choice([c for c in contrasting(scene.ground) if c != first.colour])
    things = (replace(first, colour=colour), *others)
    return replace(scene, things=things), (f"{colour} {first.kind}",)


def _saying(scene: Scene, words: tuple[str, ...]) -> str:
    """A caption that holds one of the words: a change is never left to be guessed."""
    known = [word for word in words if word]
    named = re.compile(rf"\b({'|'.join(known)})\b")  # "pink" says nothing of ink
    captions = (caption(scene, variant) for variant in VARIANTS)
    return next(filter(named.search, captions), f"{describe(scene)}, {known[0]}")
