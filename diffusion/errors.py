"""Errors of the diffusion code. It knows nothing of nodes; the nodes add the input's name.

DiffusionError
  UnsuitableValueError   a value that cannot be used: expected, got, hint
    ImageFileError       ... an image file (images.image_limits)
    SizeError            ... an image of another size than its source (images.paste)
  ModelFileError         a model folder or file that cannot be loaded
    MissingModelError    no installed model has that name
  PromptError            a prompt that cannot be encoded
  ScheduleError          an unknown schedule, or one without sigmas for so many steps
  SamplingError          the model returned NaN or infinity
  NonFiniteError         another network returned NaN or infinity
  OutOfMemoryError       work that does not fit into the device's memory
  SettingError           an environment variable with a value that cannot be read
  MissingLibraryError    an optional library that is not installed
"""

from __future__ import annotations


class DiffusionError(Exception):
    """Root of the errors of this package."""


class UnsuitableValueError(DiffusionError, ValueError):
    """A value that cannot be used.

    Args:
        expected: what would do, in a few words.
        got: the value, or what is wrong with it.
        hint: what to do about it, if known.
    """

    def __init__(self, expected: str, got: str, hint: str = "") -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got, self.hint = expected, got, hint


class ModelFileError(DiffusionError, ValueError):
    """A model that cannot be loaded: missing, damaged, unsafe, or of an unknown kind."""


class MissingModelError(ModelFileError):
    """No installed model has that name."""


class PromptError(DiffusionError, ValueError):
    """A prompt that cannot be encoded."""


class ScheduleError(DiffusionError, ValueError):
    """An unknown schedule, or one without sigmas for so many steps."""


class SamplingError(DiffusionError):
    """The model returned NaN or infinity."""


class NonFiniteError(DiffusionError):
    """A network other than the model returned NaN or infinity."""


class MissingLibraryError(DiffusionError):
    """An optional library is not installed.

    Attributes:
        library: its name.
        extra: the requirement to pass to pip.
    """

    def __init__(self, library: str, extra: str) -> None:
        self.library, self.extra = library, extra
        super().__init__(f"{library} is not installed; pip install '{extra}'")


class OutOfMemoryError(DiffusionError):
    """The work does not fit into the device's memory, even with all other models offloaded."""


class SettingError(DiffusionError, ValueError):
    """An environment variable has a value that cannot be read."""
