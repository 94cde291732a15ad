"""Packages that teach Pillow more formats. They are optional, and loaded when a file needs one."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from PIL import Image


class Plugin(NamedTuple):
    """A package that registers a format with Pillow.

    Attributes:
        package: as pip knows it.
        module: as Python knows it.
        register: the function that registers it.
        pillow_name: the format in Pillow's table.
    """

    package: str
    module: str
    register: str
    pillow_name: str


HEIF = Plugin("pillow-heif", "pillow_heif", "register_heif_opener", "HEIF")
_PILLOW_NAMES = {"HEIC": HEIF.pillow_name}


def load(plugin: Plugin) -> bool:
    """Register a plugin with Pillow; return False if it is not installed."""
    if plugin.pillow_name not in Image.OPEN:
        try:
            register = getattr(import_module(plugin.module), plugin.register)
        except ImportError:
            return False
        register()
    return True


def pillow_name(format: str) -> str:
    """Return Pillow's name of a format.

    >>> pillow_name("WebP"), pillow_name("HEIC")
    ('WEBP', 'HEIF')
    """
    return _PILLOW_NAMES.get(format, format.upper())
