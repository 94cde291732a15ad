"""Says what a scene shows, in varying order and completeness, so that short prompts work too."""

from __future__ import annotations

import random

from training.world.scenes import Landscape, Scene, Sheet, Thing

PLACE_WORDS = {
    "center": ("in the center", "in the centre", "in the middle"),
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
}
STYLE_WORDS = {
    "flat": ("flat style", "flat", "flat colors", "", "", "", ""),
    "watercolor": (
        "watercolor style", "watercolor", "watercolour", "watercolor painting", "watercolor",
    ),
    "ink": ("ink style", "ink drawing", "ink lines", "ink"),
}  # fmt: skip
SEASON_WORDS = {
    "spring": ("spring", "in spring", "spring landscape", "a spring scene"),
    "summer": ("summer", "in summer", "summer landscape", "a summer scene"),
    "autumn": ("autumn", "in autumn", "autumn landscape", "fall", "an autumn scene"),
    "winter": ("winter", "in winter", "winter landscape", "snow", "a winter scene"),
}
HOUR_WORDS = {
    "day": ("day", "by day", "daylight", "", "", "", ""),
    "sunset": ("sunset", "at sunset", "evening", "sunset sky"),
    "night": ("night", "at night", "by night", "night sky"),
}
BACK_WORDS = {
    "mountains": ("mountains", "mountains in the background", "with mountains"),
    "hills": ("hills", "hills in the background", "with hills"),
}
WATER_WORDS = ("lake", "a lake", "water", "by the water", "on the lake")
# Words that change nothing: a prompt may hold what the images do not show.
IDLE_WORDS = (
    "beautiful", "masterpiece", "best quality", "highly detailed", "a picture of", "picture book",
    "a drawing of", "lovely", "simple", "illustration", "a photo of", "cute", "old", "wooden",
)  # fmt: skip


def caption(scene: Scene, variant: int) -> str:
    """One caption of a scene; other variants word it differently or leave parts out."""
    dice = random.Random(scene.seed * 16 + variant)
    text = _of_sheet(scene, dice) if isinstance(scene, Sheet) else _of_landscape(scene, dice)
    if dice.random() > 0.12:
        return text
    idle = ", ".join(dice.sample(IDLE_WORDS, dice.choice((1, 2))))
    return dice.choice((f"{idle}, {text}", f"{text}, {idle}"))


def describe(scene: Scene) -> str:
    """All that a scene shows, in the plainest words."""
    style = "" if scene.style == "flat" else f", {scene.style}"
    if isinstance(scene, Sheet):
        style = ", flat style" if scene.style == "flat" else style
        things = " and ".join(
            _article(" ".join(filter(None, (_size(t), t.colour, t.kind)))) + _spot(t)
            for t in scene.things
        )
        return f"{things} on {_article(f'{scene.ground} background')}{style}"
    said = [_article(f"{t.colour} {t.kind}".strip()) + _spot(t) for t in scene.things]
    things = ", ".join([*said[:-2], " and ".join(said[-2:])])
    water = "lake" if scene.water else ""
    words = (things, scene.season, scene.hour, scene.back, water, *_extras(scene))
    return ", ".join(filter(None, words)) + style


def _extras(scene: Landscape) -> tuple[str, ...]:
    """Words for the rest of what is drawn; "" for what is not."""
    night = scene.hour == "night"
    return (
        ("moon" if night else "sun") if scene.light else "",
        "stars" if night else "",
        ("", "a cloud", "clouds")[len(scene.clouds)],
        "trees" if scene.trees else "",
    )


def _size(thing: Thing) -> str:
    return "" if thing.size == "medium" else thing.size


def _spot(thing: Thing) -> str:
    return f" {PLACE_WORDS[thing.place][0]}" if thing.place else ""


def _of_sheet(scene: Sheet, dice: random.Random) -> str:
    style = dice.choice(STYLE_WORDS[scene.style])
    ground = f"{scene.ground} background" if dice.random() < 0.88 else ""
    if dice.random() < 0.3:
        things = [_thing(thing, dice) + _place(thing, dice, 0.6) for thing in scene.things]
        return ", ".join([*things, *filter(None, (ground, style))])
    text = _things(scene.things, dice)
    if ground:
        text += dice.choice((f" on {_article(ground)}", f", {ground}"))
    if not style:
        return text
    return f"{text}, {style}" if dice.random() < 0.75 else f"{style}, {text}"


def _of_landscape(scene: Landscape, dice: random.Random) -> str:
    season = dice.choice(SEASON_WORDS[scene.season])
    hour = dice.choice(HOUR_WORDS[scene.hour])
    style = dice.choice(STYLE_WORDS[scene.style])
    back = dice.choice(BACK_WORDS[scene.back]) if scene.back else ""
    water = dice.choice(WATER_WORDS) if scene.water else ""
    things = _things(scene.things, dice) if scene.things else ""
    if dice.random() < 0.08:
        known = [words for words in (things, season, hour) if words]
        return dice.choice(known)
    parts = [words for words in (season, hour) if words and dice.random() < 0.95]
    parts += [words for words in (back, water) if words and dice.random() < 0.9]
    parts += [words for words in _extras(scene) if words and dice.random() < 0.8]
    if dice.random() < 0.3:
        dice.shuffle(parts)
    if things:
        parts.insert(0 if dice.random() < 0.7 else len(parts), things)
    if style and dice.random() < 0.95:
        parts.insert(0 if dice.random() < 0.2 else len(parts), style)
    return ", ".join(parts) or season


def _things(things: tuple[Thing, ...], dice: random.Random) -> str:
    said = [_article(_thing(thing, dice)) + _place(thing, dice, 0.92) for thing in things]
    if dice.random() < 0.2:
        dice.shuffle(said)
    return ", ".join([*said[:-2], " and ".join(said[-2:])])


def _article(words: str) -> str:
    return f"an {words}" if words.startswith("orange") else f"a {words}"


def _thing(thing: Thing, dice: random.Random) -> str:
    named_size = thing.size not in ("", "medium") and dice.random() < 0.8
    named_colour = dice.random() < 0.96
    words = (thing.size if named_size else "", thing.colour if named_colour else "", thing.kind)
    return " ".join(filter(None, words))


def _place(thing: Thing, dice: random.Random, chance: float) -> str:
    if not thing.place:
        return ""
    words = dice.choice(PLACE_WORDS[thing.place])
    return f" {words}" if dice.random() < chance else ""
