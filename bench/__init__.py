"""Benchmarks: `python -m bench` prints medians and writes them as JSON. Tests are never timed."""
