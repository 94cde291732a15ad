"""Checks that nodes share, and conversion of errors into InputError."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentloom.diffusion.errors import ModelFileError, UnsuitableValueError
from latentloom.engine.errors import InputError
from latentloom.nodes.checks import (
    as_filename_error,
    as_input_error,
    check_has_color,
    check_mask,
)


def test_an_error_with_expected_and_got_keeps_them() -> None:
    with pytest.raises(InputError) as caught, as_input_error("image", "unused", "unused"):
        raise UnsuitableValueError("a PNG", "a BMP", "convert it")
    error = caught.value
    assert (error.port, error.expected, error.got) == ("image", "a PNG", "a BMP")
    assert error.hint == "convert it"


def test_an_error_without_a_hint_gets_that_of_the_node() -> None:
    with pytest.raises(InputError) as caught, as_input_error("mask", hint="draw one"):
        raise UnsuitableValueError("a mask", "none")
    assert caught.value.hint == "draw one"


def test_a_model_file_error_says_what_the_input_expects() -> None:
    with pytest.raises(InputError) as caught, as_input_error("lora_name", "a LoRA"):
        raise ModelFileError("no keys")
    error = caught.value
    assert (error.port, error.expected) == ("lora_name", "a LoRA")
    assert error.got == "one that cannot be used: no keys"


def test_an_error_of_another_input_stays_one() -> None:
    with pytest.raises(InputError, match="other: expected a, got b"), as_input_error("image"):
        raise InputError("other", "a", "b")


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), as_input_error("image"):
        raise KeyError


def test_a_file_that_cannot_be_written_is_an_error_of_the_prefix(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, as_filename_error("a/b", tmp_path):
        raise PermissionError(13, "Permission denied")
    assert caught.value.port == "filename_prefix"
    assert caught.value.got == f"'a/b' in {tmp_path}: Permission denied"


def test_no_mask_is_a_mask_that_may_be_left_out() -> None:
    check_mask("mask", None)
    with pytest.raises(InputError, match="masks B×H×W"):
        check_mask("mask", torch.zeros(4, 4))


def test_grey_images_have_no_colour() -> None:
    with pytest.raises(InputError, match="3 or 4 channels, got 1"):
        check_has_color("image", torch.zeros(1, 4, 4, 1))
