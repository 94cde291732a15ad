"""A server of test nodes as a program, to be killed; and what kills it.

python -m tests.web.crashing serve DATA     the server, on any port; prints its address
python -m tests.web.crashing soak KILLS     kills a server that often, and reports
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from latentloom.engine.cache.disk import TEMPORARY, Store
from latentloom.engine.cache.generation import VARIABLE
from latentloom.engine.files.saving import prepare_target, write_numbered
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.web.serving import main
from tests.paths import ROOT

LINES = 2000
MAX_WAIT_S = 30.0


@node("Keep", category="test", output=True)
def keep(name: str, context: Context) -> Saved:
    """Write a file of many lines that all say the same."""
    text = f"{name}\n" * LINES
    path, _ = write_numbered(prepare_target(name, context.output_dir), text.encode(), 1, ".txt")
    return Saved((path,))


@node("Die", category="test", output=True)
def die(name: str) -> None:
    """End the process as a kill does."""
    os.kill(os.getpid(), signal.SIGKILL)


@node("Labour", category="test", device=True)
def labour(folder: str) -> int:
    """Long work, of which each turn leaves a line."""
    with (Path(folder) / "labour.txt").open("a") as file:
        file.write("done\n")
    return 7


@node("DieOnce", category="test")
def die_once(value: int, folder: str) -> int:
    """End the process as a kill does, a moment after the work before was done; but once only."""
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@node("Tell", category="test", output=True)
def tell(value: int) -> None:
    """Take a number."""


@dataclass
class Report:
    """The fate of the acknowledged jobs."""

    kills: int = 0
    acknowledged: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Child:
    """A server process on a data folder."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "tests.web.crashing", "serve", str(data)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, VARIABLE: str(data / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = urlsplit(self.process.stdout.readline().strip()).netloc

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request.

        Raises:
            OSError, http.client.HTTPException: the server is dead or dying.
        """
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            text = response.read()
            return json.loads(text) if text else None
        finally:
            connection.close()

    def submit(self, prompt: Any, id: str) -> None:
        """Submit a job that may kill the server before it answers."""
        with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
            self.ask("POST", "/prompt", {"prompt": prompt, "prompt_id": id})

    def history_with(self, id: str) -> Any:
        """Wait until a job has ended, and return the history."""
        give_up = time.monotonic() + MAX_WAIT_S
        while id not in (history := self.ask("GET", "/history")) and time.monotonic() < give_up:
            time.sleep(0.02)
        return history

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        self.process.wait(MAX_WAIT_S)
        self._forget()

    def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()


def soak(data: Path, kills: int, seed: int = 0) -> Report:
    """Submit jobs without a pause to a server that is killed at random instants; then count."""
    chance, report, start = random.Random(seed), Report(kills), time.monotonic()
    for life in range(kills):
        child = Child(data)
        until = time.monotonic() + chance.uniform(0.0, 0.15)
        number = 0
        while time.monotonic() < until:
            name = f"job_{life}_{number}"
            prompt = {"1": {"class_type": "Keep", "inputs": {"name": name}}}
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                child.ask("POST", "/prompt", {"prompt": prompt, "prompt_id": name})
                report.acknowledged.append(name)
            number += 1
        child.kill()
    _count(data, report)
    report.seconds = time.monotonic() - start
    return report


def _count(data: Path, report: Report) -> None:
    """Let the rest run, and look for every job that was acknowledged."""
    child = Child(data)
    try:
        give_up = time.monotonic() + MAX_WAIT_S
        while child.ask("GET", "/prompt")["exec_info"]["queue_remaining"]:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        history = child.ask("GET", "/history")
    finally:
        child.kill()
    for name in report.acknowledged:
        entry = history.get(name)
        if entry is None:
            report.lost.append(name)
        elif entry["status"]["status_str"] != "success":
            report.parked.append(name)
        elif not list((data / "output").glob(f"{name}_*_.txt")):
            report.lost.append(name)
    for path in (data / "output").glob("*.txt"):
        lines = path.read_text().splitlines()
        if len(lines) != LINES or set(lines) != {path.name.rpartition("_0")[0]}:
            report.torn.append(path.name)
    for path in (data / "cache").glob("*/entries/*/*"):
        stored = Store(data / "cache", path.parents[2].name)
        if path.suffix != TEMPORARY and stored.load(path.name) is None:
            report.torn.append(path.name)


if __name__ == "__main__":
    action, argument = sys.argv[1:]
    if action == "serve":
        options = ["--data", argument, "--port", "0"]
        sys.exit(main(options, lambda: Registry.of(keep, die, labour, die_once, tell)))
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), int(argument), seed=time.time_ns())
    sys.stdout.write(
        f"{result.kills} kills in {result.seconds:.0f} s, {len(result.acknowledged)} jobs "
        f"acknowledged, {len(result.lost)} lost, {len(result.torn)} torn files, "
        f"{len(result.parked)} parked\n"
    )
    sys.exit(bool(result.lost or result.torn))
