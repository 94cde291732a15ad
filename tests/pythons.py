"""Run the engine, formats and server on other Pythons: `python -m tests.pythons`.

`make test-pythons` does this with every other Python on PATH that the project supports. Each gets a
virtual environment without torch, for which not every Python has a CPU build: what computes images
is skipped there. Arguments are those of pytest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from tests.machines import IN_PARALLEL
from tests.paths import ROOT

VERSIONS = ("3.11", "3.12", "3.13")
NEED_TORCH = {"diffusers", "torch", "torchsde", "transformers"}
TESTS = (
    "hypothesis",
    "playwright",
    "pytest",
    "pytest-xdist",
    "setuptools",
    "comfyui-frontend-package",
)
WITHOUT_TORCH = ("tests/engine", "tests/web", "tests/cli")


def main(arguments: list[str]) -> int:
    """Test each Python that is here and print a line for it; 1 if one failed or none is here."""
    current = f"{sys.version_info.major}.{sys.version_info.minor}"
    programs = {
        version: program
        for version in VERSIONS
        if version != current and (program := _find(version)) is not None
    }
    passed = [_test(version, program, arguments) for version, program in programs.items()]
    for version in set(VERSIONS) - {current, *programs}:
        sys.stdout.write(f"python{version} is not on this machine\n")
    return 0 if passed and all(passed) else 1


def _find(version: str) -> str | None:
    """Return a program of this version. A name on PATH may be a shim that runs nothing."""
    program = shutil.which(f"python{version}")
    if program is None:
        return None
    check = subprocess.run([program, "-c", ""], check=False, capture_output=True)
    return program if check.returncode == 0 else None


def _test(version: str, program: str, arguments: list[str]) -> bool:
    python = _environment(version, program)
    begin = time.monotonic()
    command = [str(python), "-m", "pytest", "-m", "not slow", *IN_PARALLEL, *arguments]
    run = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    lines = run.stdout.splitlines() or run.stderr.splitlines() or ["nothing printed"]
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    verdict = "passed" if run.returncode == 0 else "failed"
    sys.stdout.write(
        f"python{version:6} {verdict} {time.monotonic() - begin:6.0f} s  {lines[-1]}\n"
    )
    sys.stdout.writelines(f"    {line}\n" for line in failures)
    sys.stdout.flush()
    return run.returncode == 0


def _environment(version: str, program: str) -> Path:
    """Make the virtual environment `.venv-VERSION`, or bring it up to date."""
    folder = ROOT / f".venv-{version}"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([program, "-m", "venv", folder], check=True)
    install = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    subprocess.run([*install, "-c", ROOT / "constraints.txt", *_requirements()], check=True)
    subprocess.run([*install, "--no-deps", "-e", ROOT], check=True)
    return python


def _requirements() -> list[str]:
    """Return what the project and its tests need, without torch and what stands on it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    dev = [line for line in project["optional-dependencies"]["dev"] if _name(line) in TESTS]
    return [line for line in project["dependencies"] if _name(line) not in NEED_TORCH] + dev


def _name(requirement: str) -> str:
    match = re.match(r"[\w-]+", requirement)
    return match.group() if match else requirement


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(WITHOUT_TORCH)))
