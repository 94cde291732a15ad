"""The parts of encoded prompts that the networks of families take. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

# Guidance that a distilled network takes as a number; the default is the family's.
GuidanceValue = float | Literal["default", "off"]


@dataclass(frozen=True)
class Sizes:
    """The size conditioning of SDXL; None is the size of the image to sample, or the default.

    Attributes:
        width, height: of the original image, in pixels.
        crop_w, crop_h: pixels cropped at its left and at its top.
        target_width, target_height: of the cropped image.
        score: aesthetic score, 0 to 10, for the refiner.
    """

    width: int | None = None
    height: int | None = None
    crop_w: int = 0
    crop_h: int = 0
    target_width: int | None = None
    target_height: int | None = None
    score: float | None = None


@dataclass(frozen=True, eq=False)
class InpaintMask:
    """The extra conditioning of an inpainting model.

    Attributes:
        mask: B×H×W of any size, 1 where the model paints.
        latent: B×C×h×w in unscaled VAE space, of the image with its masked part grey.
    """

    mask: Tensor
    latent: Tensor


class TokenBias(NamedTuple):
    """A number added to the attention of all other tokens to a range of text tokens."""

    start: int
    length: int
    bias: float


class Prompt(Protocol):
    """The parts of an encoded prompt that networks take; see conditioning's PromptEntry."""

    @property
    def tokens(self) -> Tensor: ...
    @property
    def pooled(self) -> Tensor | None: ...
    @property
    def sizes(self) -> Sizes | None: ...
    @property
    def inpaint(self) -> InpaintMask | None: ...
    @property
    def image(self) -> Tensor | None: ...
    @property
    def guidance(self) -> GuidanceValue: ...
    @property
    def references(self) -> tuple[Tensor, ...]: ...
    @property
    def reference_method(self) -> str | None: ...
    @property
    def biases(self) -> tuple[TokenBias, ...]: ...


class SourceLatent(Protocol):
    """The latent that is sampled from."""

    @property
    def samples(self) -> Tensor: ...
    @property
    def noise_mask(self) -> Tensor | None: ...
