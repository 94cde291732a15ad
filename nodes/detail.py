"""Detail passes: detectors, and masks of what they find, for InpaintCrop to cut out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Lazy, Socket
from latentloom.engine.node.spec import node

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
    found: int


@node("ColorDetector", category="detect")
def color_detector(color: Color = 0xFF0000, tolerance: Tolerance = 15.0) -> Detector:
    """A detector of connected parts of about one colour.

    Args:
        color: the colour, 65536·red + 256·green + blue.
        tolerance: how far off a pixel may be, in CIEDE2000; 1 can just be seen.
    """
    from latentloom.diffusion.images.detectors import ColorDetector

    return ColorDetector(color, tolerance)


@node("TemplateDetector", category="detect")
def template_detector(template: Image) -> Detector:
    """A detector of places that look like a small image, at its own size.

    Brightness and contrast may differ; the score is the normalised cross-correlation.

    Args:
        template: the small image; of a batch the first.

    Raises:
        InputError: it is of one colour, which is everywhere and nowhere.
    """
    from latentloom.diffusion.images.detectors import TemplateDetector

    pixels = template[0, ..., :3]
    if float(pixels.std(dim=(0, 1)).max()) < 1e-4:
        raise InputError("template", "an image of something", "one colour")
    return TemplateDetector(pixels.expand(*pixels.shape[:2], 3).contiguous())


@node("FaceDetector", category="detect")
def face_detector(neighbors: Neighbors = 5) -> Detector:
    """A detector of faces seen from the front; it needs OpenCV: pip install 'latentloom[faces]'.

    Args:
        neighbors: how many overlapping hits make a face; more is stricter.
    """
    from latentloom.diffusion.images.detectors import FaceDetector

    return FaceDetector(neighbors)


@node("DetectToMask", category="detect")
def detect_to_mask(
    detector: Detector,
    image: Image,
    threshold: Share = 0.5,
    drop_size: Pixels = 10,
    most: DetectionLimit = 0,
    dilation: Dilation = 4,
    shape: MaskShape = "box",
) -> DetectedMask:
    """A mask of what a detector finds in images; empty where it finds nothing.

    Args:
        detector: what to look for.
        image: images B×H×W×C.
        threshold: least score.
        drop_size: least width and height, in pixels.
        most: how many in each image, best first; 0 is all.
        dilation: by how much each is grown, in pixels.
        shape: what is drawn; detectors that know no outlines give boxes.

    Raises:
        InputError: the detector's library is not installed.
    """
    from latentloom.diffusion.errors import MissingLibraryError
    from latentloom.diffusion.images.detectors import Selection, draw

    selection = Selection(threshold, drop_size, most, dilation, shape == "outline")
    try:
        return DetectedMask(*draw(detector, image, selection))
    except MissingLibraryError as error:
        expected = f"a detector whose library is installed ({error.library})"
        hint = f"pip install '{error.extra}'"
        raise InputError("detector", expected, "none", hint) from error


@node("IfFound", category="detect")
class IfFound:
    """The detailed images where something was found, else the images as they are.

    Where nothing was found, nothing that `detailed` alone needs is run.

    Args:
        found: how much was found, from DetectToMask.
        image: the images B×H×W×C as they are.
        detailed: from InpaintStitch.

    Raises:
        InputError: something was found, and nothing is linked to `detailed`.
    """

    @staticmethod
    def run(found: DetectionCount, image: Image, detailed: LazyImage | None = None) -> Image:
        if found == 0:
            return image
        if detailed is None:
            raise InputError("detailed", "the images of a detail pass", "no link")
        return detailed

    @staticmethod
    def needs(found: int, image: object, detailed: object) -> list[str]:  # noqa: ARG004 - as ports
        return ["detailed"] if found else []
