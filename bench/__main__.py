"""Run every benchmark: `python -m bench [--json FILE]` prints a table and writes JSON."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bench.clock import Measurement
from bench.files import file_rows
from bench.images import image_rows
from bench.overhead import engine_rows, startup_rows
from bench.serving import serving_rows
from bench.sweeps import sweep_rows


def main() -> None:
    """Measure, print each figure as it comes, and write the JSON at the end."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench/results/latest.json"))
    options = parser.parse_args()
    rows = []
    for row in _all_rows():
        aim = ""
        if row.aim:
            aim = f"   (aim {row.aim:g}: {'met' if row.value <= row.aim else 'MISSED'})"
        print(f"{row.name:46} {row.value:10.2f} {row.unit}{aim}", flush=True)
        rows.append(asdict(row))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "system": platform.platform()}
    options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"written to {options.json}")


def _all_rows() -> Iterator[Measurement]:
    yield from startup_rows()
    yield from engine_rows()
    yield from file_rows()
    yield from image_rows()
    yield from serving_rows()
    yield from sweep_rows()


if __name__ == "__main__":
    main()
