"""A family's networks for every contender of `bench.gpu`, and works on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.floor import count_operations
from bench.networks import (
    Handles,
    Modules,
    copy_modules,
    make_handles,
    make_modules,
    make_pipeline,
    make_prompt,
    prompt_arguments,
    quiet,
)
from bench.records import Contender, Measured, Measuring, fast_setting
from latentloom.diffusion.conditioning.conditioning import with_control
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks import devices
from latentloom.diffusion.networks.control import Control
from latentloom.diffusion.networks.vae import decode
from latentloom.diffusion.sampling.sample import SamplePlan, sample

CFG, SEED = 7.0, 1
FAST, PLAIN, THEIRS = "fast", "plain", "diffusers"
Run = Callable[[int], Any]


class Size(NamedTuple):
    """Width and height in pixels, and the number of images."""

    width: int
    height: int
    batch: int = 1

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """B×C×h×w."""
        return self.batch, 4, self.height // 8, self.width // 8


class FamilyRows(NamedTuple):
    """The cases of a family, and the values to stay under, in milliseconds."""

    size: Size
    batch: Size
    new_sizes: tuple[Size, Size]
    decoded: tuple[tuple[int, float | None], ...]
    sampling_aim: float | None = None
    image_aim: float | None = None
    batch_aim: float | None = None


FAMILIES = {
    "mini": FamilyRows(Size(64, 64), Size(64, 64, 2), (Size(96, 64), Size(64, 96)), ((64, None),)),
    "sd15": FamilyRows(
        Size(512, 512), Size(512, 512, 8), (Size(640, 512), Size(768, 448)),
        ((512, 9), (1024, 27)), 115, 125, 32,
    ),
    "sdxl": FamilyRows(
        Size(1024, 1024), Size(1024, 1024, 4), (Size(1152, 896), Size(832, 1216)),
        (), 560, 590, 110,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of all rows.

    Attributes:
        rate: operations a second of large matrix products.
        compile_mode: of torch.compile.
    """

    device: torch.device
    dtype: torch.dtype
    repeats: int
    steps: int
    rate: float
    compile_mode: str


class Lab:
    """A family's networks, and works on them.

    Each contender has copies of its own, since fast networks change the layout of their weights.
    """

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.options, self.rows = name, options, FAMILIES[name]
        device = options.device
        vae_dtype = devices.vae_dtype() if device.type == "cuda" else options.dtype
        self.modules = make_modules(name, device, options.dtype, vae_dtype)
        self.fast = make_handles(name, copy_modules(self.modules), device)
        self.plain = make_handles(name, self.modules, device)
        self.theirs = copy_modules(self.modules)
        self.theirs.vae.to(options.dtype)
        self.measured: list[Measured] = []
        self.prompts = make_prompt(self.plain.family, 1), make_prompt(self.plain.family, 2)

    def ours(self, make: Callable[[Handles], Run]) -> list[Contender]:
        """Return this project with fast networks and without; `make` makes the work of each."""
        fast, plain = make(self.fast), make(self.plain)
        return [
            Contender(name=FAST, work=fast, fast="auto", counted=self.fast.model.weights),
            Contender(name=PLAIN, work=plain, fast="off"),
        ]

    def hint(self, size: Size) -> Tensor:
        """Return the image that a ControlNet follows."""
        generator = torch.Generator().manual_seed(SEED)
        return torch.rand(1, size.height, size.width, 3, generator=generator)

    def sampling(self, size: Size, handles: Handles, *, controlled: bool = False) -> Run:
        """Return a work that samples from noise with guidance."""
        positive, negative = self.prompts
        if controlled:
            control = Control(handles.control, self.hint(size))
            positive, negative = with_control(positive, control), with_control(negative, control)
        latent = Latent(torch.zeros(size.latent_shape))

        def work(steps: int) -> Latent:
            plan = SamplePlan(SEED, steps, CFG, "euler", "normal")
            return sample(handles.model, latent, positive, negative, plan)

        return work

    def imaging(self, size: Size, handles: Handles) -> Run:
        """Return a work that samples and decodes."""
        sampling = self.sampling(size, handles)
        return lambda steps: decode(handles.vae, sampling(steps))

    def their_sampling(
        self,
        size: Size,
        output: str = "latent",
        *,
        controlled: bool = False,
        modules: Modules | None = None,
    ) -> Run:
        """Return a work of diffusers' pipeline; its output is `latent` or the image, `pt`."""
        pipe = make_pipeline(self.name, modules or self.theirs, "", controlled)
        device, dtype = self.options.device, self.options.dtype
        arguments = prompt_arguments(self.name, *self.prompts, device, dtype) | {
            "guidance_scale": CFG,
            "width": size.width,
            "height": size.height,
            "num_images_per_prompt": size.batch,
            "output_type": output,
        }
        if controlled:
            arguments["image"] = self.hint(size).movedim(-1, 1)

        def work(steps: int) -> Tensor:
            generator = torch.Generator("cpu").manual_seed(SEED)
            images: Tensor = pipe(
                num_inference_steps=steps, generator=generator, **arguments
            ).images
            return images.float().cpu()

        return work

    def measuring(self, steps: int, **options: Any) -> Measuring:
        """Return how rows are measured; what they measure can be traced later."""
        settings = {"measured": self.measured, "rate": self.options.rate, **options}
        return Measuring(
            device=self.options.device, repeats=self.options.repeats, steps=steps, **settings
        )

    def count(self, work: Callable[[int], object], steps: int) -> float:
        """Return the operations of a run, from those of runs of one step and of two."""
        with fast_setting("off"), quiet():
            one, two = (count_operations(lambda n=n: work(n)) for n in (1, 2))  # type: ignore[misc]
        return one + (steps - 1) * (two - one)
