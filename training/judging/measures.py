"""What is measured of a model, each against its bar. Every seed is fixed."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL

from training.judging.figures import Figure, distance, share
from training.judging.oracle import judge, judge_pair
from training.judging.outlook import read_colour, read_outlook
from training.judging.studio import GENTLE, Studio
from training.judging.tasks import (
    changes,
    landscape_tasks,
    object_tasks,
    pair_tasks,
    recoloured,
    sheet_tasks,
    traced_scenes,
)
from training.stages.adapter import off_tones
from training.stages.autoencoder import psnr
from training.world.captions import describe
from training.world.edges import edge_f1, edges_of
from training.world.pool import held_out
from training.world.render import render
from training.world.scenes import Sheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from training.judging.oracle import Verdict
    from training.judging.tasks import Task
    from training.world.scenes import Landscape

LADDER = (0.2, 0.4, 0.6, 0.8)
CHANGE = 0.6


def measure_oracle(count: int) -> list[Figure]:
    """The oracle on true renders: what it finds wrong elsewhere is the model's."""
    sheets, pairs = sheet_tasks(count, seed=11), pair_tasks(count, seed=12)
    views, objects = landscape_tasks(count, seed=13), object_tasks(count, seed=14)
    colour, ground, kind, _ = _judge_sheets([judge(render(t.scene)) for t in sheets], sheets)
    season, hour = _judge_views([render(t.scene) for t in views], views)
    values = {
        "colour": colour,
        "background": ground,
        "kind": kind,
        "colours of two": _judge_pairs([render(t.scene) for t in pairs], pairs),
        "colour in a landscape": _judge_objects([render(t.scene) for t in objects], objects),
        "season": season,
        "hour": hour,
    }
    return [
        Figure(f"oracle on true renders, {name}", value, "%", floor=99)
        for name, value in values.items()
    ]


def measure_autoencoder(model: Path, scenes: int, textures: int) -> list[Figure]:
    """How well images survive the autoencoder."""
    vae = AutoencoderKL.from_pretrained(
        model / "vae", local_files_only=True, low_cpu_mem_usage=False
    )
    images = torch.split(held_out(scenes, textures), [scenes, textures])
    return [
        Figure("autoencoder, held-out scenes", psnr(vae, images[0]), "dB", floor=28),
        Figure("autoencoder, random textures", psnr(vae, images[1]), "dB", floor=24),
    ]


def measure_sheets(studio: Studio, count: int) -> list[Figure]:
    """Whether the prompted colour, background and kind appear: one thing on a plain ground."""
    tasks = sheet_tasks(count)
    verdicts = [judge(image) for image in studio.draw_all([t.prompt for t in tasks])]
    colour, ground, kind, kinds = _judge_sheets(verdicts, tasks)
    return [
        Figure("prompted object colour", colour, "%", floor=95),
        Figure("prompted background", ground, "%", floor=95),
        Figure("prompted kind of thing", kind, "%", floor=80),
        *(
            Figure(f"prompted kind of thing, {name}", value, "%", floor=60)
            for name, value in kinds.items()
        ),
    ]


def measure_pairs(studio: Studio, count: int) -> list[Figure]:
    """Whether each of two things has its own colour."""
    tasks = pair_tasks(count)
    images = studio.draw_all([task.prompt for task in tasks])
    return [Figure("two things, two colours", _judge_pairs(images, tasks), "%", floor=85)]


def measure_views(studio: Studio, count: int) -> list[Figure]:
    """Whether the prompted season and hour appear in landscapes, and a thing's colour."""
    views, objects = landscape_tasks(count), object_tasks(count)
    season, hour = _judge_views(studio.draw_all([t.prompt for t in views]), views)
    colour = _judge_objects(studio.draw_all([t.prompt for t in objects]), objects)
    return [
        Figure("prompted season", season, "%", floor=95),
        Figure("prompted hour", hour, "%", floor=95),
        Figure("prompted object colour, in a landscape", colour, "%", floor=95),
    ]


def measure_ladder(studio: Studio, sources: int, seeds: int = 2) -> list[Figure]:
    """How far image to image goes from its source, and that more denoise goes further."""
    asked = changes(sources, seed=21)
    images = [render(change.source) for change in asked]
    prompts = [change.prompt for change in changes(sources, seed=22)]
    means = [
        float(
            np.mean(
                [
                    distance(source, studio.change(source, prompt, denoise, seed))
                    for seed in range(seeds)
                    for source, prompt in zip(images, prompts, strict=True)
                ]
            )
        )
        for denoise in LADDER
    ]
    return [
        Figure(
            f"image to image, RMSE at denoise {denoise}",
            mean,
            ceiling=20 if denoise == LADDER[0] else None,
        )
        for denoise, mean in zip(LADDER, means, strict=True)
    ] + [Figure("image to image, smallest rise", float(np.diff(means).min()), floor=0.5)]


def measure_changes(studio: Studio, count: int) -> list[Figure]:
    """Image to image to another season or hour: the new one is there, and the edges stay."""
    asked = changes(count)
    right, edge_scores = [], []
    for index, change in enumerate(asked):
        source = render(change.source)
        got = studio.change(source, change.prompt, CHANGE, index, GENTLE)
        right.append(read_outlook(got) == (change.wanted.season, change.wanted.hour))
        edge_scores.append(edge_f1(edges_of(source, stretch=True), edges_of(got, stretch=True)))
    return [
        Figure(f"another season or hour at {CHANGE}", share(right), "%", floor=85),
        Figure(f"edges kept at {CHANGE}, F1", float(np.mean(edge_scores)), floor=0.5),
    ]


def measure_control(studio: Studio, count: int) -> list[Figure]:
    """The ControlNet on scenes with new colours: edges with it and without, colour with it."""
    with_it, without, colours = [], [], []
    for index, scene in enumerate(traced_scenes(count)):
        wanted = recoloured(scene, index)
        image = render(scene)
        edges = edges_of(image)
        prompt = describe(wanted)
        traced = studio.trace(image, prompt, index)
        with_it.append(edge_f1(edges, edges_of(traced)))
        without.append(edge_f1(edges, edges_of(studio.draw(prompt, index))))
        thing = wanted.things[0]
        seen = judge(traced).colour if isinstance(wanted, Sheet) else read_colour(traced, thing)
        colours.append(seen == thing.colour)
    return [
        Figure("ControlNet, edge F1 with it", float(np.mean(with_it)), floor=0.65),
        Figure("ControlNet, edge F1 without it", float(np.mean(without)), ceiling=0.3),
        Figure("ControlNet, colour still right", share(colours), "%", floor=90),
    ]


def measure_adapter(studio: Studio, count: int) -> list[Figure]:
    """How far images are from two tones with the LoRA, as a share of without it."""
    prompts = [task.prompt for task in sheet_tasks(count, seed=31)]
    prompts += [task.prompt for task in landscape_tasks(count, seed=32)]
    plain = studio.draw_all(prompts)
    toned = studio.with_adapter(1.0).draw_all(prompts)
    before, after = (
        float(np.mean([off_tones(image) for image in images])) for images in (plain, toned)
    )
    return [
        Figure("distance from two tones, base", before),
        Figure("distance from two tones, LoRA at 1", after),
        Figure("distance with the LoRA, share of the base's", after / before, ceiling=0.35),
    ]


def measure_pace(studio: Studio, runs: int = 5) -> list[Figure]:
    """How long an image takes: 20 steps with guidance on one thread, without loading."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for seed in range(runs):
        start = time.perf_counter()
        studio.draw("a red house, summer", seed)
        seconds.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return [Figure("20 steps with guidance, one thread", float(np.median(seconds)), "s")]


def _judge_sheets(
    verdicts: Sequence[Verdict], tasks: Sequence[Task[Sheet]]
) -> tuple[float, float, float, dict[str, float]]:
    """Shares with the right colour, ground and kind; the last also for each kind."""
    kinds = defaultdict(list)
    pairs = [(verdict, task.scene) for verdict, task in zip(verdicts, tasks, strict=True)]
    for verdict, scene in pairs:
        kinds[scene.things[0].kind].append(verdict.kind == scene.things[0].kind)
    return (
        share(verdict.colour == scene.things[0].colour for verdict, scene in pairs),
        share(verdict.ground == scene.ground for verdict, scene in pairs),
        share(right for result in kinds.values() for right in result),
        {kind: share(result) for kind, result in kinds.items()},
    )


def _judge_pairs(images: Sequence[Image.Image], tasks: Sequence[Task[Sheet]]) -> float:
    return share(
        judge_pair(image) == tuple(thing.colour for thing in task.scene.things)
        for image, task in zip(images, tasks, strict=True)
    )


def _judge_views(
    images: Sequence[Image.Image], tasks: Sequence[Task[Landscape]]
) -> tuple[float, float]:
    seen = [read_outlook(image) for image in images]
    pairs = list(zip(seen, tasks, strict=True))
    return (
        share(season == task.scene.season for (season, _), task in pairs),
        share(hour == task.scene.hour for (_, hour), task in pairs),
    )


def _judge_objects(images: Sequence[Image.Image], tasks: Sequence[Task[Landscape]]) -> float:
    return share(
        read_colour(image, task.scene.things[0]) == task.scene.things[0].colour
        for image, task in zip(images, tasks, strict=True)
    )
