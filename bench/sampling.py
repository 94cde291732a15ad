"""Compare sampling with diffusers' pipelines, on one set of weights: `python -m bench.sampling`.

Both run in one process, alternating, with equal numbers of model calls; medians are reported.
Workloads are text encoding, encoding, decoding, and img2img at several sizes and batches, also
with a ControlNet. On a GPU the least possible time is reported as a share of ours (bench.floor).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.clock import time_call
from bench.floor import count_operations, measure_rate
from bench.networks import (
    SEED,
    UNETS,
    make_handles,
    make_modules,
    make_pipeline,
    make_prompt,
    make_text_encoder,
    prompt_arguments,
    quiet,
    synchronize,
)
from latentloom.diffusion.conditioning.conditioning import with_control
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks import devices
from latentloom.diffusion.networks.control import Control
from latentloom.diffusion.networks.handles import Clip
from latentloom.diffusion.networks.vae import decode, encode
from latentloom.diffusion.networks.weights import TextEncoder, TextWeights
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.text.tokenizers import load_clip_l_tokenizer

DENOISE, CFG = 0.5, 7.0
MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One workload through Latentloom and through diffusers.

    Attributes:
        ours, theirs: median seconds.
        our_calls, their_calls: of the denoising network, in one run.
        peak_mb: peak memory so far, of the device, or of the process on a CPU.
        floor: seconds that our operations take at the device's peak rate; 0 on a CPU.
    """

    name: str
    ours: float
    theirs: float
    our_calls: int = 0
    their_calls: int = 0
    peak_mb: float = 0.0
    floor: float = 0.0

    @property
    def ratio(self) -> float:
        """The speed of ours relative to theirs."""
        return self.theirs / self.ours


class SamplingBench:
    """One family's random networks on a device, in our handles and for the pipelines."""

    def __init__(
        self, family: str, device: str, dtype: torch.dtype, repeats: int, steps: int
    ) -> None:
        self.name, self.repeats, self.steps = family, repeats, steps
        self.device, self.dtype = torch.device(device), dtype
        self.modules = make_modules(family, self.device, dtype)
        self.handles = make_handles(family, self.modules, self.device)
        self.family = self.handles.family
        self.text = make_text_encoder(2 if family == "mini" else 12).to(self.device)
        self.rate = measure_rate(self.device, dtype) if self.device.type == "cuda" else 0.0
        self.calls = 0
        self.modules.unet.register_forward_pre_hook(self._on_call)

    def compare_all(self, sizes: list[int], batches: list[int]) -> Iterator[Comparison]:
        """Measure every workload, one after another."""
        yield self._compare_text_encoding()
        for size in sizes:
            yield self._compare_encoding(size)
            yield self._compare_decoding(size)
            for batch in batches:
                yield self._compare_img2img(size, batch, controlled=False)
        yield self._compare_img2img(sizes[0], 1, controlled=True)

    def _compare_text_encoding(self) -> Comparison:
        tokenizer = load_clip_l_tokenizer()
        weights = TextWeights([TextEncoder("l", self.text, tokenizer)], "bench", self.device)
        clip, prompt = Clip(weights, self.family), "a red fox jumping over a blue river"
        start, end, pad = tokenizer.special_tokens

        def theirs() -> object:
            ids = [start, *tokenizer.encode(prompt), end]
            padded = torch.tensor([ids + [pad] * (77 - len(ids))])
            with torch.inference_mode():
                return self.text(padded.to(self.device)).last_hidden_state.float().cpu()

        return self._compare("text encode", lambda: encode_text(clip, prompt), theirs)

    def _compare_encoding(self, size: int) -> Comparison:
        image = torch.rand(1, size, size, 3)

        def theirs() -> object:
            pixels = (image.movedim(-1, 1) * 2 - 1).to(self.device, self.dtype)
            with torch.inference_mode():
                return self.modules.vae.encode(pixels).latent_dist.mean.float().cpu()

        return self._compare(f"VAE encode {size}", lambda: encode(self.handles.vae, image), theirs)

    def _compare_decoding(self, size: int) -> Comparison:
        latent = Latent(torch.randn(1, 4, size // 8, size // 8))

        def theirs() -> object:
            with torch.inference_mode():
                pixels = self.modules.vae.decode(latent.samples.to(self.device, self.dtype)).sample
                return (pixels.float().cpu() / 2 + 0.5).clamp(0, 1)

        return self._compare(f"VAE decode {size}", lambda: decode(self.handles.vae, latent), theirs)

    def _compare_img2img(self, size: int, batch: int, controlled: bool) -> Comparison:
        latent = Latent(torch.randn(batch, 4, size // 8, size // 8))
        positive, negative = make_prompt(self.family, 1), make_prompt(self.family, 2)
        hint = torch.rand(1, size, size, 3)
        total = int(self.steps / DENOISE)
        arguments = prompt_arguments(self.name, positive, negative, self.device, self.dtype) | {
            "image": self.family.to_model(latent.samples).to(self.device, self.dtype),
            "strength": DENOISE,
            "num_inference_steps": total,
            "guidance_scale": CFG,
            "output_type": "latent",
            "num_images_per_prompt": batch,
        }
        if controlled:
            control = Control(self.handles.control, hint)
            positive, negative = with_control(positive, control), with_control(negative, control)
            arguments["control_image"] = hint.movedim(-1, 1)
        pipe = make_pipeline(self.name, self.modules, "Img2Img", controlled)
        plan = SamplePlan(SEED, self.steps, CFG, "euler", "normal", DENOISE)

        def ours() -> object:
            return sample(self.handles.model, latent, positive, negative, plan)

        def theirs() -> object:
            generator = torch.Generator("cpu").manual_seed(SEED)
            return pipe(generator=generator, **arguments).images.float().cpu()

        label = f"img2img {size} x{batch}{' + ControlNet' if controlled else ''}"
        return self._compare(label, ours, theirs)

    def _compare(
        self, name: str, ours: Callable[[], object], theirs: Callable[[], object]
    ) -> Comparison:
        calls = [self._count_calls(ours), self._count_calls(theirs)]  # these also warm up
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(self.repeats):
            for own_times, work in zip(times, (ours, theirs), strict=True):
                own_times.append(time_call(lambda work=work: self._run(work)))  # type: ignore[misc]
        medians = [statistics.median(own_times) for own_times in times]
        peak_mb = self._peak_mb()
        floor = count_operations(ours) / self.rate if self.rate else 0.0
        return Comparison(
            name=name,
            ours=medians[0],
            theirs=medians[1],
            our_calls=calls[0],
            their_calls=calls[1],
            peak_mb=peak_mb,
            floor=floor,
        )

    def _count_calls(self, work: Callable[[], object]) -> int:
        self.calls = 0
        self._run(work)
        return self.calls

    def _run(self, work: Callable[[], object]) -> None:
        with quiet():
            work()
        synchronize(self.device)

    def _on_call(self, *_: object) -> None:
        self.calls += 1

    def _peak_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / MEGABYTE
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, print each workload as it comes, and write the JSON at the end."""
    parser = argparse.ArgumentParser(prog="python -m bench.sampling", description=__doc__)
    parser.add_argument("--family", choices=tuple(UNETS), default="mini")
    parser.add_argument("--device", default=devices.device().type)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--json", type=Path, default=Path("bench/results/sampling.json"))
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    bench = SamplingBench(options.family, options.device, dtype, options.repeats, options.steps)
    print(f"{options.family}, {options.device}, {options.dtype}, median of {options.repeats}")
    if bench.rate:
        print(f"large matrix products: {bench.rate / 1e12:.0f} TFLOP/s")
    print(
        f"{'':28} {'ours s':>9} {'theirs s':>9} {'ratio':>6} {'calls':>7} {'peak MB':>8} of floor"
    )
    rows = []
    for row in bench.compare_all(options.sizes, options.batches):
        calls = f"{row.our_calls}/{row.their_calls}"
        print(
            f"{row.name:28} {row.ours:9.3f} {row.theirs:9.3f} {row.ratio:6.2f} {calls:>7} "
            f"{row.peak_mb:8.0f} {f'{row.floor / row.ours:8.1%}' if row.floor else ''}",
            flush=True,
        )
        rows.append(asdict(row))
    machine: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    machine |= {"torch": torch.__version__, "device": options.device, "dtype": options.dtype}
    machine |= {"family": options.family, "diffusers": version("diffusers")}
    machine |= {"steps": options.steps, "operations_a_second": bench.rate}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
