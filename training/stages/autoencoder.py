"""The image autoencoder: 8x smaller, four channels, diffusers' AutoencoderKL.

First all of it is trained, then its latents are folded to unit variance and the encoder is
frozen; the decoder goes on alone, beside the denoiser, since the latents no longer change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from training.stages.stage import Measure, Stage, half_precision, train
from training.world.pool import Images, draw_batch, gather_batch, held_out, load_pool
from training.world.scenes import SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.presets import Preset
    from training.world.crew import Crew

SCALE = 0.18215
LATENTS = 4
# The largest noise that the decoder learns to ignore, as a share of the latents' deviation: while
# the encoder learns to write details larger than the errors of a denoiser, and afterwards.
ENCODING_NOISE, DECODING_NOISE = 0.2, 0.1


def build(channels: tuple[int, ...]) -> AutoencoderKL:
    """An untrained autoencoder. One norm group: a flat colour must survive normalisation."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=1,
        sample_size=SIZE,
        scaling_factor=SCALE,
        mid_block_add_attention=False,
    )


@torch.no_grad()
def prepare(vae: AutoencoderKL, images: Tensor) -> None:
    """Start from latents of unit variance and almost no posterior noise.

    The default start drowns the means in noise of variance 1, and training stalls.
    """
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                module.bias.zero_()
            if name.endswith("conv2"):
                module.weight.mul_(0.2)
    weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
    nn.init.zeros_(bias)
    means = vae.quant_conv(vae.encoder(images))[:, :LATENTS]
    weight[:LATENTS] /= means.std((0, 2, 3))[:, None, None, None]
    bias[:LATENTS] = -means.mean((0, 2, 3)) / means.std((0, 2, 3))
    weight[LATENTS:] *= 0.1
    bias[LATENTS:] = -6.0


def reconstruction_loss(got: Tensor, wanted: Tensor, low: float = 4.0) -> Tensor:
    """L1 + L2 + gradients + `low` times the error of the blurred image.

    The last keeps flat colours: without it the few channels are spent on edges.
    """
    got = got.float()
    absolute = (got - wanted).abs().mean()
    squared = (got - wanted).pow(2).mean()
    edges = sum((got.diff(dim=axis) - wanted.diff(dim=axis)).abs().mean() for axis in (2, 3))
    blurred = sum(
        (functional.avg_pool2d(got, k) - functional.avg_pool2d(wanted, k)).pow(2).mean()
        for k in (4, 8)
    )
    return absolute + squared + 0.5 * edges + low * blurred


@torch.no_grad()
def fold(vae: AutoencoderKL, images: Tensor) -> None:
    """Move the latents' mean and deviation into the 1x1 convolutions around them.

    After it `encode(x) * 0.18215` has mean 0 and deviation 1, and the decoder's output is
    unchanged, so that nobody needs another scaling factor for this model.
    """
    means = vae.encode(images).latent_dist.mean
    centre, deviation = means.mean((0, 2, 3)), means.std((0, 2, 3))
    gain = 1 / (deviation * SCALE)
    inner, outer = vae.quant_conv, vae.post_quant_conv
    inner.weight[:LATENTS] *= gain[:, None, None, None]
    inner.bias[:LATENTS] = (inner.bias[:LATENTS] - centre) * gain
    inner.bias[LATENTS:] += 2 * gain.log()
    outer.bias += outer.weight[:, :, 0, 0] @ centre
    outer.weight /= gain[None, :, None, None]


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Mean peak signal-to-noise ratio, in dB, of images sent through the autoencoder."""
    errors = []
    for batch in torch.split(images.to(vae.device), 8):
        got = vae.decode(vae.encode(batch).latent_dist.mean).sample.clamp(-1, 1).float()
        errors.append(((got - batch) / 2).pow(2).mean((1, 2, 3)))
    return float((-10 * torch.cat(errors).log10()).mean())


def train_autoencoder(preset: Preset, folder: Path, crew: Crew, *, resume: bool) -> AutoencoderKL:
    """Train encoder and decoder together; return the folded average."""
    images = load_pool(preset, folder, crew)
    torch.manual_seed(preset.seed)
    vae = build(preset.autoencoder_channels)
    sample = images.sample(max(1, len(images) // 256))
    prepare(vae, sample[: 64 if preset.device == "cpu" else 16])
    vae = vae.to(preset.device).to(memory_format=torch.channels_last)
    source = images if preset.device == "cpu" else images.to(preset.device)

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        batch = _batch(preset, source, step / preset.autoencoder.steps, generator)
        posterior = vae.encode(batch).latent_dist
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        latents = _with_noise(posterior.sample(generator), ENCODING_NOISE, generator)
        total: Tensor = reconstruction_loss(vae.decode(latents).sample, batch) + 2e-4 * divergence
        return total

    plan, half = preset.autoencoder, preset.half
    alike = partial(_alike, preset, plan.steps)
    stage = Stage("autoencoder", {"vae": vae}, loss, plan, preset.seed, _measure(), half, alike)
    average = train(stage, folder, resume=resume)["vae"]
    fold(average, sample.to(preset.device))
    return average.cpu()


def train_decoder(
    preset: Preset, folder: Path, crew: Crew, folded: AutoencoderKL, *, resume: bool
) -> AutoencoderKL:
    """Train the decoder alone on the folded, frozen encoder's latents; return the average."""
    images = load_pool(preset, folder, crew)
    source = images if preset.device == "cpu" else images.to(preset.device)
    vae = folded.to(preset.device).to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)

    def loss(step: int, generator: torch.Generator | None) -> Tensor:
        batch = _batch(preset, source, step / preset.decoder.steps, generator)
        with torch.no_grad():
            latents = vae.encode(batch).latent_dist.sample(generator)
        latents = _with_noise(latents, DECODING_NOISE / SCALE, generator)
        return reconstruction_loss(vae.decode(latents).sample, batch, low=2.0)

    plan, half = preset.decoder, preset.half
    alike = partial(_alike, preset, plan.steps)
    stage = Stage("decoder", {"vae": vae}, loss, plan, preset.seed + 1, _measure(), half, alike)
    return train(stage, folder, resume=resume)["vae"].cpu()


def _with_noise(latents: Tensor, most: float, generator: torch.Generator | None) -> Tensor:
    """Latents with noise, whose deviation is up to `most` and differs between images."""
    device = latents.device
    strength = torch.rand(len(latents), 1, 1, 1, generator=generator, device=device) * most
    noise = torch.randn(latents.shape, generator=generator, device=device)
    return latents + (strength * noise).to(latents)


def _batch(
    preset: Preset, images: Images | Tensor, done: float, generator: torch.Generator | None
) -> Tensor:
    """Crops that grow to whole images as the stage goes on, from 0 to 1."""
    _, count, side = next(crops for crops in preset.autoencoder_crops if done < crops[0])
    if isinstance(images, Tensor):
        batch = gather_batch(images, count, side, generator)
    else:
        batch = draw_batch(images, count, side, generator)
    return batch.contiguous(memory_format=torch.channels_last)


def _alike(preset: Preset, steps: int, _step: int, done: float) -> int:
    """The first of the steps that have crops of the same size."""
    starts = (0.0, *(end for end, _, _ in preset.autoencoder_crops))
    return math.ceil(steps * max(start for start in starts[:-1] if start <= done))


def _measure() -> Measure:
    scenes, textures = torch.split(held_out(24, 8), [24, 8])

    def measure(modules: Mapping[str, nn.Module], _done: int) -> str:
        vae = modules["vae"]
        return f"held-out scenes {psnr(vae, scenes):.2f} dB, textures {psnr(vae, textures):.2f} dB"

    return measure


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: NDArray[np.uint8]) -> Tensor:
    """Encode N×H×W×3 bytes to N×4×h×w latents of unit variance, in half precision."""
    vae = vae.to(memory_format=torch.channels_last)
    parts, many = [], 16 if vae.device.type == "cpu" else 128
    for first in range(0, len(images), many):
        few = torch.from_numpy(np.array(images[first : first + many])).to(vae.device)
        batch = (few.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
            memory_format=torch.channels_last
        )
        with half_precision(vae.device.type):
            means = vae.encode(batch).latent_dist.mean
        parts.append((means * SCALE).half().cpu())
    return torch.cat(parts).contiguous()
