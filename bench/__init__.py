"""Benchmarks: `python -m bench` prints medians and writes them as JSON. Never timed tests."""
