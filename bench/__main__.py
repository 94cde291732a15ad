"""`python -m bench [--json FILE]`: every benchmark, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bench.clock import Row
from bench.images import image_rows
from bench.overhead import door_rows, engine_rows
from bench.serving import serving_rows


def main() -> None:
    """Measure, print as it goes, write the JSON at the end."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench/results/latest.json"))
    options = parser.parse_args()
    rows = []
    for row in _all_rows():
        aim = (
            f"   (aim {row.aim:g}: {'met' if row.value <= row.aim else 'MISSED'})"
            if row.aim
            else ""
        )
        print(f"{row.name:46} {row.value:10.1f} {row.unit}{aim}", flush=True)
        rows.append(asdict(row))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "system": platform.platform()}
    options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"written to {options.json}")


def _all_rows() -> Iterator[Row]:
    yield from door_rows()
    yield from engine_rows()
    yield from image_rows()
    yield from serving_rows()


if __name__ == "__main__":
    main()
