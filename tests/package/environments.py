"""Environments for the tests of packaging: bare ones, to which the installed libraries are lent."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def call(*command: object, cwd: Path) -> str:
    """Run a program without this process's path of imports, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def bare_environment(folder: Path, *install: object) -> Path:
    """Install into a new environment, without dependencies and offline; return its `bin`.

    The libraries of this process are found after those of the environment. Their editable
    installs are not: a `.pth` file is read in the folder of the environment only.
    """
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(
        folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index",
        "--no-build-isolation", "--ignore-installed", *install, cwd=folder,
    )  # fmt: skip
    return folder / "bin"
