"""The ComfyUI version to follow where versions differ, or where this project departs from it.

`current` is the newest version, with this project's corrections. `0.3.64` is that version
unchanged: how step noise is seeded, one step of UniPC, a missing prediction in CFG++, and
the lengths of a DoRA's rows.
"""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

from .errors import SettingError

CompatibilityMode = Literal["current", "0.3.64"]
VARIABLE = "LATENTLOOM_COMFYUI"


def compatibility_mode() -> CompatibilityMode:
    """Return the mode that the environment variable names, `current` by default.

    Raises:
        SettingError: the variable names no known mode.
    """
    value = os.environ.get(VARIABLE) or "current"
    modes = get_args(CompatibilityMode)
    if value not in modes:
        raise SettingError(f"{VARIABLE}: expected {' or '.join(modes)}, got {value!r}")
    return cast(CompatibilityMode, value)
