"""Text recipes: from prompts to what the networks of a family take, one row each. No torch here.

Templates are those that the families were trained with; sources are diffusers' pipelines.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ..errors import UnsuitableValueError
from ..weights.text_keys import KIND_NAMES, KIND_ORDER, TextKind

Join = Literal["chunks", "pooled_l", "sd3", "sequence"]

USER_TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
DESCRIBE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
    "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
)
IMAGE_WORD = "<|image_pad|>"
IMAGE = f"<|vision_start|>{IMAGE_WORD}<|vision_end|>"
EDIT_TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, "
    "texture, objects, background), then explain how the user's text instruction should alter or "
    "modify the image. Generate a new image that meets the user's requirements while maintaining "
    "consistency with the original input where appropriate.<|im_end|>\n"
) + USER_TURN
LAST = -1


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """The way from a prompt to the conditioning of a family.

    Attributes:
        family: name of the family.
        kinds: its text encoders, in the order of KIND_ORDER.
        types: the loaders' types that select it.
        is_default: selected by any other type too, since no other recipe has these encoders.
        is_partial: some of the encoders may be missing.
        join: chunks of CLIP side by side; the sequence of T5 with the pooled encoding of CLIP-L;
            both CLIPs, padded, then T5 (SD3); or one sequence alone.
        template: surrounds the prompt, which stands at {}.
        is_weighted: `(x:1.2)` weights x; otherwise parentheses are text.
        has_end: an end token follows the prompt.
        empty_has_end: the empty prompt that weights are measured from begins with an end token.
        min_tokens: shorter sequences are padded.
        is_masked: padding is not attended to.
        layers: of the encoder, side by side, in transformers' numbering of hidden states: 0 are
            the words; LAST is the output after the final norm.
        skips_system_turn: the tokens of the template before the prompt are left out.
    """

    family: str
    kinds: tuple[TextKind, ...]
    types: tuple[str, ...]
    is_default: bool = False
    is_partial: bool = False
    join: Join = "sequence"
    template: str = "{}"
    is_weighted: bool = False
    has_end: bool = False
    empty_has_end: bool = True
    min_tokens: int = 1
    is_masked: bool = True
    layers: tuple[int, ...] = (LAST,)
    skips_system_turn: bool = False

    def has(self, kinds: Collection[TextKind]) -> bool:
        """Return True if these are the encoders that it needs."""
        return {*kinds} == {*self.kinds} or (self.is_partial and {*kinds} < {*self.kinds})


CLIP_RECIPE = TextRecipe(
    family="", kinds=("l", "h", "g"), types=("stable_diffusion", "sdxl"),
    is_partial=True, join="chunks", is_weighted=True,
)  # fmt: skip
RECIPES = (
    TextRecipe(
        family="flux", kinds=("l", "t5xxl"), types=("flux",), join="pooled_l", min_tokens=256,
        is_weighted=True, has_end=True, is_masked=False,
    ),
    TextRecipe(
        family="sd3", kinds=("l", "g", "t5xxl"), types=("sd3",), is_partial=True, join="sd3",
        min_tokens=77, is_weighted=True, has_end=True, is_masked=False,
    ),
    TextRecipe(
        family="chroma", kinds=("t5xxl",), types=("chroma",), is_weighted=True, has_end=True,
        is_masked=False, empty_has_end=False,
    ),
    TextRecipe(
        family="z-image", kinds=("qwen3",), types=("lumina2",), is_default=True,
        template=USER_TURN, layers=(-2,),
    ),
    TextRecipe(
        family="flux2", kinds=("qwen3",), types=("flux2",), min_tokens=512,
        template=USER_TURN + "<think>\n\n</think>\n\n", layers=(9, 18, 27),
    ),
    TextRecipe(
        family="qwen-image", kinds=("qwen25",), types=("qwen_image",), is_default=True,
        template=DESCRIBE + USER_TURN, skips_system_turn=True,
    ),
    CLIP_RECIPE,
)  # fmt: skip


def recipe_of(family: str) -> TextRecipe:
    """Return the recipe of a family, by name; that of CLIP if it has none of its own."""
    return next((recipe for recipe in RECIPES if recipe.family == family), CLIP_RECIPE)


def find_recipe(kinds: Collection[TextKind], type: str) -> TextRecipe:
    """Return the recipe for text encoders of these kinds and a type of the loaders.

    Raises:
        UnsuitableValueError: there is none.
    """
    fitting = [recipe for recipe in RECIPES if recipe.has(kinds)]
    for recipe in fitting:
        if type in recipe.types:
            return recipe
    for recipe in fitting:
        if recipe.is_default:
            return recipe
    names = " and ".join(KIND_NAMES[kind] for kind in sorted(kinds, key=KIND_ORDER.index))
    types = [type for recipe in fitting for type in recipe.types]
    raise UnsuitableValueError(f"{' or '.join(types) or 'another type'} for {names}", type)
