"""Detectors: what finds parts of images to work on. None needs weights.

A detector is a frozen value with `find`; a pack may bring others, and the node that turns what is
found into masks takes any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import MissingLibraryError
from .lab import delta_e, to_lab
from .masks import grow

# Matches of a template that cover more of each other than this are one.
MAX_SHARED = 0.3
MIN_CORRELATION = 0.5
MAX_MATCHES = 256


class Found(NamedTuple):
    """A part of an image.

    Attributes:
        box: left, top, right, bottom in pixels; the last two are outside.
        score: 0..1.
        outline: H×W, true on the part itself; None where only the box is known.
    """

    box: tuple[int, int, int, int]
    score: float
    outline: Tensor | None = None


class Detector(Protocol):
    """What finds parts of an image."""

    @property
    def fingerprint(self) -> str:
        """Tells two detectors apart that may find other things."""

    def find(self, image: Tensor) -> list[Found]:
        """The parts of one image H×W×3 in 0..1, best first."""


@dataclass(frozen=True)
class ColorDetector:
    """Finds connected parts of about one colour.

    Args:
        color: 0xRRGGBB.
        tolerance: how far off colours may be, in CIEDE2000. The score falls from 1 to 0.5 there.
    """

    color: int
    tolerance: float = 15.0

    @property
    def fingerprint(self) -> str:
        return repr(self)

    def find(self, image: Tensor) -> list[Found]:
        """Each island of such pixels, the one nearest in colour first."""
        levels = torch.tensor([self.color >> 16 & 255, self.color >> 8 & 255, self.color & 255])
        off = delta_e(to_lab(image), to_lab(levels / 255.0).expand(*image.shape[:2], 3))
        found = []
        for outline, box in _islands(off <= self.tolerance):
            score = 1.0 - 0.5 * float(off[outline].mean()) / max(self.tolerance, 1e-6)
            found.append(Found(box, score, outline))
        return sorted(found, key=lambda each: -each.score)


def _islands(covered: Tensor) -> Iterator[tuple[Tensor, tuple[int, int, int, int]]]:
    from scipy.ndimage import find_objects, label

    numbers, _ = label(covered.numpy(), structure=np.ones((3, 3)))
    for number, (rows, columns) in enumerate(find_objects(numbers), start=1):
        box = (columns.start, rows.start, columns.stop, rows.stop)
        yield torch.from_numpy(numbers == number), box


@dataclass(frozen=True, eq=False)
class TemplateDetector:
    """Finds where a small image appears, at its own size, whatever brightness and contrast.

    Args:
        template: h×w×3 in 0..1, not of one colour.

    Source: normalised cross-correlation, computed as in J. P. Lewis, "Fast normalized
    cross-correlation" (1995).
    """

    template: Tensor

    @property
    def fingerprint(self) -> str:
        data = self.template.contiguous().numpy().tobytes()
        return f"template {tuple(self.template.shape)} {hashlib.sha256(data).hexdigest()}"

    def find(self, image: Tensor) -> list[Found]:
        """Places that correlate by at least a half, without those that lie on better ones."""
        height, width = self.template.shape[:2]
        if image.shape[0] < height or image.shape[1] < width:
            return []
        scores = _correlation(image.double(), self.template.double())
        places = (scores >= MIN_CORRELATION).nonzero()
        values = scores[places[:, 0], places[:, 1]]
        found: list[Found] = []
        for index in values.argsort(descending=True).tolist():
            y, x = places[index].tolist()
            box = (x, y, x + width, y + height)
            if all(_shared(box, each.box) <= MAX_SHARED for each in found):
                found.append(Found(box, min(float(values[index]), 1.0)))
            if len(found) == MAX_MATCHES:
                break
        return found


def _correlation(image: Tensor, template: Tensor) -> Tensor:
    """The correlation of a template with each window of its size, -1..1."""
    height, width = template.shape[:2]
    centred = template - template.mean((0, 1))
    length = centred.square().sum().sqrt()
    size = image.shape[:2]
    planes = torch.fft.rfft2(image.movedim(-1, 0))
    kernel = torch.fft.rfft2(centred.movedim(-1, 0), s=size)
    product = torch.fft.irfft2(planes * kernel.conj(), s=size).sum(0)
    rows, columns = size[0] - height + 1, size[1] - width + 1
    mean = _window_sums(image, height, width)
    spread = _window_sums(image**2, height, width) - mean**2 / (height * width)
    scale = spread.clamp(min=0.0).sum(-1).sqrt() * length
    result = product[:rows, :columns] / scale.clamp(min=1e-6)
    return torch.where(scale > 1e-6, result, torch.zeros_like(result))


def _window_sums(image: Tensor, height: int, width: int) -> Tensor:
    total = torch.nn.functional.pad(image.cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0))
    tall = total[height:] - total[:-height]
    return tall[:, width:] - tall[:, :-width]


def _shared(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Overlap of two boxes, as a share of what they cover together."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0, width) * max(0, height)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return both / (sum(areas) - both)


@dataclass(frozen=True)
class FaceDetector:
    """Finds faces from the front, with the cascade that OpenCV brings.

    Args:
        neighbors: how many overlapping hits make a face; more is stricter.

    Source: Viola and Jones, "Rapid object detection" (2001).
    """

    neighbors: int = 5

    @property
    def fingerprint(self) -> str:
        return repr(self)

    def find(self, image: Tensor) -> list[Found]:
        """Faces, the largest first.

        Raises:
            MissingLibraryError: OpenCV is not installed.
        """
        try:
            import cv2
        except ImportError as error:
            raise MissingLibraryError("OpenCV", "latentloom[faces]") from error
        grey = (image.mean(-1) * 255).byte().numpy()
        cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / FACES))
        hits = cascade.detectMultiScale(grey, 1.1, self.neighbors)
        boxes = sorted((tuple(int(side) for side in hit) for hit in hits), key=lambda box: -box[2])
        return [Found((x, y, x + width, y + height), 1.0) for x, y, width, height in boxes]


FACES = "haarcascade_frontalface_default.xml"


@dataclass(frozen=True)
class Selection:
    """What of the found parts is kept, and how it is drawn.

    Attributes:
        threshold: least score.
        least_px: least width and height.
        most: how many, best first; 0 is all.
        spread_px: by how much each is grown.
        outlines: draw the parts themselves where they are known, not their boxes.
    """

    threshold: float = 0.5
    least_px: int = 10
    most: int = 0
    spread_px: int = 4
    outlines: bool = False


def draw(detector: Detector, image: Tensor, selection: Selection) -> tuple[Tensor, int]:
    """A mask B×H×W of what is found in images B×H×W×C, and how many parts that is."""
    masks, total = torch.zeros(image.shape[:3]), 0
    for mask, one in zip(masks, image[..., :3], strict=True):
        kept = [each for each in detector.find(one) if _expected(each, selection)]
        kept = kept[: selection.most] if selection.most else kept
        total += len(kept)
        for (left, top, right, bottom), _, outline in kept:
            if selection.outlines and outline is not None:
                mask[outline] = 1.0
            else:
                mask[top:bottom, left:right] = 1.0
    return grow(masks, selection.spread_px, tapered=False), total


def _expected(found: Found, selection: Selection) -> bool:
    left, top, right, bottom = found.box
    large = min(right - left, bottom - top) >= selection.least_px
    return large and found.score >= selection.threshold
