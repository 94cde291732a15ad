"""`latentloom serve` and server.py as programs: starting, being refused, stopping in good order."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.paths import ROOT

COMMANDS = [["server.py"], ["-m", "cli", "serve"]]


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that serves, and the address that it prints."""
    command = [sys.executable, *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("command", COMMANDS, ids=["server.py", "latentloom serve"])
def test_it_answers_and_stops_when_it_is_asked_to(command: list[str], tmp_path: Path) -> None:
    with started(*command, "--data", str(tmp_path)) as (process, url):
        with urlopen(f"{url}prompt", timeout=20) as response:
            assert json.load(response) == {"exec_info": {"queue_remaining": 0}}
        process.terminate()
        assert process.wait(60) == 0
    assert not (tmp_path / ".latentloom" / "queue.sqlite-wal").exists()


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with started("server.py", "--data", str(tmp_path)):
        command = [sys.executable, "server.py", "--data", str(tmp_path), "--port", "0"]
        second = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert second.returncode == 1
    assert "in use by another server" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_that_is_taken_and_an_open_address_are_refused(tmp_path: Path) -> None:
    with started("server.py", "--data", str(tmp_path / "a")) as (_, url):
        port = url.rstrip("/").rpartition(":")[2]
        command = [sys.executable, "server.py", "--data", str(tmp_path / "b"), "--port", port]
        taken = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert taken.returncode == 1
    assert "cannot listen on 127.0.0.1" in taken.stderr
    assert "Address already in use; choose another --port" in taken.stderr
    assert "Traceback" not in taken.stderr


def test_a_run_that_is_stopped_with_the_server_is_put_back(tmp_path: Path) -> None:
    from latentloom.engine.jobs.store import JobStore

    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "demo"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a house", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0],
                "latent_image": ["3", 0], "steps": 9999,
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}},
    }  # fmt: skip
    with started("server.py", "--data", str(tmp_path)) as (process, url):
        body = json.dumps({"prompt": graph, "prompt_id": "long"}).encode()
        with urlopen(Request(f"{url}prompt", body, method="POST"), timeout=20) as response:
            assert response.status == 200
        until_runs(url, "long")
        process.terminate()
        assert process.wait(60) == 0
    store = JobStore(tmp_path / ".latentloom" / "queue.sqlite")
    job = store.find("long")
    store.close()
    assert job is not None
    assert (job.state, job.attempts) == ("pending", 0)


# A node that says when it has begun and looks at no cancel for ten minutes, and a server that
# waits a moment for it.
STUBBORN = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from tests.engine import fakes
from latentloom.web import worker
from latentloom.web.serving import main
worker.GRACE_S = float(sys.argv[1])
fakes.note = lambda line: Path(sys.argv[2]).touch()
fakes.gates["never"] = SimpleNamespace(wait=lambda seconds: time.sleep(600))
raise SystemExit(main(sys.argv[3:], lambda: fakes.REGISTRY))
"""


@pytest.mark.parametrize(("grace_s", "signals", "code"), [(0.2, 1, 0), (60.0, 2, 130)])
def test_a_node_that_cannot_be_stopped_does_not_hold_the_server(
    grace_s: float, signals: int, code: int, tmp_path: Path
) -> None:
    from latentloom.engine.jobs.store import JobStore

    graph = {
        "1": {"class_type": "Wait", "inputs": {"a": 1, "gate": "never", "steps": 99}},
        "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
    }
    begun = tmp_path / "begun"
    program = ("-c", STUBBORN, str(grace_s), str(begun), "--data", str(tmp_path))
    with started(*program) as (process, url):
        body = json.dumps({"prompt": graph, "prompt_id": "stubborn"}).encode()
        with urlopen(Request(f"{url}prompt", body, method="POST"), timeout=20) as response:
            assert response.status == 200
        give_up = time.monotonic() + 60
        # A cancel that came before the node began would end the job at once.
        while not begun.exists():
            assert time.monotonic() < give_up
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        # Two signals at once may arrive as one, so the second is sent until it has come.
        while signals > 1 and process.poll() is None:
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(60) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    store = JobStore(tmp_path / ".latentloom" / "queue.sqlite")
    job = store.find("stubborn")
    store.close()
    assert job is not None
    assert job.state == "pending"


# A server whose first prompt is being parsed for ten minutes.
PARSING = """
import sys, time
from pathlib import Path
from tests.engine import fakes
from latentloom.web import queueing
from latentloom.web.serving import main
def parse(*_):
    Path(sys.argv[1]).touch()
    time.sleep(600)
queueing.accept = parse
raise SystemExit(main(sys.argv[2:], lambda: fakes.REGISTRY))
"""


def test_a_signal_to_stop_does_not_wait_for_a_request(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with started("-c", PARSING, str(begun), "--data", str(tmp_path)) as (process, url):
        host, _, port = urlsplit(url).netloc.partition(":")
        with closing(socket.create_connection((host, int(port)), timeout=60)) as client:
            body = b'{"prompt": {}}'
            head = f"POST /prompt HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            give_up = time.monotonic() + 60
            while not begun.exists():
                assert time.monotonic() < give_up
                time.sleep(0.05)
            process.terminate()
            assert process.wait(60) == 0
        assert process.stderr is not None
        assert "a request runs; exiting without it" in process.stderr.read()


# A server that would wait ten minutes for what does not end.
PATIENT = """
import sys
from tests.engine import fakes
from latentloom.web import worker
from latentloom.web.serving import main
worker.GRACE_S = 600.0
raise SystemExit(main(sys.argv[1:], lambda: fakes.REGISTRY))
"""


def test_open_connections_do_not_hold_the_server(tmp_path: Path) -> None:
    with started("-c", PATIENT, "--data", str(tmp_path)) as (process, url):
        host, _, port = urlsplit(url).netloc.partition(":")
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        with ExitStack() as clients:
            for path, headers in (("/ws", upgrade), ("/prompt", ""), ("/prompt", "")):
                client = socket.create_connection((host, int(port)), timeout=60)
                clients.enter_context(closing(client))
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
                assert client.recv(8) == b"HTTP/1.1"
            # One has sent a part of a request.
            client.sendall(b"POST /prompt HTTP/1.1\r\nHost:")
            process.terminate()
            assert process.wait(60) == 0


def until_runs(url: str, id: str) -> None:
    """Wait until a job runs, half a minute at most."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        with urlopen(f"{url}api/jobs/{id}", timeout=20) as response:
            if json.load(response)["status"] == "in_progress":
                return
    pytest.fail(f"the job {id} did not start")
