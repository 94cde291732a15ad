"""What a server needs of pictures; the engine knows none, so that whoever does registers here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import InputError

PreviewMethod = Literal["auto", "latent2rgb", "taesd"]
"""How what is on its way is drawn, in ComfyUI's words."""
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
"""What picture files are called."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file: its bytes and their MIME type."""

    data: bytes
    mime: str


class Pictures(Protocol):
    """Reads, checks and changes picture files. Each method raises InputError on a bad one."""

    def clean(self, data: bytes) -> Picture:
        """The file with nothing in it but what a decoder needs; its pixels are decoded once."""
        ...

    def converted(self, data: bytes, kind: str, quality: int) -> Picture:
        """The picture as `webp` or `jpeg` of a quality from 1 to 100."""
        ...

    def channel(self, data: bytes, channel: str) -> Picture:
        """A PNG: `rgb` without alpha, or `a`, black with the picture's alpha."""
        ...

    def with_alpha_of(self, original: bytes, mask: bytes) -> Picture:
        """A PNG of the original with the alpha of another picture; its text is kept."""
        ...

    def preview(self, value: object, method: PreviewMethod) -> Picture | None:
        """What a node shows on its way, as a small picture; None where that is not known."""
        ...


_registered: list[Pictures] = []


def register(pictures: Pictures) -> None:
    """Use these from now on."""
    _registered[:] = [pictures]


def pictures() -> Pictures:
    """Those that were registered.

    Raises:
        InputError: no pack of nodes brings any.
    """
    if not _registered:
        raise InputError("server", "picture", "a pack that reads pictures", "none")
    return _registered[0]
