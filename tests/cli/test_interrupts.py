"""Ctrl-C while a node runs that does not look at the cancel token."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

GRAPH = """\
latentloom: 1
nodes:
  wait: {node: Wait, a: 1, gate: never, steps: 99}
  show: {node: Show, value: $wait.0}
"""
# The node's first step takes ten minutes; what it notes tells the test that it has begun.
STUBBORN = """
import sys, time
from types import SimpleNamespace
from latentloom import cli
from tests.engine import fakes
fakes.note = lambda line: print(line, file=sys.stderr, flush=True)
fakes.gates["never"] = SimpleNamespace(wait=lambda seconds: time.sleep(600))
cli.installed_nodes = lambda: fakes.REGISTRY
raise SystemExit(cli.main(sys.argv[1:]))
"""


def test_a_second_ctrl_c_ends_a_run_whose_node_does_not_stop(tmp_path: Path) -> None:
    (tmp_path / "graph.yaml").write_text(GRAPH)
    arguments = ("run", str(tmp_path / "graph.yaml"), "--output", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        _read_until(process, "Wait 1 step 0")
        process.send_signal(signal.SIGINT)
        _read_until(process, "cancelling after")
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "Traceback" not in process.stderr.read()


def _read_until(process: subprocess.Popen[str], start: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(start):
            return
    pytest.fail(f"the process ended before it wrote {start!r}")
