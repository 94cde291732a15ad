"""The rows of `bench.gpu`: this project with fast networks and without, and diffusers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.cold_load import measure_cold_load
from bench.floor import count_operations
from bench.gpu_lab import FAST, PLAIN, THEIRS, Lab, Run, Size
from bench.networks import Handles, Modules, copy_modules, make_handles, quiet
from bench.records import Contender, Record, fast_setting
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.lora import with_lora
from latentloom.diffusion.networks.vae import decode

ERROR_STEPS, BATCH_STEPS, LORA_RANK = 4, 8, 16
NEW_SHAPE_AIM, COLD_AIM_MS = 1.2, 4500
# The second call of a kind is captured, later ones use that.
RUNS_UNTIL_CAPTURED = 3


def image(lab: Lab) -> Iterator[Record]:
    """Measure sampling, and sampling with decoding."""
    size, steps = lab.rows.size, lab.options.steps
    cases: tuple[tuple[str, str, Any, float | None], ...] = (
        ("sampling", "latent", lab.sampling, lab.rows.sampling_aim),
        ("image", "pt", lab.imaging, lab.rows.image_aim),
    )
    for label, output, make, aim in cases:
        contenders = lab.ours(partial(make, size))
        contenders.append(Contender(name=THEIRS, work=lab.their_sampling(size, output)))
        operations = lab.count(make(size, lab.plain), steps)
        measuring = lab.measuring(steps, operations=operations, aim=aim)
        row = f"{lab.name} {size.width} {label}, {steps} steps"
        yield from measuring.measure(row, contenders)


def errors(lab: Lab) -> Iterator[Record]:
    """Compare few steps, and decoding, with float32 on the same weights."""
    size = lab.rows.size
    copies = Modules(*(module.float() for module in copy_modules(lab.modules)))
    exact = make_handles(lab.name, copies, lab.options.device)
    is_tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with fast_setting("off"):
            latent = lab.sampling(size, exact)(ERROR_STEPS)
            pixels = decode(exact.vae, latent)
    finally:
        torch.backends.cudnn.allow_tf32 = is_tf32
    for name, fast, handles in ((FAST, "auto", lab.fast), (PLAIN, "off", lab.plain)):
        sampling = lab.sampling(size, handles)
        with fast_setting(fast):
            for _ in range(RUNS_UNTIL_CAPTURED):
                own_latent, own_pixels = sampling(ERROR_STEPS), decode(handles.vae, latent)
        values = {
            f"error of latents, {ERROR_STEPS} steps": _error(own_latent.samples, latent.samples),
            "error of decoding": _error(own_pixels, pixels),
        }
        for label, value in values.items():
            row = f"{lab.name} {label}"
            yield Record(row=row, contender=name, value=value, unit="of the rms of float32")


def batch(lab: Lab) -> Iterator[Record]:
    """Measure a step of a batch."""
    size = lab.rows.batch
    contenders = lab.ours(partial(lab.sampling, size))
    contenders.append(Contender(name=THEIRS, work=lab.their_sampling(size)))
    measuring = lab.measuring(
        BATCH_STEPS,
        is_per_step=True,
        operations=lab.count(lab.sampling(size, lab.plain), BATCH_STEPS),
        aim=lab.rows.batch_aim,
    )
    yield from measuring.measure(f"{lab.name} {size.width} x{size.batch}, a step", contenders)


def decoding(lab: Lab) -> Iterator[Record]:
    """Measure decoding of one latent."""
    for side, aim in lab.rows.decoded:
        latent = Latent(torch.randn(Size(side, side).latent_shape))
        ours = [
            replace(contender, counted=handles.vae.weights)
            for contender, handles in zip(
                lab.ours(partial(_decoding_of, latent)), (lab.fast, lab.plain), strict=True
            )
        ]
        with fast_setting("off"):
            operations = count_operations(partial(ours[1].work, 0))
        theirs = Contender(name=THEIRS, work=partial(_their_decoding, lab, latent.samples))
        measuring = lab.measuring(0, operations=operations, aim=aim)
        yield from measuring.measure(f"VAE decode {side}", [*ours, theirs])


def new_size(lab: Lab) -> Iterator[Record]:
    """Compare the first image of a size that was not computed before with plain networks."""
    _warm_up(lab)
    for size in lab.rows.new_sizes:
        row = f"{lab.name} new size {size.width}x{size.height}, image"
        yield from _first_images(lab, row, partial(lab.imaging, size))


def lora(lab: Lab) -> Iterator[Record]:
    """Compare the first image with a LoRA, with another, and at another strength."""
    _warm_up(lab)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (write_lora(lab.modules.unet, Path(folder), seed) for seed in (1, 2))
        cases = {
            "first LoRA": (first, 0.8),
            "another LoRA": (second, 0.8),
            "another strength": (second, 0.5),
        }
        for name, (path, strength) in cases.items():
            make = partial(_imaging_with_lora, lab, path, strength)
            yield from _first_images(lab, f"{lab.name} {name}, image", make)


def control(lab: Lab) -> Iterator[Record]:
    """Measure sampling with a ControlNet."""
    size, steps = lab.rows.size, lab.options.steps
    make = partial(lab.sampling, size, controlled=True)
    theirs = Contender(name=THEIRS, work=lab.their_sampling(size, controlled=True))
    measuring = lab.measuring(steps, operations=lab.count(make(lab.plain), steps))
    row = f"{lab.name} {size.width} ControlNet, {steps} steps"
    yield from measuring.measure(row, [*lab.ours(make), theirs])


def cold(lab: Lab) -> Iterator[Record]:
    """Measure processes that load the networks from one file and make an image."""
    size, steps = lab.rows.size, lab.options.steps
    for case, stages in measure_cold_load(lab.name, lab.modules, size.width, steps):
        for stage, seconds in stages.items():
            is_total = stage == "first image" and lab.name == "sdxl"
            yield Record(
                row=f"{lab.name} cold, {stage}",
                contender=case,
                value=seconds * 1e3,
                aim=COLD_AIM_MS if is_total else None,
            )


def traced(lab: Lab) -> Iterator[Record]:
    """Trace what was measured before, each contender with its setting."""
    for measured in lab.measured:
        yield measured.trace()


def compiled(lab: Lab) -> Iterator[Record]:
    """Measure diffusers with its UNet and its decoder compiled; compiling takes minutes."""
    size, steps = lab.rows.size, lab.options.steps
    modules = copy_modules(lab.theirs)
    for module in (modules.unet, modules.vae):
        module.to(memory_format=torch.channels_last)
    mode = lab.options.compile_mode
    modules.vae.decode = torch.compile(modules.vae.decode, mode=mode)
    modules = modules._replace(unet=torch.compile(modules.unet, mode=mode))
    for output, label in (("latent", "sampling"), ("pt", "image")):
        work = lab.their_sampling(size, output, modules=modules)
        row = f"{lab.name} {size.width} {label}, {steps} steps"
        contender = Contender(name=f"diffusers {mode}", work=work)
        yield from lab.measuring(steps, measured=None).measure(row, [contender])


# By name, the most important first; a row that takes long is late.
ROWS: dict[str, Callable[[Lab], Iterator[Record]]] = {
    "image": image,
    "errors": errors,
    "batch": batch,
    "decode": decoding,
    "new-size": new_size,
    "lora": lora,
    "control": control,
    "cold": cold,
    "trace": traced,
    "compiled": compiled,
}


def write_lora(unet: Any, folder: Path, seed: int) -> Path:
    """Write a random LoRA of all attention layers of a network; return the file."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, layer in unet.named_modules():
        if not isinstance(layer, torch.nn.Linear) or ".attn" not in name:
            continue
        key = f"lora_unet_{name.replace('.', '_')}"
        down = torch.randn(LORA_RANK, layer.in_features, generator=generator)
        up = torch.randn(layer.out_features, LORA_RANK, generator=generator)
        tensors[f"{key}.lora_down.weight"] = (down * layer.in_features**-0.5).half()
        tensors[f"{key}.lora_up.weight"] = (up * 0.01).half()
        tensors[f"{key}.alpha"] = torch.tensor(float(LORA_RANK))
    path = folder / f"lora_{seed}.safetensors"
    save_file(tensors, path)
    return path


def _imaging_with_lora(lab: Lab, path: Path, strength: float, handles: Handles) -> Run:
    model = with_lora(handles.model, path, strength)
    return lab.imaging(lab.rows.size, handles._replace(model=model))


def _decoding_of(latent: Latent, handles: Handles) -> Run:
    return lambda _steps: decode(handles.vae, latent)


def _their_decoding(lab: Lab, samples: Tensor, _steps: int) -> Tensor:
    inputs = samples.to(lab.options.device, lab.options.dtype)
    with torch.inference_mode():
        pixels: Tensor = lab.theirs.vae.decode(inputs).sample
    return (pixels.float().cpu() / 2 + 0.5).clamp(0, 1)


def _warm_up(lab: Lab) -> None:
    """Make images of the usual size in both ways."""
    for contender in lab.ours(partial(lab.imaging, lab.rows.size)):
        with fast_setting(contender.fast), quiet():
            for _ in range(RUNS_UNTIL_CAPTURED):
                contender.work(2)


def _first_images(lab: Lab, row: str, make: Callable[[Handles], Run]) -> Iterator[Record]:
    """Measure both ways, and the first fast image relative to a usual plain one."""
    measuring = lab.measuring(lab.options.steps, measured=None)
    records = list(measuring.measure(row, lab.ours(make)))
    yield from records
    by_name = {record.contender: record for record in records}
    fast, plain = by_name[FAST], by_name[PLAIN]
    if fast.first is not None and plain.value is not None:
        ratio = fast.first / plain.value
        label = Record(row=row, contender="fast, first / plain", aim=NEW_SHAPE_AIM)
        yield replace(label, value=ratio, unit="times")


def _error(result: Tensor, exact: Tensor) -> float:
    """Return the root mean square difference, relative to the root mean square of the exact."""
    difference = (result - exact).double().square().mean().sqrt()
    return float(difference / exact.double().square().mean().sqrt())
