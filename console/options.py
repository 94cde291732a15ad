"""Options that assign values, and options that set environment variables."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import NamedTuple

from latentloom.engine.cache.gibibytes import parse_gibibytes
from latentloom.engine.files.workspace import FOLLOW_LINKS_VARIABLE


def assignment(text: str) -> tuple[str, str]:
    """Split NAME=VALUE.

    Raises:
        argparse.ArgumentTypeError: it has another form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def port_assignment(text: str) -> tuple[str, str]:
    """Split NODE.INPUT=VALUE into (NODE.INPUT, VALUE)."""
    target, value = assignment(text)
    if "." not in target.strip("."):
        raise argparse.ArgumentTypeError(f"expected NODE.INPUT=VALUE, got {text!r}")
    return target, value


class Setting(NamedTuple):
    """An option that sets an environment variable."""

    option: str
    variable: str
    read: Callable[[str], object]
    metavar: str
    help: str


def gibibytes(text: str) -> float:
    """Parse an amount of memory in GiB.

    Raises:
        argparse.ArgumentTypeError: it is not a number from 0.
    """
    try:
        return parse_gibibytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


CACHE = (
    Setting(
        "--cache", "LATENTLOOM_CACHE", str, "DIR",
        "disk cache folder, or off; default: the user's cache folder",
    ),
    Setting(
        "--cache-size", "LATENTLOOM_CACHE_GIB", gibibytes, "GIB",
        "size of the disk cache, least recently used out first; default: 20",
    ),
)  # fmt: skip
BUDGETS = (
    Setting(
        "--vram", "LATENTLOOM_VRAM", gibibytes, "GIB",
        "device memory that weights may use; default: all",
    ),
    Setting(
        "--reserve-vram", "LATENTLOOM_RESERVE_VRAM", gibibytes, "GIB",
        "device memory to keep free of weights; default: 1",
    ),
)  # fmt: skip


def fast_mode(text: str) -> str:
    """Parse `auto` or `off`; `auto` is the variable's default, nothing.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if text not in ("auto", "off"):
        raise argparse.ArgumentTypeError(f"expected auto or off, got {text[:40]!r}")
    return "" if text == "auto" else text


NETWORKS = (
    Setting(
        "--fast", "LATENTLOOM_FAST", fast_mode, "auto|off",
        "fused kernels and captured calls where the GPU has them; default: auto",
    ),
)  # fmt: skip


FOLDERS = (
    ("--output", "output", "folder for results"),
    ("--input-dir", "input", "folder for input images that are not next to the graph"),
)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the options for the folders of a run to a command."""
    for option, default, text in FOLDERS:
        text = f"{text}; default: {default}"
        parser.add_argument(option, default=default, metavar="DIR", help=text)
    add_follow_links(parser)


def add_follow_links(parser: argparse.ArgumentParser) -> None:
    """Add the option that allows links out of the input and output folders."""
    text = "allow files and folders behind links that lead out of the input and output folders"
    parser.add_argument(
        "--follow-links", action="store_const", const="1", dest=FOLLOW_LINKS_VARIABLE, help=text
    )


def add_no_metadata(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves graphs out of saved images."""
    text = "save images without the graph that made them, and without their manifest"
    parser.add_argument("--no-metadata", action="store_true", help=text)


def add_manifest(parser: argparse.ArgumentParser) -> None:
    """Add the option that writes manifests beside saved files."""
    text = "write FILE.manifest.json beside each saved file: how it was made, with times"
    parser.add_argument("--manifest", action="store_true", help=text)


def add_locked(parser: argparse.ArgumentParser) -> None:
    """Add the options that hold a graph to its lock."""
    text = "refuse models, inputs and versions that differ from FILE.lock"
    parser.add_argument("--locked", action="store_true", help=text)
    parser.add_argument("--lock", metavar="LOCK", help="the same with another lock file")


def add_settings(parser: argparse.ArgumentParser, settings: tuple[Setting, ...]) -> None:
    """Add these options to a command."""
    for setting in settings:
        parser.add_argument(
            setting.option,
            type=setting.read,
            dest=setting.variable,
            metavar=setting.metavar,
            help=setting.help,
        )


def apply_settings(options: argparse.Namespace) -> None:
    """Set the environment variables of the given options."""
    settings = (*CACHE, *BUDGETS, *NETWORKS)
    for variable in (FOLLOW_LINKS_VARIABLE, *(setting.variable for setting in settings)):
        value = getattr(options, variable, None)
        if value is not None:
            os.environ[variable] = str(value)
