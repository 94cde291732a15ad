"""Tensors have digests of their contents, and come back from the disk unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import latentloom
from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.conditioning.regions import Area, Region
from latentloom.diffusion.families.conditions import InpaintMask, Sizes
from latentloom.diffusion.latents.latents import Latent, SamplePass
from latentloom.diffusion.networks.control import Control, ControlNet
from latentloom.engine.cache.disk import Store
from latentloom.engine.cache.fingerprint import Fingerprinter
from latentloom.engine.cache.packing import Array, CorruptEntryError, Packer, UnstorableError
from latentloom.engine.execution.executor import Engine
from latentloom.nodes.codecs import DTYPES, TENSOR_FINGERPRINT
from tests.nodes.test_model_nodes import sampling

fingerprint = Fingerprinter((TENSOR_FINGERPRINT,)).fingerprint
PACKER = Packer.of(latentloom.registry())


def test_equal_tensors_have_equal_digests() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(tensor) == fingerprint(tensor.clone())


def test_strides_do_not_count() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(tensor.t()) == fingerprint(tensor.t().contiguous())


@pytest.mark.parametrize(
    "other",
    [
        torch.arange(6.0).reshape(3, 2),
        torch.arange(6.0, dtype=torch.float64).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3) + 1e-6,
        torch.arange(6).reshape(2, 3),
    ],
)
def test_shape_dtype_and_values_count(other: torch.Tensor) -> None:
    assert fingerprint(other) != fingerprint(torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.int64])
def test_every_dtype_has_a_digest(dtype: torch.dtype) -> None:
    assert len(fingerprint(torch.zeros(3, dtype=dtype))) == 64


def test_a_scalar_and_an_empty_tensor_have_digests() -> None:
    assert fingerprint(torch.tensor(1.0)) != fingerprint(torch.zeros(0))


def there_and_back(value: Any) -> Any:
    tree, arrays = PACKER.pack(value)
    return PACKER.unpack(
        json.loads(json.dumps(tree)), [Array(a, b, bytearray(c)) for a, b, c in arrays]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 4), ()])
def test_tensors_of_every_kind_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 9
    tensor = tensor.to(getattr(torch, dtype))
    unpacked = there_and_back(tensor)
    assert (unpacked.dtype, unpacked.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(unpacked, tensor)


def test_a_tensor_of_complex_numbers_is_not_kept() -> None:
    with pytest.raises(UnstorableError, match="complex64"):
        PACKER.pack(torch.zeros(2, dtype=torch.complex64))


@pytest.mark.parametrize(
    "array",
    [Array("F32", (3,), bytearray(8)), Array("F99", (2,), bytearray(8)), Array("F32", (-2,), b"")],
)
def test_an_array_that_is_no_tensor_is_damaged(array: Array) -> None:
    with pytest.raises(CorruptEntryError):
        PACKER.unpack({"array": 0, "of": "torch.Tensor"}, [array])


def test_latents_and_conditioning_come_back_whole() -> None:
    mask, tokens = torch.rand(1, 8, 8), torch.rand(1, 77, 8)
    latent = Latent(
        torch.rand(2, 4, 8, 8),
        mask,
        (3, 4),
        "sd15",
        (SamplePass("euler", "normal", 4, 14.6, 8, 1.5),),
    )
    entry = PromptEntry(
        tokens, torch.rand(1, 8), 0.25, 0.75, 2.0, inpaint=InpaintMask(mask, latent.samples),
        sizes=Sizes(width=64), region=Region(Area(1.0, 2.0, 0.0, 0.0), mask, 0.5, True),
    )  # fmt: skip
    for value in (latent, (entry, PromptEntry(tokens))):
        assert fingerprint(there_and_back(value)) == fingerprint(value)
    assert there_and_back(latent).passes == latent.passes


def test_what_refers_to_weights_is_not_kept() -> None:
    net = object.__new__(ControlNet)
    control = object.__new__(Control)
    for value in (net, PromptEntry(torch.rand(1, 77, 8), controls=(control,))):
        with pytest.raises(UnstorableError):
            PACKER.pack(value)


def test_a_sampled_image_is_not_sampled_again_tomorrow(models: Path, tmp_path: Path) -> None:
    results = []
    for _ in range(2):
        with Engine(latentloom.registry(), store=Store(tmp_path, packer=PACKER)) as engine:
            results.append(engine.run(sampling(), targets=["decode"]))
    first, second = results
    assert (first.model_calls, second.model_calls) == (3, 0)
    assert (second.nodes["decode"].tier, second.nodes["model"].state) == ("disk", "skipped")
    assert torch.equal(first["decode"], second["decode"])


def test_only_the_steps_below_a_change_are_paid_for_tomorrow(models: Path, tmp_path: Path) -> None:
    with Engine(latentloom.registry(), store=Store(tmp_path, packer=PACKER)) as engine:
        engine.run(sampling(), targets=["decode"])
    changed = sampling(steps=2)
    with Engine(latentloom.registry(), store=Store(tmp_path, packer=PACKER)) as engine:
        steps = engine.plan(changed, targets=["decode"]).nodes
        assert {id: step.tier for id, step in steps.items() if step.action == "reuse"} == {
            "positive": "disk", "negative": "disk",
        }  # fmt: skip
        assert str(steps["sample"].why) == "steps 3 -> 2"
        image = engine.run(changed, targets=["decode"])["decode"]
    with Engine(latentloom.registry()) as engine:
        assert torch.equal(engine.run(changed, targets=["decode"])["decode"], image)
