"""Nodes made of A1111's settings, and a list of the settings that no node has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..graph.graph import GraphInput, LeftOut, Link, Node
from ..node.spec import NodeSpec
from .a1111_names import file_name
from .names import free_name

SETTING = "setting of A1111"
NO_NODE = "there is no node for it"
MAX_SHOWN = 80


class Models(NamedTuple):
    """The outputs that sampling needs, after LoRAs and clip skip."""

    model: Link
    clip: Link
    vae: Link


@dataclass(frozen=True, kw_only=True)
class PassSettings:
    """The settings of a pass, by the inputs of KSampler."""

    seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    denoise: float


@dataclass(frozen=True, kw_only=True)
class Base:
    """The models, prompts and settings that the passes of an image share.

    Attributes:
        texts: the two prompts, of which `positive` and `negative` are the conditioning.
    """

    models: Models
    positive: Link
    negative: Link
    texts: tuple[str, str]
    width: int
    height: int
    settings: PassSettings


@dataclass
class SettingsWriter:
    """Collects nodes; each setting is taken once, and what remains has no node."""

    specs: Mapping[str, NodeSpec]
    settings: dict[str, str]
    nodes: dict[str, Node] = field(default_factory=dict)
    inputs: dict[str, GraphInput] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, id: str, type: str, **inputs: Any) -> str:
        """Add a node and return its id."""
        id = free_name(id, self.nodes)
        self.nodes[id] = Node(type, inputs)
        return id

    def has(self, type: str) -> bool:
        """Return whether nodes of this type are installed."""
        return type in self.specs

    def take(self, name: str) -> str:
        """Return a setting and remove it; empty if the text has none."""
        return self.settings.pop(name, "")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Take a number; one that cannot be used is listed, and the default is used."""
        text = self.take(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if low <= value <= high:
            return value
        self.skip(name, text, f"expected {low:g} to {high:g}; {default:g} is used")
        return default

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Take an integer, as `number` does; all digits of a seed count."""
        text = self.settings.get(name, "")
        if text.isascii() and text.isdecimal() and len(text) <= 20 and low <= int(text) <= high:
            del self.settings[name]
            return int(text)
        return round(self.number(name, default, low, high))

    def skip(self, name: str, value: str, reason: str = NO_NODE) -> None:
        """List a setting that is not carried."""
        shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..."
        self.left_out.append(LeftOut("", SETTING, f"{name}: {shown} ({reason})"))

    def file(self, type: str, port: str, name: str, extension: str = ".safetensors") -> str:
        """Return the name of a model file as the input of a node has it."""
        spec = self.specs.get(type)
        declared = spec.port(port) if spec is not None else None
        installed = declared.options() if declared is not None else None
        return file_name(name, installed or (), extension)

    def prompt(self, id: str, text: str, models: Models) -> Link:
        """Add the encoder of a prompt."""
        for word in (" AND ", "BREAK"):
            if word in text:
                self.skip(f"{word.strip()} in the prompt", id, "it is encoded as plain text")
        return Link(self.add(id, "CLIPTextEncode", text=text, clip=models.clip), "CONDITIONING")

    def sample(self, id: str, settings: PassSettings, base: Base, latent: Link) -> Link:
        """Add a KSampler and return its latent."""
        id = self.add(
            id, "KSampler", model=base.models.model, seed=settings.seed, steps=settings.steps,
            cfg=settings.cfg, sampler_name=settings.sampler_name, scheduler=settings.scheduler,
            positive=base.positive, negative=base.negative, latent_image=latent,
            denoise=settings.denoise,
        )  # fmt: skip
        return Link(id, "LATENT")
