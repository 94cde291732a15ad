"""The graph file that the tests of the command line use too."""

from __future__ import annotations

from tests.cli.conftest import graph

__all__ = ["graph"]
