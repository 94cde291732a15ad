"""Remove what clients must not see from messages."""

from __future__ import annotations

import re

_FOLDER = re.compile(r"(?<![\w.:/\\])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\":,]+)+(?=[/\\][^\s/\\])[/\\]")


def without_folders(message: str) -> str:
    """Return the message with file names only, not the folders of this machine.

    >>> without_folders("there is no file 'a.png' in /srv/people/input: 3/4")
    "there is no file 'a.png' in input: 3/4"
    """
    return _FOLDER.sub("", message)
