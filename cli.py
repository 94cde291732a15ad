"""The command line; `console.parser` lists its commands.

Results go to stdout, progress and problems to stderr. Exit codes: 0 done, 1 the graph or an
input is wrong, 2 usage, 3 a node failed, 130 cancelled.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.console.opening import Invocation, open_engine, open_graph, open_workspace
from latentloom.console.options import apply_settings
from latentloom.console.streams import prepare_streams
from latentloom.engine.errors import FormatError, InputError, LatentloomError
from latentloom.engine.graph.library import find_file
from latentloom.nodes import registry as installed_nodes

if TYPE_CHECKING:
    from latentloom.engine.execution.executor import Result
    from latentloom.engine.execution.plan import Plan
    from latentloom.engine.graph.graph import Graph

DONE, WRONG, USAGE, FAILED, CANCELLED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    prepare_streams()
    options = _parser().parse_args(arguments)
    apply_settings(options)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        code = command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output has exited, as `head` does; discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (LatentloomError, OSError) as error:
        _complain(error, options)
        return WRONG
    except KeyboardInterrupt:
        return CANCELLED


def run(options: argparse.Namespace) -> int:
    """`latentloom run FILE`."""
    from latentloom.console.interrupts import interrupts
    from latentloom.console.locking import require_lock
    from latentloom.console.progress import reporter
    from latentloom.console.views import print_warnings, result_to_object, to_json
    from latentloom.engine.graph.lint import file_warnings, settings_warnings
    from latentloom.engine.graph.sound import run_sound
    from latentloom.engine.node.cancel import CancelToken

    if options.watch:
        from latentloom.console.watching import watch_graph

        return watch_graph(options, installed_nodes())
    job, token = _open(options), CancelToken()
    require_lock(options, job)
    print_warnings(file_warnings(job.graph, job.registry) + settings_warnings(job.graph))
    with (
        open_engine(job.registry) as engine,
        reporter(options.json, job.graph) as report,
        interrupts(token),
    ):

        def start(graph: Graph, targets: Sequence[str] | None) -> Result:
            return engine.run(graph, job.workspace, targets, on_event=report, cancel=token)

        files = (job.registry, job.workspace)
        result, problems = run_sound(job.graph, *files, options.target, start)
    if options.json:
        print(to_json(result_to_object(result, problems)))
    else:
        for error in (*problems, *result.errors):
            print(error, file=sys.stderr)
        for path in dict.fromkeys(str(path) for _, path in result.saved):
            print(path)
    if result.status == "cancelled":
        return CANCELLED
    if result.status == "done":
        return DONE
    return WRONG if all(isinstance(e.__cause__, InputError) for e in result.errors) else FAILED


def batch(options: argparse.Namespace) -> int:
    """`latentloom batch FILE FOLDER`."""
    from latentloom.console.batch import run_batch
    from latentloom.engine.execution.batch import BatchSource

    source = BatchSource(Path(options.folder), options.image_input, options.recursive)
    return _run_many(options, run_batch, source)


def sweep(options: argparse.Namespace) -> int:
    """`latentloom sweep FILE --over INPUT=VALUES`."""
    from latentloom.console.sweeping import run_sweep

    return _run_many(options, run_sweep, options)


def _run_many(options: argparse.Namespace, start: Callable[..., Sequence[Any]], how: Any) -> int:
    """Run a graph many times: `start` is `run_batch` or `run_sweep`, `how` its own argument."""
    from latentloom.console.interrupts import interrupts
    from latentloom.console.progress import reporter
    from latentloom.engine.node.cancel import CancelToken

    job, token = _open(options), CancelToken()
    with open_engine(job.registry) as engine, reporter(True) as report, interrupts(token):
        outcomes = start(job.graph, job.workspace, how, engine, report, token, options.json)
    if token.is_set():
        return CANCELLED
    return FAILED if any(outcome.state == "failed" for outcome in outcomes) else DONE


def plan(options: argparse.Namespace) -> int:
    """`latentloom plan FILE`."""
    from latentloom.console.sweeping import print_sweep_plan
    from latentloom.console.views import format_plan, format_warnings, plan_to_object, to_json
    from latentloom.engine.graph.lint import lint
    from latentloom.engine.graph.sound import run_sound
    from latentloom.engine.node.devices import device_notes

    job = _open(options)
    with open_engine(job.registry) as engine:
        if options.over or options.replace:
            return print_sweep_plan(job.graph, job.workspace, options, engine)

        def start(graph: Graph, targets: Sequence[str] | None) -> Plan:
            return engine.plan(graph, job.workspace, targets)

        steps, problems = run_sound(job.graph, job.registry, job.workspace, options.target, start)
    warnings = lint(job.graph, job.registry, job.workspace)
    notes = device_notes(job.registry)
    if options.json:
        print(to_json(plan_to_object(steps, warnings, problems, notes)))
    else:
        for problem in problems:
            print(problem, file=sys.stderr)
        print(format_plan(steps, notes) + format_warnings(warnings))
    return DONE


def check(options: argparse.Namespace) -> int:
    """`latentloom check FILE`."""
    from latentloom.console.locking import list_lock_differences
    from latentloom.console.views import (
        format_warnings,
        problem_to_object,
        to_json,
        warning_to_object,
    )
    from latentloom.engine.graph.lint import lint
    from latentloom.engine.graph.validate import check as find_problems

    job = _open(options)
    problems: list[Any] = [
        *find_problems(job.graph, job.registry, job.workspace),
        *list_lock_differences(options, job),
    ]
    warnings = lint(job.graph, job.registry, job.workspace)
    if options.json:
        errors = [problem_to_object(problem) for problem in problems]
        status = "failed" if problems else "done"
        shown = [warning_to_object(warning) for warning in warnings]
        print(to_json({"status": status, "errors": errors, "warnings": shown}))
    elif problems:
        print("\n".join(str(problem) for problem in problems), file=sys.stderr)
        print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}", file=sys.stderr)
    else:
        good = f"{options.file}: no problems in {len(job.graph.nodes)} nodes"
        print(good + format_warnings(warnings))
    return WRONG if problems else DONE


def nodes(options: argparse.Namespace) -> int:
    """`latentloom nodes [NAME]`."""
    from latentloom.console.listing import print_nodes

    print_nodes(options, installed_nodes())
    return DONE


def convert(options: argparse.Namespace) -> int:
    """`latentloom convert IN OUT`."""
    from latentloom.console.views import print_conversion
    from latentloom.engine import formats
    from latentloom.engine.graph.lint import file_warnings

    registry = installed_nodes()
    graph = formats.load_graph(find_file(options.file), registry)
    target = Path(options.out)
    if target.exists() and not options.force:
        raise FormatError(f"{target} exists; choose another name or use --force")
    form = options.to or formats.form_of(target)
    converted = formats.convert_graph(graph, form, registry)
    formats.save_text(converted.text, target)
    print_conversion(target, converted.lost, file_warnings(graph, registry), options.json)
    return DONE


def edit(options: argparse.Namespace) -> int:
    """`latentloom edit FILE`."""
    from latentloom.console.editing import edit_file

    return edit_file(Path(options.file), options, installed_nodes())


def schema(options: argparse.Namespace) -> int:
    """`latentloom schema`."""
    from latentloom.console.listing import print_schema

    print_schema(options.of, installed_nodes())
    return DONE


def python(options: argparse.Namespace) -> int:
    """`latentloom python FILE`."""
    from latentloom.engine.formats import load_graph, name_outputs
    from latentloom.engine.formats.builder_code import as_python

    registry = installed_nodes()
    graph = name_outputs(load_graph(find_file(options.file), registry), registry)
    print(as_python(graph, registry), end="")
    return DONE


def draw(options: argparse.Namespace) -> int:
    """`latentloom draw FILE`."""
    from latentloom.console.drawing import save_drawing

    job = _open(options)
    actions: dict[str, str] = {}
    if options.plan:
        with open_engine(job.registry) as engine:
            steps = engine.plan(job.graph, job.workspace).nodes
            actions = {id: step.action for id, step in steps.items()}
    save_drawing(job.graph, job.registry, Path(options.out), actions)
    print(options.out)
    return DONE


def diff(options: argparse.Namespace) -> int:
    """`latentloom diff A B`."""
    from latentloom.console.comparing import DiffPage, diff_as_git, print_diff

    registry = installed_nodes()
    if options.git:
        return diff_as_git(options.files, registry)
    if len(options.files) != 2:
        print("latentloom diff: expected two files", file=sys.stderr)
        return USAGE
    old, new = (find_file(name) for name in options.files)
    if not options.html:
        return print_diff(old, new, registry, options.json)
    with open_engine(registry) as engine:
        folders = (open_workspace(options, old), open_workspace(options, new))
        page = DiffPage(Path(options.html), engine, folders)
        return print_diff(old, new, registry, options.json, page)


def compare(options: argparse.Namespace) -> int:
    """`latentloom compare A B`."""
    from latentloom.console.image_comparing import compare_results

    paths = find_file(options.old), find_file(options.new)
    with open_engine(installed_nodes()) as engine:
        return compare_results(options, paths, engine)


def test(options: argparse.Namespace) -> int:
    """`latentloom test FILE...`."""
    from latentloom.console.testing import run_tests

    with open_engine(installed_nodes()) as engine:
        return run_tests(options, engine)


def merge(options: argparse.Namespace) -> int:
    """`latentloom merge BASE OURS THEIRS`."""
    from latentloom.console.comparing import print_merge

    paths = Path(options.base), Path(options.ours), Path(options.theirs)
    return print_merge(paths, options.output, installed_nodes(), options.json)


def replay(options: argparse.Namespace) -> int:
    """`latentloom replay IMAGE`."""
    from latentloom.console.replaying import replay_image

    return replay_image(options, installed_nodes(), open_workspace(options, Path(options.file)))


def lock(options: argparse.Namespace) -> int:
    """`latentloom lock FILE`."""
    from latentloom.console.locking import write_lock_file

    return write_lock_file(options, _open(options))


def pack(options: argparse.Namespace) -> int:
    """`latentloom pack FILE`."""
    from latentloom.console.locking import pack_folder

    job = _open(options)
    with open_engine(job.registry) as engine:
        return pack_folder(options, job, engine)


def serve(options: argparse.Namespace) -> int:
    """`latentloom serve`."""
    from latentloom.web.serving import serve as serve_until_stopped

    _check_model_folders()
    return serve_until_stopped(options, installed_nodes)


def models(options: argparse.Namespace) -> int:
    """`latentloom models`."""
    from latentloom.console.listing import print_models

    _check_model_folders()
    return print_models(options, installed_nodes())


def cache(options: argparse.Namespace) -> int:
    """`latentloom cache`."""
    from latentloom.console.views import format_store, store_to_object, to_json
    from latentloom.engine.cache.generation import open_store
    from latentloom.nodes.ports import stored_digests

    store = open_store(installed_nodes())
    if store is not None and options.clear:
        store.clear()
        if digests := stored_digests():
            digests.clear()
    print(to_json(store_to_object(store)) if options.json else format_store(store))
    return DONE


def _check_model_folders() -> None:
    from latentloom.nodes.ports import check_model_folders

    for message in check_model_folders():
        print(f"warning: {message}", file=sys.stderr)


def _open(options: argparse.Namespace) -> Invocation:
    return open_graph(options, installed_nodes())


def _complain(error: Exception, options: argparse.Namespace) -> None:
    from latentloom.console.views import failure_to_object, format_error, to_json

    if getattr(options, "json", False):
        print(to_json(failure_to_object(error)))
    else:
        print(format_error(error), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    from latentloom.console.parser import make_parser
    from latentloom.web.serving import add_options

    graphs = (run, plan, check, batch, sweep, convert, draw, edit, diff, compare, merge, python)
    commands = (*graphs, replay, lock, pack, test, nodes, schema, models, cache, serve)
    return make_parser({command.__name__: command for command in commands}, add_options)


if __name__ == "__main__":
    sys.exit(main())
