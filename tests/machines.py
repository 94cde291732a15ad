"""Run the suite as other processors would: `python -m tests.machines`, or `make test-machines`.

Each row sets what the libraries look at before they choose their instructions. Arguments are those
of pytest; by default the tests whose numbers depend on the processor are run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

IN_PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")
NUMERIC = ("tests/diffusion", "tests/nodes", "tests/training", "tests/test_graphs.py")
MACHINES: dict[str, dict[str, str]] = {
    "this machine, 1 thread": {"OMP_NUM_THREADS": "1"},
    "this machine, 2 threads": {"OMP_NUM_THREADS": "2"},
    "torch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "torch with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL as on any processor": {"MKL_CBWR": "COMPATIBLE"},
    "MKL as without AVX": {"MKL_CBWR": "SSE4_2"},
    "nothing newer than SSE4, 2 threads": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OMP_NUM_THREADS": "2",
    },
    "without oneDNN": {"PYTEST_ADDOPTS": "-p tests.without_mkldnn"},
}


def main(arguments: list[str]) -> int:
    """Run the tests on each machine and print a table; 1 if a test failed on any of them."""
    failed = False
    for name, variables in MACHINES.items():
        begin = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-m", "not slow", *IN_PARALLEL, *arguments]
        run = subprocess.run(
            command, env={**os.environ, **variables}, check=False, capture_output=True, text=True
        )
        failures = [
            line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))
        ]
        failed |= run.returncode != 0
        verdict = "passed" if run.returncode == 0 else f"{len(failures)} failed"
        sys.stdout.write(f"{name:36} {verdict:12} {time.monotonic() - begin:6.0f} s\n")
        sys.stdout.writelines(f"    {line}\n" for line in failures)
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(NUMERIC)))
