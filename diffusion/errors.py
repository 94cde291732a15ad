"""Errors of the diffusion code, which knows no nodes; `nodes` says which input is meant.

DiffusionError
  ModelFileError   a model folder or file that cannot be loaded
    MissingModelError  there is none of that name
  PromptError      a prompt that cannot be encoded
  ScheduleError    an unknown schedule, or one that has no levels for so many steps
  SamplingError    a model that gave no numbers
  MemoryLackError  work that does not fit into the device's memory
  SettingError     a setting of the environment that cannot be read
  MissingLibraryError  an optional library that is not installed
"""

from __future__ import annotations


class DiffusionError(Exception):
    """Root of the errors of this package."""


class ModelFileError(DiffusionError, ValueError):
    """A model that cannot be loaded: missing, damaged, unsafe, or of an unknown kind."""


class MissingModelError(ModelFileError):
    """No installed model has that name."""


class PromptError(DiffusionError, ValueError):
    """A prompt that cannot be encoded."""


class ScheduleError(DiffusionError, ValueError):
    """No such schedule, or no levels for so many steps."""


class SamplingError(DiffusionError):
    """Sampling went wrong: the model gave NaN or infinity."""


class MissingLibraryError(DiffusionError):
    """An optional library is not installed.

    Attributes:
        library: its name.
        extra: what to give to pip.
    """

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(f"{library} is not installed; pip install '{extra}'")


class OutOfMemoryError(DiffusionError):
    """The device's memory does not suffice, though all else was put away."""


class SettingError(DiffusionError, ValueError):
    """A setting of the environment that cannot be read."""
