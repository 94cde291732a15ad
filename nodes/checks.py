"""Checks that several nodes share, and conversions of other errors into errors of an input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloom.engine.errors import InputError, UnexpectedValueError

from .ports import Image, Latent, Mask, Vae


def check_mask(port: str, mask: Mask | None) -> None:
    """Raise InputError unless a mask has three axes; None passes."""
    if mask is not None and mask.ndim != 3:
        raise InputError(port, "masks B×H×W", tuple(mask.shape))


def check_has_color(port: str, image: Image) -> None:
    """Raise InputError if images have fewer than three channels."""
    if image.shape[-1] < 3:
        raise InputError(port, "images with 3 or 4 channels", image.shape[-1])


def check_fills_a_cell(port: str, pixels: Image, vae: Vae) -> None:
    """Raise InputError if images are smaller than one latent cell of a VAE."""
    factor = vae.family.vae_factor
    height, width = pixels.shape[1:3]
    if min(height, width) < factor:
        raise InputError(port, f"at least {factor}×{factor} pixels", f"{width}×{height}")


def check_same_channels(port: str, first: Latent, second: Latent) -> None:
    """Raise InputError if the second of two latents has other channels than the first."""
    expected, got = first.shape[1], second.shape[1]
    if expected != got:
        raise InputError(port, f"latents with {expected} channels", f"{got} channels")


def check_filename_prefix(prefix: str) -> None:
    """Raise InputError if a prefix leaves the output folder."""
    from latentloom.engine.files.saving import check_prefix

    with as_input_error("filename_prefix"):
        check_prefix(prefix)


@contextmanager
def as_input_error(port: str, expected: str = "", hint: str = "") -> Iterator[None]:
    """Raise InputError of this port for errors that the port's value caused.

    Args:
        port: the input that holds the value.
        expected: what the port accepts, for errors that do not say it: those of model files,
            prompts and missing libraries.
        hint: what to do, for errors that do not say it.
    """
    from latentloom.diffusion.errors import (
        MissingLibraryError,
        ModelFileError,
        PromptError,
        UnsuitableValueError,
    )

    try:
        yield
    except InputError:
        raise
    except (UnsuitableValueError, UnexpectedValueError) as error:
        raise InputError(port, error.expected, error.got, error.hint or hint) from error
    except (ModelFileError, PromptError) as error:
        raise InputError(port, expected, f"one that cannot be used: {error}", hint) from error
    except MissingLibraryError as error:
        install = f"pip install '{error.extra}'"
        raise InputError(port, expected, f"one that needs {error.library}", install) from error


@contextmanager
def as_filename_error(prefix: str, folder: Path) -> Iterator[None]:
    """Raise InputError of `filename_prefix` if a file cannot be written below a folder."""
    try:
        with as_input_error("filename_prefix"):
            yield
    except OSError as error:
        got = f"{prefix!r} in {folder}: {error.strerror or error}"
        raise InputError("filename_prefix", "a path that can be written to", got) from error
