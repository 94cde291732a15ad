"""The commands of the command line and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from latentloom.engine.execution.environment import PROGRAM_VERSION
from latentloom.engine.execution.replay import TOLERANCE_LEVELS

from .options import (
    BUDGETS,
    CACHE,
    NETWORKS,
    add_folders,
    add_follow_links,
    add_locked,
    add_manifest,
    add_no_metadata,
    add_settings,
    assignment,
    port_assignment,
)

Command = Callable[[argparse.Namespace], int]

FILE = "a graph in YAML or JSON, a ComfyUI workflow, a saved image, or the name of a shipped graph"
CHANGES = (
    ("--set", port_assignment, "NODE.INPUT=VALUE", "set any input of any node; may be repeated"),
    ("--input", assignment, "NAME=VALUE", "set an input of the graph; may be repeated"),
)


def _add_axes(parser: argparse.ArgumentParser) -> None:
    """Add the options for the axes of a sweep."""
    more: dict[str, Any] = {"action": "append", "default": [], "type": assignment}
    text = (
        "an axis: an input of the graph or node.input, and from:to:step, a list with commas, "
        "@lines.txt, @table.csv:column, or files such as photos/*.png; may be repeated"
    )
    parser.add_argument("--over", **more, metavar="INPUT=VALUES", help=text)
    text = "an axis of texts in place of one in a prompt; may be repeated"
    parser.add_argument("--replace", **more, metavar="INPUT:TEXT=VALUES", help=text)
    text = "move all axes together, value by value, instead of combining them"
    parser.add_argument("--zip", action="store_true", help=text)


def _add_graph(parser: argparse.ArgumentParser) -> None:
    """Add a graph, its changes and its folders."""
    parser.add_argument("file", metavar="FILE", help=FILE)
    for option, read, shape, text in CHANGES:
        more: dict[str, Any] = {"action": "append", "default": [], "type": read}
        parser.add_argument(option, **more, metavar=shape, help=text)
    add_folders(parser)


def make_parser(
    commands: Mapping[str, Command], add_serve_options: Callable[[argparse.ArgumentParser], None]
) -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Args:
        commands: the function of each command by its name.
        add_serve_options: adds the options of `serve`.
    """
    parser = argparse.ArgumentParser(
        prog="latentloom", description="Run and inspect graphs of diffusion nodes."
    )
    parser.add_argument("--version", action="version", version=f"latentloom {PROGRAM_VERSION}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str) -> Any:
        command_parser = subparsers.add_parser(name, help=text, description=text)
        command_parser.set_defaults(command=commands[name])
        command_parser.add_argument("--json", action="store_true", help="print one JSON object")
        return command_parser

    for name, text in (
        ("run", "Run a graph: a YAML or JSON file, a saved image, or a shipped graph."),
        ("plan", "Show what a run would do to each node, and why."),
        ("check", "List every error in a graph, and warnings."),
        ("batch", "Run a graph for each image in a folder; an interrupted batch resumes."),
        ("sweep", "Run a graph for each combination of values; an interrupted sweep resumes."),
    ):
        command_parser = add(name, text)
        command_parser.add_argument("file", metavar="FILE", help=FILE)
        if name == "batch":
            command_parser.add_argument(
                "folder", metavar="FOLDER", help="the source images; they are never modified"
            )
            text = (
                "graph input, or NODE.INPUT, that receives the image; optional if there is only one"
            )
            command_parser.add_argument("--image-input", default="", metavar="NAME", help=text)
            text = "take the images of subfolders too; results go to subfolders of the same names"
            command_parser.add_argument("--recursive", action="store_true", help=text)
        for option, read, shape, text in CHANGES:
            more = {"action": "append", "default": [], "type": read}
            command_parser.add_argument(option, **more, metavar=shape, help=text)
        if name in ("sweep", "plan"):
            _add_axes(command_parser)
        if name == "sweep":
            text = (
                "rank cells by the numbers of nodes that measure, such as "
                "'edges.f1 - 0.01 * change.delta_e'; the highest is the best"
            )
            command_parser.add_argument("--best", metavar="EXPRESSION", help=text)
            text = "sample each cell by itself, which gives the same bytes as `run`"
            command_parser.add_argument("--no-batch", action="store_true", help=text)
        if name in ("run", "plan"):
            text = "node to compute, instead of every output node; may be repeated"
            command_parser.add_argument("--target", action="append", metavar="NODE", help=text)
        if name != "check":
            add_settings(command_parser, (*CACHE, *NETWORKS))
        if name in ("run", "batch", "sweep"):
            add_settings(command_parser, BUDGETS)
        if name in ("run", "plan", "batch", "sweep"):
            add_no_metadata(command_parser)
        if name in ("run", "batch", "sweep"):
            add_manifest(command_parser)
        if name in ("run", "check"):
            add_locked(command_parser)
        if name == "run":
            text = "run again when the file or an input file is saved; a page shows the images"
            command_parser.add_argument("--watch", action="store_true", help=text)
        add_folders(command_parser)
    command_parser = add("nodes", "List the installed nodes, or describe one.")
    command_parser.add_argument("name", nargs="?", metavar="NAME", help="such as KSampler")
    command_parser.add_argument("--markdown", action="store_true", help="print docs/nodes.md")
    text = "write a Python module whose types are those of all installed nodes, packs included"
    command_parser.add_argument("--stubs", metavar="DIR", help=text)
    command_parser = add("convert", "Convert a graph to another format.")
    command_parser.add_argument("file", metavar="IN", help=FILE)
    command_parser.add_argument(
        "out",
        metavar="OUT",
        help=".yaml, .json, .api.json for ComfyUI's API, .editor.json for its editor",
    )
    command_parser.add_argument(
        "--to", choices=("yaml", "json", "comfy", "editor"), help="default: by the extension of OUT"
    )
    command_parser.add_argument("--force", action="store_true", help="overwrite OUT")
    command_parser = add("draw", "Draw a graph as SVG or PNG.")
    command_parser.add_argument("file", metavar="FILE", help=FILE)
    text = "the drawing, .svg or .png"
    command_parser.add_argument("-o", "--out", required=True, metavar="FILE", help=text)
    text = "colour nodes by what a run would do: run, reuse, skip"
    command_parser.add_argument("--plan", action="store_true", help=text)
    for option, read, shape, text in CHANGES:
        more = {"action": "append", "default": [], "type": read}
        command_parser.add_argument(option, **more, metavar=shape, help=text)
    add_settings(command_parser, CACHE)
    add_folders(command_parser)
    command_parser = add("edit", "Change values in a graph file; its comments and order stay.")
    command_parser.add_argument("file", metavar="FILE", help="a graph file; it is written again")
    for option, read, shape, text in CHANGES:
        more = {"action": "append", "default": [], "type": read}
        command_parser.add_argument(option, **more, metavar=shape, help=text)
    text = "set an axis of its sweep, to from:to:step or a list with commas; may be repeated"
    more = {"action": "append", "default": [], "type": assignment}
    command_parser.add_argument("--over", **more, metavar="INPUT=VALUES", help=text)
    command_parser = add("python", "Print the Python code that builds a graph.")
    command_parser.add_argument("file", metavar="FILE", help=FILE)
    command_parser = add("schema", "Print a JSON schema: of native files, or of others.")
    text = "graph (native files, with all installed nodes), manifest or lock; default: graph"
    command_parser.add_argument(
        "of", nargs="?", choices=("graph", "manifest", "lock"), default="graph", help=text
    )
    command_parser = add("diff", "Compare two graphs of any format, by nodes and inputs.")
    command_parser.add_argument(
        "files", nargs="+", metavar="FILE", help="the old and the new graph"
    )
    command_parser.add_argument("--git", action="store_true", help="take the arguments of git")
    text = "write both graphs, their differences and the results that exist as one page"
    command_parser.add_argument("--html", metavar="FILE", help=text)
    add_settings(command_parser, CACHE)
    add_folders(command_parser)
    command_parser = add("compare", "Compare two graphs or images: what changed, and how much.")
    for name in ("old", "new"):
        text = "a graph whose images are in the output folder or the cache, or an image"
        command_parser.add_argument(name, metavar=name.upper(), help=text)
    text = "an image of the same size; where it is not black is inside"
    command_parser.add_argument("--mask", metavar="FILE", help=text)
    text = "write the graphs, the images and a heat map as one page"
    command_parser.add_argument("--html", metavar="FILE", help=text)
    add_settings(command_parser, CACHE)
    add_folders(command_parser)
    command_parser = add("merge", "Merge the changes of two graphs, by node and input.")
    command_parser.add_argument("base", metavar="BASE", help="the graph that both sides changed")
    command_parser.add_argument("ours", metavar="OURS", help="one side; it decides conflicts")
    command_parser.add_argument("theirs", metavar="THEIRS", help="the other side")
    text = "file to write, in the form of OURS; default: the standard output"
    command_parser.add_argument("-o", "--output", metavar="FILE", help=text)
    command_parser = add("replay", "Make an image again from its manifest, and compare it.")
    command_parser.add_argument("file", metavar="IMAGE", help="a saved image with a manifest")
    text = "only say what is missing or differs; run nothing"
    command_parser.add_argument("--check", action="store_true", help=text)
    text = f"levels of 255 up to which images are the same; default: {TOLERANCE_LEVELS}"
    command_parser.add_argument(
        "--within", type=int, default=TOLERANCE_LEVELS, metavar="LEVELS", help=text
    )
    add_settings(command_parser, (*BUDGETS, *NETWORKS))
    add_folders(command_parser)
    command_parser = add("test", "Compare what graphs give with the `expect:` in their files.")
    command_parser.add_argument("files", nargs="+", metavar="FILE", help="native graph files")
    text = "write the images that the files name, instead of comparing with them"
    command_parser.add_argument("--update", action="store_true", help=text)
    command_parser.add_argument(
        "--junit", metavar="FILE", help="write the outcomes as XML of JUnit"
    )
    add_settings(command_parser, (*CACHE, *BUDGETS, *NETWORKS))
    add_folders(command_parser)
    command_parser = add("lock", "Write FILE.lock: the models, inputs and versions of a graph.")
    _add_graph(command_parser)
    text = "the lock file; default: FILE.lock"
    command_parser.add_argument("-o", "--out", metavar="LOCK", help=text)
    command_parser = add("pack", "Export a graph as a folder: inputs, lock, preview; no weights.")
    _add_graph(command_parser)
    text = "the folder, new or empty; default: NAME_pack"
    command_parser.add_argument("-o", "--out", metavar="DIR", help=text)
    add_settings(command_parser, CACHE)
    command_parser = add("models", "List the installed models.")
    text = "only those whose SHA-256 begins so; models that are not known yet are read"
    command_parser.add_argument("--find", metavar="HASH", help=text)
    command_parser = add("cache", "Show the disk cache, or clear it.")
    command_parser.add_argument("--clear", action="store_true", help="delete all cached results")
    add_settings(command_parser, CACHE)
    command_parser = add("serve", "Serve graphs over HTTP, for ComfyUI's editor and clients.")
    add_settings(command_parser, (*CACHE, *BUDGETS, *NETWORKS))
    add_follow_links(command_parser)
    add_serve_options(command_parser)
    return parser
