"""Fast forwards against diffusers' own, on the CPU: the same values up to rounding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

from latentloom.diffusion.families.added import AddedConditioning
from latentloom.diffusion.families.unet import ControlResiduals
from latentloom.diffusion.networks.control import ControlWeights
from latentloom.diffusion.networks.fast.calls import Tools
from latentloom.diffusion.networks.fast.support import why_not_here, why_not_network
from latentloom.diffusion.networks.patch import Patch, StepState, ValuePatch
from latentloom.diffusion.networks.weights import UNetInputs, UNetWeights
from latentloom.diffusion.patches.freeu import FreeU
from latentloom.diffusion.patches.token_merging import TokenMerging
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from tests.closeness import largest_error
from tests.diffusion.networks.fast.networks import (
    CONTEXT_DIM,
    SD15,
    SDXL,
    control_weights,
    make_unet,
    unet_weights,
    use_stand_ins,
    vae_weights,
)
from tests.diffusion.networks.fast.standins import stand_ins

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="compares on the CPU")
# Sums in another order; float32 networks of some fifty layers.
BOUND = 1e-4


@pytest.fixture
def tools() -> Tools:
    return stand_ins()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs_for(
    options: dict[str, Any], batch: int = 2, size: tuple[int, int] = (8, 12), seed: int = 0
) -> UNetInputs:
    added = None
    if options is SDXL:
        added = AddedConditioning(numbers(batch, 16, seed=seed + 3), torch.full((batch, 6), 9.0))
    context = numbers(batch, 5, CONTEXT_DIM, seed=seed + 1)
    times = torch.linspace(30, 700, batch)
    return UNetInputs(numbers(batch, 4, *size, seed=seed), times, context, added)


def predict(
    weights: UNetWeights,
    inputs: UNetInputs,
    *patches: Patch,
    control: ControlResiduals | None = None,
    times: int = 1,
) -> list[Tensor]:
    with weights.use(patches, StepState(ModelSampling())):
        return [weights.predict(*inputs, control).clone() for _ in range(times)]


@pytest.mark.parametrize("options", [SD15, SDXL], ids=["sd15", "sdxl"])
@pytest.mark.parametrize(
    ("batch", "size"), [(1, (8, 8)), (2, (8, 12)), (3, (7, 9))], ids=["square", "flat", "odd"]
)
def test_a_unet_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
    tools: Tools,
    options: dict[str, Any],
    batch: int,
    size: tuple[int, int],
) -> None:
    weights, inputs = unet_weights(**options), inputs_for(options, batch, size)
    (plain,) = predict(weights, inputs)
    assert (weights.captured_calls, weights.eager_calls) == (0, 1)
    use_stand_ins(monkeypatch, tools)
    for fast in predict(weights, inputs, times=3):
        assert largest_error(fast, plain) < BOUND
    assert (weights.captured_calls, weights.eager_calls) == (1, 3)
    assert weights.eager_reason is None


def test_a_capture_follows_its_inputs(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights = unet_weights(**SDXL)
    other = inputs_for(SDXL, seed=50)
    plain = predict(weights, inputs_for(SDXL)) + predict(weights, other)
    use_stand_ins(monkeypatch, tools)
    predict(weights, inputs_for(SDXL), times=2)
    fast = predict(weights, inputs_for(SDXL)) + predict(weights, other)
    assert weights.captured_calls == 2
    for got, wanted in zip(fast, plain, strict=True):
        assert largest_error(got, wanted) < BOUND


@pytest.mark.parametrize("options", [SD15, SDXL], ids=["sd15", "sdxl"])
def test_a_controlnet_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, tools: Tools, options: dict[str, Any]
) -> None:
    unet = make_unet(**options)
    control, weights, inputs = control_weights(unet), UNetWeights(unet, "unet"), inputs_for(options)
    hint = numbers(2, 3, 64, 96, seed=7)

    def residuals(strength: float) -> ControlResiduals:
        with control.use():
            result = control.predict(inputs, hint, strength)
        assert isinstance(result, ControlResiduals)
        return result

    plain = residuals(0.7)
    (plain_output,) = predict(weights, inputs, control=plain)
    use_stand_ins(monkeypatch, tools)
    fast = [residuals(0.7), residuals(0.3), residuals(0.7)][-1]
    for got, wanted in zip(flat(fast), flat(plain), strict=True):
        assert largest_error(got, wanted) < BOUND
    for output in predict(weights, inputs, control=fast, times=3):
        assert largest_error(output, plain_output) < BOUND
    assert (control.captured_calls, weights.captured_calls) == (1, 1)


def flat(residuals: ControlResiduals) -> Iterable[Tensor]:
    return (*residuals.skips, residuals.middle)


def test_an_autoencoder_gives_the_same(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights = vae_weights()
    pixels, samples = numbers(2, 3, 24, 16), numbers(1, 4, 9, 7, seed=1)

    def both() -> tuple[Tensor, Tensor]:
        with weights.use():
            return weights.encode(pixels).clone(), weights.decode(samples).clone()

    plain = both()
    use_stand_ins(monkeypatch, tools)
    for _ in range(3):
        for got, wanted in zip(both(), plain, strict=True):
            assert largest_error(got, wanted) < BOUND
    assert weights.captured_calls == 2


@dataclass(frozen=True)
class Stronger(ValuePatch):
    """Changes all weights of attention and residual blocks: those that are joined, too."""

    factor: float

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        return [name for name in parameters if "attn" in name or "resnets" in name]

    def change(self, name: str, weight: Tensor) -> Tensor:
        return weight * self.factor


def test_changed_weights_count_in_captured_calls(
    monkeypatch: pytest.MonkeyPatch, tools: Tools
) -> None:
    weights, inputs = unet_weights(**SD15), inputs_for(SD15)
    patches: list[tuple[Patch, ...]] = [(), (Stronger(1.1),), (Stronger(0.8),), ()]
    plain = [predict(weights, inputs, *patch)[0] for patch in patches]
    assert largest_error(plain[1], plain[0]) > 0.05
    use_stand_ins(monkeypatch, tools)
    predict(weights, inputs, times=2)
    before = {name: value.clone() for name, value in weights.module.state_dict().items()}
    for patch, wanted in zip(patches, plain, strict=True):
        assert largest_error(predict(weights, inputs, *patch)[0], wanted) < BOUND
    assert weights.captured_calls == len(patches)
    after = weights.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weights_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights, inputs = unet_weights(**SD15), inputs_for(SD15)
    use_stand_ins(monkeypatch, tools)
    before = predict(weights, inputs)[0]
    with pytest.raises(ZeroDivisionError), weights.use([Stronger(3.0)]):
        raise ZeroDivisionError
    assert torch.equal(predict(weights, inputs)[0], before)


def test_a_static_patch_is_captured_by_itself(
    monkeypatch: pytest.MonkeyPatch, tools: Tools
) -> None:
    weights, inputs = unet_weights(**SD15), inputs_for(SD15, size=(8, 8))
    patches = [FreeU(1.3, 1.4, 0.9, 0.2), FreeU(1.1, 1.2, 0.5, 0.7)]
    plain = [predict(weights, inputs, patch)[0] for patch in patches]
    use_stand_ins(monkeypatch, tools)
    predict(weights, inputs, times=2)
    for patch, wanted in zip(patches, plain, strict=True):
        fast = predict(weights, inputs, patch, times=3)[-1]
        assert largest_error(fast, wanted) < BOUND
    assert weights.captured_calls == len(patches)


def test_a_patch_that_reads_the_step_runs_eagerly(
    monkeypatch: pytest.MonkeyPatch, tools: Tools
) -> None:
    weights, inputs, patch = unet_weights(**SD15), inputs_for(SD15), TokenMerging(0.5)
    plain = predict(weights, inputs, patch)[0]
    use_stand_ins(monkeypatch, tools)
    assert torch.equal(predict(weights, inputs, patch, times=3)[0], plain)
    assert weights.captured_calls == 0
    assert weights.eager_reason == "TokenMerging changes its computation"


def test_another_processor_runs_eagerly(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights, inputs = unet_weights(**SD15), inputs_for(SD15)
    layer: Any = weights.module.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1")
    use_stand_ins(monkeypatch, tools)
    before = predict(weights, inputs, times=3)[-1]
    own, layer.processor = layer.processor, lambda _layer, hidden, **_: torch.zeros_like(hidden)
    changed = predict(weights, inputs)[0]
    layer.processor = own
    assert largest_error(changed, before) > 0.01
    assert torch.equal(predict(weights, inputs)[0], before)


def test_a_failed_capture_is_a_reason(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    def fail(_work: object) -> NoReturn:
        raise RuntimeError("no such operation")

    weights, inputs = unet_weights(**SD15), inputs_for(SD15)
    use_stand_ins(monkeypatch, tools._replace(record=fail))
    predict(weights, inputs, times=3)
    assert weights.captured_calls == 0
    assert weights.eager_reason == "a call could not be captured: no such operation"


def test_hooks_see_every_call(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights, inputs, seen = unet_weights(**SD15), inputs_for(SD15), list[int]()
    use_stand_ins(monkeypatch, tools)
    predict(weights, inputs, times=2)
    hook = weights.module.register_forward_pre_hook(lambda *_: seen.append(1))
    predict(weights, inputs, times=3)
    hook.remove()
    assert len(seen) == 3
    assert weights.eager_reason == "hooks on its layers"


def test_a_use_inside_a_use_is_eager(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights, inputs = unet_weights(**SD15), inputs_for(SD15)
    use_stand_ins(monkeypatch, tools)
    outside = predict(weights, inputs, times=2)[-1]
    with weights.use([Stronger(1.5)]):
        changed = weights.predict(*inputs).clone()
        assert not torch.equal(predict(weights, inputs)[0], outside)
        assert torch.equal(weights.predict(*inputs), changed)


def test_moving_releases_the_captures(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    weights, inputs = unet_weights(**SD15), inputs_for(SD15)
    use_stand_ins(monkeypatch, tools)
    before = predict(weights, inputs, times=3)[-1]
    weights.offload()
    assert len(tools.captures) == 0
    after = predict(weights, inputs, times=3)
    assert weights.captured_calls == 2
    assert all(largest_error(output, before) < BOUND for output in after)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoder_hid_dim": 8, "encoder_hid_dim_type": "text_proj"}, "conditioning"),
        ({"only_cross_attention": True}, "layers"),
        ({"resnet_time_scale_shift": "scale_shift"}, "layers"),
        ({"upcast_attention": False}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_networks_are_not_taken(options: dict[str, Any], reason: str | None) -> None:
    got = why_not_network(make_unet(**options))
    assert (got is None) == (reason is None)
    assert reason is None or reason in str(got)


def test_devices_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert why_not_here(torch.device("cpu")) == "no NVIDIA GPU"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    module = "latentloom.diffusion.networks.fast.setting.find_spec"
    monkeypatch.setattr(module, lambda _name: object())
    assert why_not_here(gpu) is None
    monkeypatch.setenv("LATENTLOOM_FAST", "off")
    assert why_not_here(gpu) == "fast networks are off"
    monkeypatch.setenv("LATENTLOOM_FAST", "auto")
    monkeypatch.setattr(module, lambda _name: None)
    assert why_not_here(gpu) == "Triton is not installed"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert why_not_here(gpu) == "the GPU is older than compute capability 8.0"


def test_a_network_of_another_class_has_a_reason() -> None:
    assert why_not_network(nn.Linear(2, 2)) == "Linear has no fast forward"
    assert ControlWeights(nn.Linear(2, 2), "x").eager_reason is None
