"""Says what a scene shows, in varying order and completeness, so that short prompts work too."""

from __future__ import annotations

import random

from training.scenes import Scene, Thing

PLACE_WORDS = {
    "center": ("in the center", "in the centre", "in the middle"),
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
STYLE_WORDS = {
    "flat": ("flat style", "flat", "", "", ""),
    "watercolor": ("watercolor style", "watercolor", "watercolour", "watercolor painting"),
    "night": ("night", "at night", "night style"),
}


def caption(scene: Scene, variant: int) -> str:
    """One caption of a scene; other variants word it differently or leave parts out."""
    dice = random.Random(scene.seed * 16 + variant)
    style = dice.choice(STYLE_WORDS[scene.style])
    ground = _ground(scene, dice) if dice.random() < 0.88 else ""
    if dice.random() < 0.7:
        return _sentence(scene, ground, style, dice)
    words = [_thing(thing, dice) + _place(thing, dice, 0.6) for thing in scene.things]
    return ", ".join([*words, *filter(None, (ground, style))])


def _sentence(scene: Scene, ground: str, style: str, dice: random.Random) -> str:
    things = (
        _article(_thing(thing, dice))
        + _place(thing, dice, 0.5 if thing.place == "center" else 0.85)
        for thing in scene.things
    )
    text = " and ".join(things)
    if ground and scene.ground == "land":
        text += dice.choice((", ", " with ")) + ground
    elif ground:
        text += dice.choice((f" on {_article(ground)}", f", {ground}"))
    if not style:
        return text
    if style.startswith("at ") or dice.random() < 0.75:
        return f"{text}{' ' if style.startswith('at ') else ', '}{style}"
    return f"{style}, {text}"


def _article(words: str) -> str:
    return f"an {words}" if words.startswith("orange") else f"a {words}"


def _thing(thing: Thing, dice: random.Random) -> str:
    named_size = thing.size != "medium" and dice.random() < 0.8
    named_colour = dice.random() < 0.96
    words = (thing.size if named_size else "", thing.colour if named_colour else "", thing.shape)
    return " ".join(filter(None, words))


def _place(thing: Thing, dice: random.Random, chance: float) -> str:
    words = dice.choice(PLACE_WORDS[thing.place])
    return f" {words}" if dice.random() < chance else ""


def _ground(scene: Scene, dice: random.Random) -> str:
    if scene.ground == "solid":
        return f"{scene.colour} background"
    if scene.ground == "gradient":
        return f"{scene.colour} and {scene.second} gradient background"
    return dice.choice((
        f"{scene.colour} sky and {scene.second} ground",
        f"{scene.second} ground under a {scene.colour} sky",
    ))  # fmt: skip
