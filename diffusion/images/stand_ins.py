"""Kinds of files that downloads leave in place of another, by their first bytes."""

from __future__ import annotations

import re

LENGTH = 256
_PAGE = "download the file itself, logged in if the site asks for it"
_UNPACK = "unpack it first"
# Patterns of the first bytes in lower case, what such a file is, and what to do.
STAND_INS = {
    rb"version https://git-lfs": ("a Git LFS pointer", "fetch the file with git lfs pull"),
    rb"<!doctype html|<html": ("a web page", _PAGE),
    rb"<\?xml[^>]*>\s*<error": ("an error message of a site", _PAGE),
    # A damaged safetensors file may begin with these bytes, but its length ends in zeros.
    rb"[{\[]\s*[\"'{\[][ -~\s]{6}": ("JSON, such as an error message of a site", _PAGE),
    rb"\x1f\x8b": ("compressed with gzip", _UNPACK),
    rb"7z\xbc\xaf|rar!": ("an archive", _UNPACK),
}


def name_stand_in(data: bytes) -> tuple[str, str] | None:
    """Return what a file is that is not what its name says, and what to do; None if unknown."""
    start = data[:LENGTH].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    matches = (result for pattern, result in STAND_INS.items() if re.match(pattern, start))
    return next(matches, None)
