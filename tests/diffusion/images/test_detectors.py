"""Detectors: detections in synthetic images, their order, and their masks."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from latentloom.diffusion.errors import MissingLibraryError
from latentloom.diffusion.images.detectors import (
    ColorDetector,
    Detection,
    Detector,
    FaceDetector,
    Selection,
    TemplateDetector,
    draw,
)
from latentloom.engine.cache.fingerprint import Fingerprinter
from latentloom.nodes.codecs import TENSOR_FINGERPRINT

fingerprint = Fingerprinter((TENSOR_FINGERPRINT,)).fingerprint
ALL = Selection(threshold=0.0, min_side_px=1, dilation_px=0)


def scene() -> torch.Tensor:
    """Return a green image with a red box, a darker red box and a red dot."""
    image = torch.tensor([0.2, 0.6, 0.2]).repeat(40, 60, 1)
    image[5:15, 5:20] = torch.tensor([0.8, 0.1, 0.1])
    image[20:35, 30:50] = torch.tensor([0.75, 0.08, 0.08])
    image[2, 55] = torch.tensor([0.8, 0.1, 0.1])
    return image


def noise(height: int, width: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_regions_of_a_colour_come_nearest_first() -> None:
    detections = ColorDetector(0xCC1A1A, 10.0).find(scene())
    assert {part.box for part in detections[:2]} == {(5, 5, 20, 15), (55, 2, 56, 3)}
    assert detections[2].box == (30, 20, 50, 35)
    assert detections[0].score > detections[2].score > 0.5
    assert detections[2].outline is not None
    assert int(detections[2].outline.sum()) == 300


def test_a_strict_tolerance_excludes_the_darker_red() -> None:
    assert len(ColorDetector(0xCC1A1A, 1.0).find(scene())) == 2


def test_a_template_is_found_at_any_position_and_brightness() -> None:
    template, image = noise(8, 6), noise(50, 70, 2) * 0.2
    image[3:11, 40:46] = template
    image[30:38, 10:16] = template * 0.5 + 0.3
    detections = TemplateDetector(template).find(image)
    assert {part.box for part in detections} == {(40, 3, 46, 11), (10, 30, 16, 38)}
    assert all(part.score == pytest.approx(1.0, abs=1e-4) for part in detections)


def test_a_template_larger_than_the_image_has_no_match() -> None:
    assert TemplateDetector(noise(9, 9)).find(noise(8, 20)) == []


def test_a_uniform_image_has_no_match() -> None:
    assert TemplateDetector(noise(5, 5)).find(torch.full((20, 20, 3), 0.4)) == []


def test_fingerprints_differ_by_what_detectors_look_for() -> None:
    detectors = [
        ColorDetector(1), ColorDetector(2), ColorDetector(1, 3.0), FaceDetector(),
        TemplateDetector(noise(4, 4)), TemplateDetector(noise(4, 4, 2)),
    ]  # fmt: skip
    assert len({fingerprint(part) for part in detectors}) == len(detectors)
    assert fingerprint(TemplateDetector(noise(4, 4))) == fingerprint(detectors[4])


def test_boxes_are_drawn_in_each_image_of_a_batch() -> None:
    batch = torch.stack([scene(), torch.zeros_like(scene())])
    mask, count = draw(ColorDetector(0xCC1A1A, 10.0), batch, replace(ALL, min_side_px=5))
    assert count == 2
    assert mask.shape == (2, 40, 60)
    assert float(mask[0].sum()) == 15 * 10 + 20 * 15
    assert not bool(mask[1].any())


class Ring:
    """A custom detector: a line with an outline, and a box with a lower score."""

    fingerprint = "ring"

    def find(self, image: torch.Tensor) -> list[Detection]:
        outline = torch.zeros(image.shape[:2], dtype=torch.bool)
        outline[10, 10:14] = True
        return [Detection((10, 10, 14, 11), 0.9, outline), Detection((2, 2, 6, 6), 0.4)]


@pytest.mark.parametrize(
    ("change", "count", "area"),
    [
        ({}, 2, 4 + 16),
        ({"threshold": 0.5}, 1, 4),
        ({"max_count": 1, "dilation_px": 1}, 1, 3 * 6),
        ({"min_side_px": 2}, 1, 16),
        ({"has_outlines": True, "threshold": 0.5}, 1, 4),
    ],
)
def test_detections_are_selected_and_drawn(change: dict[str, Any], count: int, area: int) -> None:
    ring: Detector = Ring()
    mask, drawn = draw(ring, torch.zeros(1, 20, 20, 3), replace(ALL, **change))
    assert (drawn, int(mask.sum())) == (count, area)


def test_without_opencv_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'latentloom\[faces\]'"):
        FaceDetector().find(scene())


def test_a_uniform_image_has_no_face() -> None:
    pytest.importorskip("cv2")
    assert FaceDetector().find(torch.full((64, 64, 3), 0.5)) == []


def test_the_face_of_a_portrait_is_located() -> None:
    """Uses NASA's public-domain portrait of Eileen Collins from scikit-image."""
    pytest.importorskip("cv2")
    portrait = torch.from_numpy(pytest.importorskip("skimage.data").astronaut() / 255.0).float()
    (face,) = FaceDetector().find(portrait)
    left, top, right, bottom = face.box
    eyes, nose, mouth = ((209, 107), (246, 108)), (229, 128), (229, 151)
    assert all(left < x < right and top < y < bottom for x, y in (*eyes, nose, mouth))
    assert right - left < 160


def test_a_detail_mask_covers_the_face_and_little_else() -> None:
    pytest.importorskip("cv2")
    portrait = torch.from_numpy(pytest.importorskip("skimage.data").astronaut() / 255.0).float()
    batch = torch.stack([portrait, torch.zeros_like(portrait)])
    mask, drawn = draw(FaceDetector(), batch, Selection())
    assert drawn == 1
    assert float(mask[0, 128, 229]) == 1.0
    assert 0.01 < float(mask[0].mean()) < 0.12
    assert not mask[1].any()
