"""Options: those that assign values, and those that stand for variables of the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import NamedTuple

from latentloom.engine.cache.gibibytes import parse_gibibytes


def assignment(text: str) -> tuple[str, str]:
    """The name and the value of NAME=VALUE.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def port_assignment(text: str) -> tuple[str, str]:
    """The same, for NODE.INPUT=VALUE."""
    found, value = assignment(text)
    if "." not in found.strip("."):
        raise argparse.ArgumentTypeError(f"expected NODE.INPUT=VALUE, got {text!r}")
    return found, value


class Setting(NamedTuple):
    """An option that stands for a variable, which other parts read."""

    option: str
    variable: str
    read: Callable[[str], object]
    metavar: str
    help: str


def gibibytes(text: str) -> float:
    """An amount of memory.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return parse_gibibytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


CACHE = (
    Setting(
        "--cache", "LATENTLOOM_CACHE", str, "DIR",
        "keeps results for later runs; off keeps none; default: the user's cache folder",
    ),
    Setting(
        "--cache-size", "LATENTLOOM_CACHE_GIB", gibibytes, "GIB",
        "of results to keep, least recently used out first; default: 20",
    ),
)  # fmt: skip
BUDGETS = (
    Setting(
        "--vram", "LATENTLOOM_VRAM", gibibytes, "GIB",
        "memory of the device that weights may take; default: all",
    ),
    Setting(
        "--reserve-vram", "LATENTLOOM_RESERVE_VRAM", gibibytes, "GIB",
        "of it to keep free of weights; default: 1",
    ),
)  # fmt: skip


def add_settings(parser: argparse.ArgumentParser, settings: tuple[Setting, ...]) -> None:
    """Let a command take these options."""
    for each in settings:
        parser.add_argument(
            each.option, type=each.read, dest=each.variable, metavar=each.metavar, help=each.help
        )


def apply_settings(options: argparse.Namespace) -> None:
    """Put those that were given into the environment."""
    for each in (*CACHE, *BUDGETS):
        value = getattr(options, each.variable, None)
        if value is not None:
            os.environ[each.variable] = str(value)
