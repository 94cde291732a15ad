"""The table of all nodes in docs/nodes.md."""

from __future__ import annotations

from itertools import groupby

from latentloom.engine.node.registry import Registry

HEAD = """\
# Nodes

Names, inputs and outputs are ComfyUI's. `latentloom nodes KSampler` describes one node.
`latentloom nodes --markdown` prints this page.

| category | nodes |
|---|---|
"""


def node_page(registry: Registry) -> str:
    """Return the page as Markdown, one row a category."""
    specs = sorted(registry.values(), key=lambda spec: (spec.category, spec.name))
    rows = [
        f"| {category} | {', '.join(f'`{spec.name}`' for spec in group)} |\n"
        for category, group in groupby(specs, key=lambda spec: spec.category)
    ]
    return HEAD + "".join(rows)
