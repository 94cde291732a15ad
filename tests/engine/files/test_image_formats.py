"""The table of image formats: what a file is called, and what others can do with it."""

from __future__ import annotations

import pytest

from latentloom.engine.files.image_formats import (
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    format_named,
    format_of_mime,
    is_image_name,
    list_names,
)


@pytest.mark.parametrize("name", ["a.png", "b.JPG", "c/d.jfif", "e.tiff", "f.avif", "g.HEIC"])
def test_an_image_is_known_by_its_suffix_in_any_case(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.json", "png", ".png", "a.png.txt", "a.svg", ""])
def test_other_names_are_no_images(name: str) -> None:
    assert not is_image_name(name)


def test_no_suffix_name_or_type_stands_for_two_formats() -> None:
    assert len(set(IMAGE_SUFFIXES)) == len(IMAGE_SUFFIXES)
    assert [format_named(row.name) for row in IMAGE_FORMATS] == list(IMAGE_FORMATS)
    assert [format_of_mime(row.mime) for row in IMAGE_FORMATS] == list(IMAGE_FORMATS)


def test_messages_name_all_formats() -> None:
    assert list_names() == "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
