"""ComfyUI's editor in Debian's Chromium, against a server of ours in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from tests.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# What the editor asks for without need: other people's servers, and a file nobody has made.
NOT_OURS = ("api.comfy.org", "comfy.templates.json", "ERR_NAME_NOT_RESOLVED", "ERR_INTERNET")
SHOTS = Path(os.environ.get("LATENTLOOM_SHOTS", ROOT / "output" / "screenshots"))
PATIENCE_MS = 120_000


class Server:
    """`server.py` as a program."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "server.py", "--data", str(data), "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rstrip("/")

    def get(self, path: str) -> Any:
        """The JSON answer of a route."""
        with urlopen(f"{self.url}{path}", timeout=30) as response:
            return json.load(response)

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer of a route to a body."""
        request = Request(f"{self.url}{path}", json.dumps(body).encode(), method="POST")
        with urlopen(request, timeout=30) as response:
            text = response.read()
            return json.loads(text) if text else None

    def stop(self) -> None:
        """End it as a service manager does."""
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Editor:
    """A page with the editor in it, and what went wrong in it."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note what the console and the network complain of, as far as it is ours."""
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self._note(f"{message.text} {message.location.get('url', '')}")
                if message.type == "error"
                else None
            ),
        )

    def open(self) -> None:
        """Load the editor and wait until it can be used."""
        self.page.goto(self.url)
        self.wait("window.app?.graph && window.app?.extensionManager?.setting")
        self.page.wait_for_timeout(300)

    def template(self, name: str) -> None:
        """Open one of the shipped graphs, from the list that a first visit shows."""
        self.page.get_by_text(name, exact=True).first.click()
        self.wait("app.graph._nodes.length > 4")

    def run(self) -> None:
        """Press Run."""
        self.page.get_by_role("button", name="Run", exact=True).first.click()

    def wait(self, condition: str) -> None:
        """Wait for a condition in JavaScript."""
        self.page.wait_for_function(f"() => !!({condition})", timeout=PATIENCE_MS)

    def ask(self, expression: str) -> Any:
        """The value of an expression in JavaScript."""
        return self.page.evaluate(expression)

    def do(self, statements: str) -> None:
        """Run statements in JavaScript."""
        self.page.evaluate(f"() => {{ {statements} }}")

    def drop(self, name: str, text: str) -> None:
        """Drop a file on the canvas."""
        self.page.evaluate(
            """([name, text]) => {
              const dataTransfer = new DataTransfer()
              dataTransfer.items.add(new File([text], name))
              const canvas = document.getElementById('graph-canvas')
              for (const kind of ['dragenter', 'dragover', 'drop'])
                canvas.dispatchEvent(
                  new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })
                )
            }""",
            [name, text],
        )

    def node(self, type: str) -> str:
        """An expression for the first node of a type."""
        return f"app.graph._nodes.find(node => node.type === {json.dumps(type)})"

    def shot(self, name: str) -> None:
        """Keep an image of the page for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def _note(self, text: str) -> None:
        if not any(word in text for word in NOT_OURS):
            self.errors.append(text)


@contextmanager
def chromium_page(url: str) -> Iterator[Editor]:
    """A fresh browser with one page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        editor = Editor(page, url)
        editor.watch()
        try:
            yield editor
        finally:
            browser.close()
