"""Nodes that workflows of the goldens use: seeded inputs, and sinks that capture what they get."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.latents import latents
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.nodes.ports import Conditioning, Image, Latent, Mask, Sigmas
from tests.paths import ROOT

FAMILIES = ROOT / "tests" / "goldens" / "families"
captured: dict[str, dict[str, Tensor]] = {}


def _load_numbers() -> Any:
    spec = importlib.util.spec_from_file_location("parity_random", FAMILIES / "parity_random.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


numbers = _load_numbers()


@node("ParityDumpLatent", category="test", output=True)
def dump_latent(latent: Latent, name: str) -> None:
    captured[name] = {"samples": latent.samples}
    if latent.batch_index is not None:
        captured[name]["batch_index"] = torch.tensor(latent.batch_index)
    if latent.noise_mask is not None:
        captured[name]["noise_mask"] = latent.noise_mask[:, None]


@node("ParityDumpImage", category="test", output=True)
def dump_image(image: Image, name: str) -> None:
    captured[name] = {"image": image}


@node("ParityDumpMask", category="test", output=True)
def dump_mask(mask: Mask, name: str) -> None:
    captured[name] = {"mask": mask}


@node("ParityDumpSigmas", category="test", output=True)
def dump_sigmas(sigmas: Sigmas, name: str) -> None:
    captured[name] = {"sigmas": sigmas}


@node("ParityDumpCond", category="test", output=True)
def dump_conditioning(conditioning: Conditioning, name: str) -> None:
    captured[name] = {}
    for index, entry in enumerate(conditioning):
        captured[name][f"{index}.cond"] = entry.tokens
        if entry.pooled is not None:
            captured[name][f"{index}.pooled_output"] = entry.pooled


@node("ParityRandomCond", category="test")
def random_conditioning(
    seed: int, tokens: int, width: int, pooled: int = 0, std: float = 1.0
) -> Conditioning:
    first = torch.from_numpy(numbers.cond(seed, tokens, width, std))
    second = torch.from_numpy(numbers.pooled(seed, pooled)) if pooled else None
    return (PromptEntry(first, second),)


@node("ParityRandomLatent", category="test")
def random_latent(
    *,
    seed: int,
    batch: int,
    channels: int,
    frames: int = 0,
    height: int,
    width: int,
    std: float = 1.0,
) -> Latent:
    shape = (batch, channels, *([frames] if frames else []), height, width)
    return latents.Latent(torch.from_numpy(numbers.latent(seed, shape, std)))


DUMPS = Registry.of(dump_latent, dump_image, dump_mask, dump_sigmas, dump_conditioning)
SOURCES = Registry.of(random_conditioning, random_latent)
