"""Which ComfyUI is followed where its versions differ, or where this project departs from it.

`current` is the newest, with what is mended here; `0.3.64` is that version as it is: how step
noise is seeded, one step of UniPC, and what CFG++ takes for a prediction that is missing.
"""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

from ..errors import SettingError

Rule = Literal["current", "0.3.64"]
VARIABLE = "LATENTLOOM_COMFYUI"


def compatibility_mode() -> Rule:
    """The rule that the environment names; the current one where it names none.

    Raises:
        SettingError: it names no rule.
    """
    named = os.environ.get(VARIABLE) or "current"
    if named not in get_args(Rule):
        raise SettingError(f"{VARIABLE}: expected {' or '.join(get_args(Rule))}, got {named!r}")
    return cast(Rule, named)
