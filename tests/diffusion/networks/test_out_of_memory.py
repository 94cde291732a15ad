"""Out of memory while networks compute: a retry in smaller pieces, then a typed error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import Conditioning
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import OutOfMemoryError
from latentloom.diffusion.latents.latents import Latent, make_empty
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.vae import decode, decode_tiled, encode, encode_tiled
from latentloom.diffusion.networks.weights import UNetWeights, VaeWeights
from latentloom.diffusion.patches.attention_gain import AttentionGain
from latentloom.diffusion.sampling.sample import SamplePlan, sample

PLAN = SamplePlan(seed=3, steps=2, cfg=5.0, sampler="euler_ancestral", scheduler="karras")


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str, Callable[[Any], bool]], Any]:
    """Make a method of networks run out of memory for large inputs."""

    def limited(kind: type, name: str, fits: Callable[[Any], bool]) -> list[tuple[int, ...]]:
        real, sizes = getattr(kind, name), list[tuple[int, ...]]()

        def method(weights: Any, x: Tensor, *rest: Any) -> Any:
            sizes.append(tuple(x.shape))
            if not fits(x):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
            return real(weights, x, *rest)

        monkeypatch.setattr(kind, name, method)
        return sizes

    return limited


@pytest.fixture(scope="module")
def sides(tiny: Checkpoint) -> tuple[Conditioning, Conditioning]:
    return encode_text(tiny.clip, "a red fox"), encode_text(tiny.clip, "")


def latent() -> Latent:
    return Latent(torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(9)))


def test_sampling_continues_one_prompt_at_a_time(
    tiny: Checkpoint, sides: tuple[Conditioning, Conditioning], limit: Any
) -> None:
    expected = sample(tiny.model, latent(), *sides, PLAN).samples
    sizes = limit(UNetWeights, "predict", lambda x: len(x) <= 2)
    got = sample(tiny.model, latent(), *sides, PLAN).samples
    assert [size[0] for size in sizes] == [4, 2, 2, 2, 2]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.std()))


def test_sampling_that_does_not_fit_is_a_typed_error_and_leaves_the_model(
    tiny: Checkpoint, sides: tuple[Conditioning, Conditioning], limit: Any
) -> None:
    model = replace(tiny.model, patches=(AttentionGain(q=2.0),))
    before = {key: value.clone() for key, value in model.weights.module.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UNetWeights, "predict", _out_of_memory)
        with pytest.raises(OutOfMemoryError, match="use a smaller image or batch"):
            sample(model, latent(), *sides, PLAN)
    after = model.weights.module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    expected = sample(model, latent(), *sides, PLAN).samples
    assert torch.equal(sample(model, latent(), *sides, PLAN).samples, expected)


def _out_of_memory(*_inputs: Any) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")


def test_decoding_continues_in_tiles(tiny: Checkpoint, limit: Any) -> None:
    large = Latent(torch.randn(1, 4, 8, 80, generator=torch.Generator().manual_seed(2)))
    expected = decode_tiled(tiny.vae, large, 512, 128)
    sizes = limit(VaeWeights, "decode", _all_but_the_first())
    assert torch.equal(decode(tiny.vae, large), expected)
    assert len(sizes) > 3


def _all_but_the_first() -> Callable[[Tensor], bool]:
    first = [True]
    return lambda _x: not first or not first.pop()


def test_encoding_continues_in_tiles(tiny: Checkpoint, limit: Any) -> None:
    pixels = torch.rand(1, 64, 576, 3, generator=torch.Generator().manual_seed(2))
    expected = encode_tiled(tiny.vae, pixels, 512, 64).samples
    limit(VaeWeights, "encode", _all_but_the_first())
    assert torch.equal(encode(tiny.vae, pixels).samples, expected)


@pytest.mark.parametrize(
    ("method", "work"),
    [
        ("decode", lambda tiny: decode(tiny.vae, make_empty(64, 64))),
        ("decode", lambda tiny: decode_tiled(tiny.vae, make_empty(64, 64), 512, 64)),
        ("encode", lambda tiny: encode(tiny.vae, torch.zeros(1, 64, 64, 3))),
        ("encode", lambda tiny: encode_tiled(tiny.vae, torch.zeros(1, 64, 64, 3), 512, 64)),
    ],
)
def test_what_does_not_fit_in_tiles_is_a_typed_error(
    tiny: Checkpoint, limit: Any, method: str, work: Callable[[Checkpoint], object]
) -> None:
    sizes = limit(VaeWeights, method, lambda _x: False)
    with pytest.raises(OutOfMemoryError):
        work(tiny)
    assert len(sizes) == 2


def test_encoding_a_prompt_is_retried(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    network = type(tiny.clip.weights.module)
    real, failures = network.forward, [True]

    def forward(module: Any, *inputs: Any, **options: Any) -> Any:
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(module, *inputs, **options)

    (expected,) = encode_text(tiny.clip, "a fox")
    monkeypatch.setattr(network, "forward", forward)
    (got,) = encode_text(tiny.clip, "a fox")
    assert torch.equal(got.tokens, expected.tokens)
    assert failures == []
