"""Detail passes: detectors, and masks of what they find, for InpaintCrop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Lazy, Socket
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Color, Image, Mask, Pixels, Share

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.diffusion.images import detectors

LazyImage = Annotated["Tensor", Socket("IMAGE"), Lazy()]
Detector = Annotated["detectors.Detector", Socket("DETECTOR")]
Tolerance = Annotated[float, Between(0.5, 100.0, step=0.5)]
Neighbors = Annotated[int, Between(1, 50)]
DetectionCount = Annotated[int, Between(0, 2**31)]
DetectionLimit = Annotated[int, Between(0, 1000)]
Dilation = Annotated[int, Between(0, 512)]
MaskShape = Literal["box", "outline"]


class DetectedMask(NamedTuple):
    """The outputs of DetectToMask."""

    MASK: Mask
    detections: int


@node("ColorDetector", category="detect")
def color_detector(color: Color = 0xFF0000, tolerance: Tolerance = 15.0) -> Detector:
    """Create a detector of connected regions of about one colour.

    Args:
        color: the colour, 65536·red + 256·green + blue.
        tolerance: largest colour difference in CIEDE2000 units; 1 is just visible.
    """
    from latentloom.diffusion.images.detectors import ColorDetector

    return ColorDetector(color, tolerance)


@node("TemplateDetector", category="detect")
def template_detector(template: Image) -> Detector:
    """Create a detector of regions that look like a template, at the template's size.

    Brightness and contrast may differ; the score is the normalised cross-correlation.

    Args:
        template: the image to look for, h×w×C; the first of a batch.

    Raises:
        InputError: the template has a single colour.
    """
    from latentloom.diffusion.images.detectors import TemplateDetector

    pixels = template[0, ..., :3]
    if float(pixels.std(dim=(0, 1)).max()) < 1e-4:
        raise InputError("template", "an image with some contrast", "a single colour")
    return TemplateDetector(pixels.expand(*pixels.shape[:2], 3).contiguous())


@node("FaceDetector", category="detect")
def face_detector(neighbors: Neighbors = 5) -> Detector:
    """Create a detector of frontal faces. Needs OpenCV: pip install 'latentloom[faces]'.

    Args:
        neighbors: overlapping hits required for a face; more is stricter.
    """
    from latentloom.diffusion.images.detectors import FaceDetector

    return FaceDetector(neighbors)


@node("DetectToMask", category="detect")
def detect_to_mask(
    detector: Detector,
    image: Image,
    threshold: Share = 0.5,
    drop_size: Pixels = 10,
    max_count: DetectionLimit = 0,
    dilation: Dilation = 4,
    shape: MaskShape = "box",
) -> DetectedMask:
    """Detect objects in images and draw them into a mask; the mask is empty if there are none.

    Args:
        detector: the detector to run.
        image: images B×H×W×C.
        threshold: lowest score to keep, 0 to 1.
        drop_size: smallest width and height to keep, in pixels.
        max_count: largest number of objects per image, best first; 0 keeps all.
        dilation: pixels to grow each object by.
        shape: draw boxes or outlines; detectors without outlines always give boxes.

    Raises:
        InputError: the detector's library is not installed.
    """
    from latentloom.diffusion.images.detectors import Selection, draw

    selection = Selection(
        threshold, drop_size, max_count, dilation, has_outlines=shape == "outline"
    )
    with as_input_error("detector", "a detector whose library is installed"):
        return DetectedMask(*draw(detector, image, selection))


@node("IfFound", category="detect")
class IfFound:
    """Return the detailed images if something was found, otherwise the original images.

    If nothing was found, the nodes that only `detailed` depends on do not run.

    Args:
        detections: the number of detections, from DetectToMask.
        image: the original images B×H×W×C.
        detailed: the images after the detail pass, from InpaintStitch.

    Raises:
        InputError: something was found, and `detailed` has no link.
    """

    @staticmethod
    def run(detections: DetectionCount, image: Image, detailed: LazyImage | None = None) -> Image:
        if detections == 0:
            return image
        if detailed is None:
            raise InputError("detailed", "a link to the images of a detail pass", "none")
        return detailed

    @staticmethod
    def needs(detections: int, image: object, detailed: object) -> list[str]:  # noqa: ARG004
        return ["detailed"] if detections else []
