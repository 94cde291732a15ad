"""Detectors: they find regions in images, without model files.

A detector is a frozen value with a method `find`. Custom nodes may add others.
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

# Largest intersection over union of two matches of a template.
MAX_OVERLAP = 0.3
MIN_CORRELATION = 0.5
MAX_MATCHES = 256
CASCADE_FILE = "haarcascade_frontalface_default.xml"


class Detection(NamedTuple):
    """A detected region of an image.

    Attributes:
        box: left, top, right, bottom in pixels; right and bottom are exclusive.
        score: confidence, 0 to 1.
        outline: H×W, true on the object itself; None if only the box is known.
    """

    box: tuple[int, int, int, int]
    score: float
    outline: Tensor | None = None


class Detector(Protocol):
    """Finds regions in images."""

    @property
    def fingerprint(self) -> str:
        """A string that differs between detectors with different results."""

    def find(self, image: Tensor) -> list[Detection]:
        """Return the detections in one image H×W×3 in 0..1, best first."""


@dataclass(frozen=True)
class ColorDetector:
    """Finds connected regions of about one colour.

    Args:
        color: 0xRRGGBB.
        tolerance: largest colour difference in CIEDE2000 units, where the score is 0.5.
    """

    color: int
    tolerance: float = 15.0

    @property
    def fingerprint(self) -> str:
        return repr(self)

    def find(self, image: Tensor) -> list[Detection]:
        """Return each connected region of such pixels, the nearest in colour first."""
        levels = torch.tensor([self.color >> 16 & 255, self.color >> 8 & 255, self.color & 255])
        difference = delta_e(to_lab(image), to_lab(levels / 255.0).expand(*image.shape[:2], 3))
        detections = []
        for outline, box in _find_islands(difference <= self.tolerance):
            score = 1.0 - 0.5 * float(difference[outline].mean()) / max(self.tolerance, 1e-6)
            detections.append(Detection(box, score, outline))
        return sorted(detections, key=lambda detection: -detection.score)


def _find_islands(covered: Tensor) -> Iterator[tuple[Tensor, tuple[int, int, int, int]]]:
    from scipy.ndimage import find_objects, label

    labels, _ = label(covered.numpy(), structure=np.ones((3, 3)))
    for number, (rows, columns) in enumerate(find_objects(labels), start=1):
        box = (columns.start, rows.start, columns.stop, rows.stop)
        yield torch.from_numpy(labels == number), box


@dataclass(frozen=True, eq=False)
class TemplateDetector:
    """Finds copies of a template, at its size and in any brightness and contrast.

    Args:
        template: h×w×3 in 0..1, not of a single colour.

    Source: normalised cross-correlation, computed as in J. P. Lewis, "Fast normalized
    cross-correlation" (1995).
    """

    template: Tensor

    @property
    def fingerprint(self) -> str:
        data = self.template.contiguous().numpy().tobytes()
        return f"template {tuple(self.template.shape)} {hashlib.sha256(data).hexdigest()}"

    def find(self, image: Tensor) -> list[Detection]:
        """Return regions with a correlation of at least 0.5 that do not overlap better ones."""
        height, width = self.template.shape[:2]
        if image.shape[0] < height or image.shape[1] < width:
            return []
        scores = _correlate(image.double(), self.template.double())
        corners = (scores >= MIN_CORRELATION).nonzero()
        values = scores[corners[:, 0], corners[:, 1]]
        detections: list[Detection] = []
        for index in values.argsort(descending=True).tolist():
            y, x = corners[index].tolist()
            box = (x, y, x + width, y + height)
            if all(_iou(box, better.box) <= MAX_OVERLAP for better in detections):
                detections.append(Detection(box, min(float(values[index]), 1.0)))
            if len(detections) == MAX_MATCHES:
                break
        return detections


def _correlate(image: Tensor, template: Tensor) -> Tensor:
    """Return the correlation of a template with each window of its size, -1 to 1."""
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
    """Return the sum of each window of this size, from an integral image."""
    total = torch.nn.functional.pad(image.cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0))
    bands = total[height:] - total[:-height]
    return bands[:, width:] - bands[:, :-width]


def _iou(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    intersection = max(0, width) * max(0, height)
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return intersection / (sum(areas) - intersection)


@dataclass(frozen=True)
class FaceDetector:
    """Finds frontal faces with the cascade classifier that is part of OpenCV.

    Args:
        neighbors: overlapping hits required for a face; more is stricter.

    Source: Viola and Jones, "Rapid object detection" (2001).
    """

    neighbors: int = 5

    @property
    def fingerprint(self) -> str:
        return repr(self)

    def find(self, image: Tensor) -> list[Detection]:
        """Return the faces, the largest first.

        Raises:
            MissingLibraryError: OpenCV is not installed.
        """
        try:
            import cv2
        except ImportError as error:
            raise MissingLibraryError("OpenCV", "latentloom[faces]") from error
        grey = (image.mean(-1) * 255).byte().numpy()
        cascade = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADE_FILE))
        hits = cascade.detectMultiScale(grey, 1.1, self.neighbors)
        boxes = sorted((tuple(int(side) for side in hit) for hit in hits), key=lambda box: -box[2])
        return [Detection((x, y, x + width, y + height), 1.0) for x, y, width, height in boxes]


@dataclass(frozen=True)
class Selection:
    """Settings: the detections to keep, and how to draw them.

    Attributes:
        threshold: lowest score.
        min_side_px: smallest width and height.
        max_count: largest number per image, best first; 0 keeps all.
        dilation_px: pixels to grow each region by.
        has_outlines: draw outlines where they are known, otherwise boxes.
    """

    threshold: float = 0.5
    min_side_px: int = 10
    max_count: int = 0
    dilation_px: int = 4
    has_outlines: bool = False

    def accepts(self, detection: Detection) -> bool:
        """Return whether a detection is large and certain enough."""
        left, top, right, bottom = detection.box
        is_large = min(right - left, bottom - top) >= self.min_side_px
        return is_large and detection.score >= self.threshold


def draw(detector: Detector, image: Tensor, selection: Selection) -> tuple[Tensor, int]:
    """Return masks B×H×W of the detections in images B×H×W×C, and the number of detections."""
    masks, total = torch.zeros(image.shape[:3]), 0
    for mask, pixels in zip(masks, image[..., :3], strict=True):
        detections = [one for one in detector.find(pixels) if selection.accepts(one)]
        detections = detections[: selection.max_count or None]
        total += len(detections)
        for (left, top, right, bottom), _, outline in detections:
            if selection.has_outlines and outline is not None:
                mask[outline] = 1.0
            else:
                mask[top:bottom, left:right] = 1.0
    return grow(masks, selection.dilation_px, tapered=False), total
