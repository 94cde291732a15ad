"""Node types that exist in the editor alone, of the core and of packs, by what they do to links.

The server of ComfyUI does not know them; the editor resolves them when it makes a prompt.
"""

from __future__ import annotations

PRIMITIVE = "PrimitiveNode"
SEED_EVERYWHERE = "Seed Everywhere"
PROMPTS_EVERYWHERE = "Prompts Everywhere"
FILTERED_EVERYWHERE = "Anything Everywhere?"

SETTERS = frozenset({"SetNode", "easy setNode"})
GETTERS = frozenset({"GetNode", "easy getNode"})
"""They give a name to a link, and stand for the link of a name."""

PASSING = frozenset({"Reroute", "Reroute (rgthree)", *SETTERS})
"""Their output is their first input."""

BROADCASTS = frozenset(
    {
        "Anything Everywhere",
        "Anything Everywhere3",
        FILTERED_EVERYWHERE,
        PROMPTS_EVERYWHERE,
        SEED_EVERYWHERE,
    }
)
"""They feed inputs that have no link, wherever these are; see `comfy_broadcast`."""

DECORATIONS = frozenset(
    {
        "Note",
        "MarkdownNote",
        "Bookmark (rgthree)",
        "Fast Actions Button (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Muter (rgthree)",
        "Label (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Node Collector (rgthree)",
        "Node Combiner (rgthree)",
        "Random Unmuter (rgthree)",
    }
)
"""They carry no value: notes, labels, and switches of the modes that a file holds already."""

VIRTUAL = frozenset({PRIMITIVE, *GETTERS, *PASSING, *BROADCASTS, *DECORATIONS})
