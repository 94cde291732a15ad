"""What the model is asked in its evaluation: prompts with the scenes that they describe."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from training.world.captions import describe
from training.world.colours import COLOURS, HOURS, SEASONS, contrasting
from training.world.scenes import (
    HELD_OUT_SEEDS,
    KINDS,
    LAND_COLOURS,
    PLACES,
    ROAM,
    STYLES,
    Landscape,
    Sheet,
    Thing,
    sample_landscape,
)

S = TypeVar("S", Sheet, Landscape)


@dataclass(frozen=True)
class Task(Generic[S]):
    """A prompt with the scene it asks for."""

    prompt: str
    scene: S


@dataclass(frozen=True)
class Change:
    """An image to start from, and the one that the prompt asks for in its place."""

    prompt: str
    source: Landscape
    wanted: Landscape


def sheet_tasks(count: int, seed: int = 5) -> list[Task[Sheet]]:
    """One big thing on a plain ground, every kind in turn."""
    dice, tasks = random.Random(seed), []
    for index in range(count):
        ground = dice.choice(list(COLOURS))
        thing = Thing(dice.choice(contrasting(ground)), KINDS[index % len(KINDS)])
        scene = Sheet((thing,), ground, seed=seed * 1000 + index)
        tasks.append(Task(describe(scene), scene))
    return tasks


def pair_tasks(count: int, seed: int = 6) -> list[Task[Sheet]]:
    """Two things of two colours side by side on a plain ground."""
    dice, tasks = random.Random(seed), []
    for index in range(count):
        ground = dice.choice(list(COLOURS))
        left, right = dice.sample(contrasting(ground), 2)
        things = tuple(
            Thing(colour, dice.choice(KINDS), place, "medium", *PLACES[place], half=0.2)
            for colour, place in ((left, "left"), (right, "right"))
        )
        scene = Sheet(things, ground, seed=seed * 1000 + index)
        tasks.append(Task(describe(scene), scene))
    return tasks


def landscape_tasks(count: int, seed: int = 7) -> list[Task[Landscape]]:
    """Landscapes of every season, hour and style in turn."""
    dice, tasks = random.Random(seed), []
    for index in range(count):
        scene = replace(
            _landscape(dice, HELD_OUT_SEEDS.start + 1000 * seed + index),
            season=SEASONS[index % 4],
            hour=HOURS[index // 4 % 3],
            style=STYLES[index // 12 % 3],
        )
        tasks.append(Task(describe(scene), scene))
    return tasks


def object_tasks(count: int, seed: int = 8) -> list[Task[Landscape]]:
    """A house or a boat of some colour in a landscape by day."""
    dice, tasks = random.Random(seed), list[Task[Landscape]]()
    while len(tasks) < count:
        scene = _landscape(dice, HELD_OUT_SEEDS.start + 1000 * seed + len(tasks))
        if [thing.kind in ("house", "boat") for thing in scene.things] != [True]:
            continue
        scene = replace(scene, hour="day", style="flat", trees=())
        tasks.append(Task(describe(scene), scene))
    return tasks


def changes(count: int, seed: int = 9) -> list[Change]:
    """Landscapes by day that are to be shown in another season, or at another hour."""
    dice, result = random.Random(seed), []
    for index in range(count):
        source = replace(
            _landscape(dice, HELD_OUT_SEEDS.start + 1000 * seed + index), hour="day", style="flat"
        )
        if index % 2:
            wanted = replace(source, hour=dice.choice(HOURS[1:]))
        else:
            wanted = replace(source, season=dice.choice([s for s in SEASONS if s != source.season]))
        result.append(Change(describe(wanted), source, wanted))
    return result


def traced_scenes(count: int, seed: int = 10) -> list[Sheet | Landscape]:
    """Scenes whose edges are to be kept: sheets and landscapes by day, in turn."""
    sheets, views = sheet_tasks(count, seed), object_tasks(count, seed)
    dice = random.Random(seed)
    scenes: list[Sheet | Landscape] = []
    for index in range(count):
        if index % 2:
            scenes.append(views[index].scene)
            continue
        thing = replace(
            sheets[index].scene.things[0],
            place="",
            x=dice.uniform(0.5 - ROAM, 0.5 + ROAM),
            y=dice.uniform(0.5 - ROAM, 0.5 + ROAM),
            half=dice.uniform(0.24, 0.34),
        )
        scenes.append(replace(sheets[index].scene, things=(thing,)))
    return scenes


def recoloured(scene: Sheet | Landscape, seed: int) -> Sheet | Landscape:
    """The scene with other colours: of the things, and of the ground or the season."""
    dice = random.Random(seed)
    if isinstance(scene, Sheet):
        ground = dice.choice([colour for colour in COLOURS if colour != scene.ground])
        return replace(scene, things=_repainted(dice, scene, contrasting(ground)), ground=ground)
    season = dice.choice([season for season in SEASONS if season != scene.season])
    return replace(scene, things=_repainted(dice, scene, LAND_COLOURS), season=season)


def _repainted(
    dice: random.Random, scene: Sheet | Landscape, colours: Sequence[str]
) -> tuple[Thing, ...]:
    chosen = dice.sample(colours, len(scene.things))
    return tuple(
        replace(thing, colour=colour if thing.colour else "")
        for thing, colour in zip(scene.things, chosen, strict=True)
    )


def _landscape(dice: random.Random, seed: int) -> Landscape:
    return sample_landscape(random.Random(dice.random()), seed)
