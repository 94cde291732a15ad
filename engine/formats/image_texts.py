"""Texts in image files that hold a graph, by their keys.

A PNG holds them as text chunks. Other formats hold them in EXIF, each as the text `key:graph` of
some tag, as ComfyUI writes `prompt:` and `workflow:`; or in XMP. A1111 writes its settings as the
chunk `parameters`, or as the comment of EXIF.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import FormatError
from ..files.image_formats import IMAGE_FORMATS
from .a1111_text import is_parameters
from .parsing import MAX_BYTES

OURS, COMFY, EDITOR, SETTINGS = KEYS = ("latentloom", "prompt", "workflow", "parameters")
MANIFEST = "latentloom_manifest"
CARRIERS = tuple(image.name for image in IMAGE_FORMATS if image.may_carry_graph)
EXPECTED = f"a {', '.join(CARRIERS[:-1])} or {CARRIERS[-1]} saved by latentloom, ComfyUI or A1111"
EXIF_FOLDER, XMP_CHUNK = 0x8769, "XML:com.adobe.xmp"
# What Pillow raises on damaged files.
READ_ERRORS = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, ArithmeticError,
    RuntimeError, MemoryError, struct.error,
)  # fmt: skip


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts of an image by their keys: text chunks, and tags of EXIF and XMP.

    Raises:
        FormatError: the format of the file holds no graphs.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [name.upper() for name in CARRIERS if name.upper() in Image.OPEN]
    try:
        with warnings.catch_warnings():
            # No pixel is decoded here, so that a large image needs no warning.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats) as image:
                info: dict[Any, Any] = dict(image.info)
                tags = list(_exif_tags(image))
    except UnidentifiedImageError as error:
        raise FormatError(f"{path.name}: expected {EXPECTED}, got something else") from error
    except Image.DecompressionBombError as error:
        raise FormatError(f"{path.name} is too large: {error}") from error
    except READ_ERRORS as error:
        raise FormatError(f"{path.name}: expected {EXPECTED}: {error}") from error
    chunks = {key: str(value) for key, value in info.items() if isinstance(value, str)}
    packet = info.get("xmp") or info.get(XMP_CHUNK)
    return _xmp_texts(packet) | _keyed(tags) | chunks


def _exif_tags(image: Any) -> Iterator[object]:
    """Yield the values of the EXIF tags; none where EXIF cannot be read."""
    with suppress(*READ_ERRORS):
        exif = image.getexif()
        for tag in list(exif):
            with suppress(*READ_ERRORS):
                yield exif[tag]
        with suppress(*READ_ERRORS):
            yield from exif.get_ifd(EXIF_FOLDER).values()


def _keyed(tags: Iterable[object]) -> dict[str, str]:
    """Return the tags of the form `key:text` whose key is that of a graph, and A1111's settings."""
    texts: dict[str, str] = {}
    for value in tags:
        tag = _as_text(value)
        key, _, text = tag.partition(":")
        if key.lower() in (OURS, COMFY, EDITOR, MANIFEST):
            texts.setdefault(key.lower(), text)
        elif is_parameters(tag):
            texts.setdefault(SETTINGS, tag)
    return texts


def _as_text(value: object) -> str:
    """Return a tag as text; Pillow decodes ASCII tags as Latin-1, and some programs write UTF-8.

    A comment of a user begins with eight bytes that name its encoding.
    """
    data = value.encode("latin-1", "replace") if isinstance(value, str) else value
    if not isinstance(data, bytes):
        return ""
    if data[:8] == b"UNICODE\0":
        is_little_endian = data[8:9] != b"\0"
        return data[8:].decode("utf-16-le" if is_little_endian else "utf-16-be", "replace")
    plain = data[8:] if data[:8] in (b"ASCII\0\0\0", bytes(8)) else data
    return plain.decode("utf-8", "replace").strip("\0 ")


def _xmp_texts(packet: object) -> dict[str, str]:
    """Return the texts of an XMP packet: properties named like the keys, or of the EXIF form.

    A packet with a document type is not read, since it could declare entities.
    """
    data = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    if not isinstance(data, bytes) or len(data) > MAX_BYTES or b"<!" in data.replace(b"<!--", b""):
        return {}
    try:
        root = ElementTree.fromstring(data.strip(b"\0"))
    except (ElementTree.ParseError, ValueError):
        return {}
    texts_by_key: dict[str, str] = {}
    texts = []
    for element in root.iter():
        for name, text in ((element.tag, element.text or ""), *element.attrib.items()):
            key = name.rpartition("}")[2].lower()
            if key in KEYS and text.strip():
                texts_by_key.setdefault(key, text)
            texts.append(text)
    return _keyed(texts) | texts_by_key
