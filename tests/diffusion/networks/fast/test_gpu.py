"""The fast path on a GPU: nearer to float32 than eager calls, and the same twice."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry, with_control
from latentloom.diffusion.families.sd15 import SD15 as SD15_FAMILY
from latentloom.diffusion.families.sdxl import SDXL as SDXL_FAMILY
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.control import Control, ControlNet, ControlWeights
from latentloom.diffusion.networks.handles import Model, Vae
from latentloom.diffusion.networks.load import make_sampling
from latentloom.diffusion.networks.patch import Patch
from latentloom.diffusion.networks.vae import decode, encode
from latentloom.diffusion.networks.weights import UNetWeights, VaeWeights
from latentloom.diffusion.patches.freeu import FreeU
from latentloom.diffusion.patches.perturbed import PerturbedAttention
from latentloom.diffusion.patches.token_merging import TokenMerging
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from tests.closeness import mean_error
from tests.diffusion.networks.fast.networks import SD15, SDXL, make_control, make_unet, make_vae
from tests.diffusion.networks.fast.test_network import Stronger

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")
# Room for the luck of single roundings in small networks; full-sized ones stay below 1.
MARGIN = 1.2
GROUPS = ("euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_3m_sde", "uni_pc", "lcm", "ddim")


def on_gpu(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(network).to(GPU, dtype)


def prompts(seed: int, batch: int = 1) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(batch, 7, 24, generator=generator)
    return (PromptEntry(tokens, torch.randn(batch, 16, generator=generator)),)


class Bench:
    """One small model in float32, and in float16 for eager and fast calls."""

    def __init__(self, options: dict[str, Any]) -> None:
        size = {"projection_class_embeddings_input_dim": 64} if options is SDXL else {}
        self.family = SDXL_FAMILY if options is SDXL else SD15_FAMILY
        self.unet = make_unet(**(options | size))
        self.control = make_control(self.unet)

    def run(
        self,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        *patches: Patch,
        batch: int = 1,
        size: tuple[int, int] = (16, 16),
        sampler: str = "euler",
        controlled: bool = False,
        masked: bool = False,
    ) -> list[Tensor]:
        """Sample twice with the same weights."""
        monkeypatch.setenv("LATENTLOOM_FAST", "" if kind == "fast" else "off")
        dtype = torch.float32 if kind == "exact" else torch.float16
        weights = UNetWeights(on_gpu(self.unet, dtype), kind, GPU)
        model = Model(weights, self.family, make_sampling(self.family), patches)
        samples = torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(3))
        latent = Latent(samples)
        if masked:
            mask = torch.zeros(1, 8 * size[0], 8 * size[1])
            mask[:, : 4 * size[0]] = 1
            latent = replace(latent, noise_mask=mask)
        positive, negative = prompts(1), prompts(2)
        if controlled:
            net = ControlNet(ControlWeights(on_gpu(self.control, dtype), kind, GPU), self.family)
            hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(4))
            control = Control(net, hint, strength=0.8)
            positive, negative = with_control(positive, control), with_control(negative, control)
        plan = SamplePlan(1, 6, 4.0, sampler, "normal")
        results = [sample(model, latent, positive, negative, plan) for _ in range(2)]
        self.passes = [result.passes[-1] for result in results]
        return [result.samples for result in results]


@pytest.fixture(scope="module", params=[SD15, SDXL], ids=["sd15", "sdxl"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "odd size": {"size": (15, 22)},
    "batch 3": {"batch": 3},
    "batch 8": {"batch": 8},
    "control": {"controlled": True},
    "mask": {"masked": True},
    **{sampler: {"sampler": sampler} for sampler in GROUPS[1:]},
}


@pytest.mark.parametrize("case", CASES)
def test_fast_is_as_near_to_float32_as_eager(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, case: str
) -> None:
    check(monkeypatch, bench, **CASES[case])
    assert bench.passes[1].captured_calls == bench.passes[1].model_calls


@pytest.mark.parametrize(
    ("patch", "captured"),
    [
        (Stronger(1.05), True),
        (FreeU(1.1, 1.2, 0.9, 0.8), True),
        (TokenMerging(0.4), False),
        (PerturbedAttention(2.0), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fast_is_as_near_with_patches(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, patch: Patch, captured: bool
) -> None:
    check(monkeypatch, bench, patch)
    assert (bench.passes[1].captured_calls > 0) == captured


def check(monkeypatch: pytest.MonkeyPatch, bench: Bench, *patches: Patch, **options: Any) -> None:
    exact = bench.run(monkeypatch, "exact", *patches, **options)[0]
    eager = bench.run(monkeypatch, "eager", *patches, **options)[0]
    first, second = bench.run(monkeypatch, "fast", *patches, **options)
    assert torch.equal(first, second)
    assert mean_error(first, exact) <= MARGIN * mean_error(eager, exact)


def test_an_autoencoder_is_as_near(monkeypatch: pytest.MonkeyPatch) -> None:
    network, generator = make_vae(), torch.Generator().manual_seed(1)
    latent = Latent(torch.randn(2, 4, 24, 20, generator=generator))
    pixels = torch.rand(1, 64, 48, 3, generator=generator)

    def run(kind: str) -> list[Tensor]:
        monkeypatch.setenv("LATENTLOOM_FAST", "" if kind == "fast" else "off")
        dtype = torch.float32 if kind == "exact" else torch.float16
        vae = Vae(VaeWeights(on_gpu(network, dtype), kind, GPU), SD15_FAMILY)
        both = [(decode(vae, latent), encode(vae, pixels).samples) for _ in range(3)]
        for first, *others in zip(*both, strict=True):
            assert all(torch.equal(first, other) for other in others)
        return list(both[0])

    for exact, eager, fast in zip(run("exact"), run("eager"), run("fast"), strict=True):
        assert mean_error(fast, exact) <= MARGIN * mean_error(eager, exact)


def test_an_autoencoder_that_overflows_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_vae()
    first: Any = network.get_submodule("decoder.conv_in")
    first.weight.data *= 1e5
    latent = Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)))
    exact = decode(Vae(VaeWeights(on_gpu(network, torch.float32), "a", GPU), SD15_FAMILY), latent)
    weights = VaeWeights(on_gpu(network, torch.bfloat16).to(torch.float16), "b", GPU)
    got = decode(Vae(weights, SD15_FAMILY), latent)
    assert weights.dtype == torch.float16
    assert mean_error(got, exact) < 0.1
