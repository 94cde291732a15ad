"""Flux.1: a transformer over text and image tokens that predicts the flow.

Forms: dev and schnell (text to image), fill (inpaint), control (canny and depth maps). Kontext is
dev's network with reference images as further tokens. Source: Black Forest Labs' FLUX.1 (Apache
2.0); the network is diffusers' FluxTransformer2DModel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ModelFileError, SamplingError
from .added import repeat_rows
from .conditions import Prompt, SourceLatent, TokenBias
from .family import Architecture, Family, FlowLevels, NetworkFile
from .flux_keys import LAYER_STARTS, find_flux, flux_sizes, original_layers
from .image_inputs import fit_size
from .space import FLUX as SPACE

if TYPE_CHECKING:
    from torch import Tensor, nn

# A token is a patch of 2×2 cells.
PATCH = 2
DEFAULT_GUIDANCE = 3.5
DEV = FlowLevels(shift=math.exp(1.15), multiplier=1.0, timesteps=10_000, is_flux=True)
SCHNELL = FlowLevels(shift=1.0, multiplier=1.0)
# The form of a network by its input channels in multiples of a latent's.
FORMS = {1: "", 2: "control", 6: "fill"}
# Guidance that the forms are meant for.
GUIDANCE = {"": 3.5, "control": 30.0, "fill": 30.0}
REFERENCE_METHODS = ("offset", "index", "uxo/uno")


class FluxInputs(NamedTuple):
    """The extra conditioning of a batch.

    Attributes:
        pooled: B×d encodings of CLIP-L; None is zeros.
        guidance: B numbers; None leaves the guidance embedding out.
        references: B×C×h×w each, in the network's latent space.
        method: how references are positioned; see REFERENCE_METHODS.
        biases: on the attention to text tokens.
    """

    pooled: Tensor | None
    guidance: Tensor | None
    references: tuple[Tensor, ...]
    method: str
    biases: tuple[TokenBias, ...] = ()


def gather(
    family: Family, x: Tensor, prompts: Sequence[Prompt], _sides: Sequence[int]
) -> FluxInputs:
    """Return the extra conditioning of prompts, each with B rows; see `Architecture.gather`.

    Raises:
        SamplingError: a prompt was encoded for another family, or names a method for references
            that this family does not have.
    """
    import torch

    for prompt in prompts:
        if prompt.tokens.shape[-1] != family.text_dim:
            raise SamplingError(
                f"a model of family {family.name}: expected conditioning of width "
                f"{family.text_dim}, got {prompt.tokens.shape[-1]}; encode the prompt with the "
                "text encoders of this family"
            )
    first, rows = prompts[0], len(x)
    method = first.reference_method or REFERENCE_METHODS[0]
    if first.references and method not in REFERENCE_METHODS:
        raise SamplingError(
            f"a model of family {family.name}: expected the reference method "
            f"{', '.join(REFERENCE_METHODS[:-1])} or {REFERENCE_METHODS[-1]}, got {method}"
        )
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    guidance = [_guidance(prompt) for prompt in prompts]
    references = zip(*(prompt.references for prompt in prompts), strict=True)
    return FluxInputs(
        torch.cat([repeat_rows(one, rows) for one in pooled]).to(x.device) if pooled else None,
        None if None in guidance else x.new_tensor(guidance).repeat_interleave(rows),
        tuple(
            torch.cat([repeat_rows(family.to_model(one.to(x)), rows) for one in latents])
            for latents in references
        ),
        method,
        first.biases,
    )


def joins(first: Prompt, second: Prompt) -> bool:
    """Return True if one call can take two prompts: alike in references and what they lack."""
    shapes = [[one.shape[1:] for one in prompt.references] for prompt in (first, second)]
    return (
        shapes[0] == shapes[1]
        and first.reference_method == second.reference_method
        and first.biases == second.biases
        and (first.pooled is None) == (second.pooled is None)
        and (_guidance(first) is None) == (_guidance(second) is None)
    )


def _guidance(prompt: Prompt) -> float | None:
    """Return the guidance of a prompt; None if it is off."""
    if prompt.guidance == "off":
        return None
    return DEFAULT_GUIDANCE if prompt.guidance == "default" else prompt.guidance


def concat(family: Family, x: Tensor, prompt: Prompt, source: SourceLatent | None) -> Tensor | None:
    """Return the extra input channels of the forms fill and control; see `Architecture.concat`.

    They are an image's latent and, for fill, the mask of the 8×8 pixels of each cell.
    """
    import torch

    from ..images.compose import repeat_to_batch

    if family.in_channels == x.shape[1]:
        return None
    inpaint = prompt.inpaint
    image = inpaint.latent if prompt.image is None and inpaint is not None else prompt.image
    latent = x.new_zeros(x.shape) if image is None else fit_size(image.to(x), x)
    channels = [repeat_to_batch(family.to_model(latent), len(x))]
    if family.in_channels > 2 * x.shape[1]:
        mask = source.noise_mask if source is not None and inpaint is None else None
        mask = inpaint.mask if inpaint is not None else mask
        channels.append(_mask_channels(x, mask, family.space.cell_px))
    return torch.cat(channels, dim=1)


def _mask_channels(x: Tensor, mask: Tensor | None, cell_px: int) -> Tensor:
    """Return a mask B×H×W with the pixels of a cell as its channels; ones without a mask."""
    from torch.nn.functional import pixel_unshuffle

    from ..images.compose import repeat_to_batch
    from ..images.resize import resize

    height, width = x.shape[-2:]
    if mask is None:
        return x.new_ones(len(x), cell_px**2, height, width)
    pixels = resize(mask[:, None].to(x), width * cell_px, height * cell_px, "bilinear", "center")
    return repeat_to_batch(pixel_unshuffle(pixels, cell_px), len(x))


def predict(
    module: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    added: FluxInputs,
    control: Any,
) -> Tensor:
    """Return the raw output of the transformer; see `Architecture.predict`."""
    import torch

    config: Any = module.config
    tokens, positions = make_tokens(x)
    sequence, ids = [tokens], [positions]
    for reference, offset in zip(
        added.references, _reference_offsets(added.method, x, added.references), strict=True
    ):
        tokens, positions = make_tokens(reference.to(x.dtype), *offset)
        sequence.append(tokens)
        ids.append(positions)
    pooled = added.pooled
    if pooled is None:
        pooled = x.new_zeros(len(x), config.pooled_projection_dim)
    guidance = added.guidance
    with ExitStack() as stack:
        if guidance is None and config.guidance_embeds:
            guidance = x.new_zeros(len(x))
            stack.enter_context(_without_guidance(module))
        output: Tensor = module(
            hidden_states=torch.cat(sequence, dim=1),
            encoder_hidden_states=context,
            pooled_projections=pooled.to(x.dtype),
            timestep=timestep,
            img_ids=torch.cat(ids),
            txt_ids=x.new_zeros(context.shape[1], 3, dtype=torch.float32),
            guidance=guidance if config.guidance_embeds else None,
            **_pad_residuals(control, sum(tokens.shape[1] for tokens in sequence)),
            joint_attention_kwargs=_attention_mask(added.biases, x, context, sequence),
            return_dict=False,
        )[0]
    return _to_latent(output[:, : sequence[0].shape[1]], *x.shape[-2:])


def _pad_residuals(control: Any, length: int) -> dict[str, list[Tensor]]:
    """Return the residuals of ControlNets with zeros for the tokens of references."""
    from torch.nn.functional import pad

    if control is None:
        return {}
    double, single = (
        [pad(one, (0, 0, 0, length - one.shape[1])) for one in part] for part in control
    )
    named = {"controlnet_block_samples": double, "controlnet_single_block_samples": single}
    return {name: residuals for name, residuals in named.items() if residuals}


def _attention_mask(
    biases: Sequence[TokenBias], x: Tensor, context: Tensor, images: Sequence[Tensor]
) -> dict[str, Tensor] | None:
    """Return what is added to the attention of text and image tokens; None for nothing."""
    if not biases:
        return None
    total = context.shape[1] + sum(tokens.shape[1] for tokens in images)
    mask = x.new_zeros(1, 1, total, total)
    for start, length, bias in biases:
        span = slice(start, start + length)
        mask[..., span] += bias
        # The tokens of the range attend to each other as before.
        mask[..., span, span] -= bias
    return {"attention_mask": mask}


def make_tokens(x: Tensor, index: int = 0, top: int = 0, left: int = 0) -> tuple[Tensor, Tensor]:
    """Return the patches of a latent B×C×h×w as B×n×4C, and their positions n×3.

    Odd sides are padded by what follows on the other side. `top` and `left` are in cells.
    """
    import torch
    from torch.nn.functional import pad, pixel_unshuffle

    down, right = (-side % PATCH for side in x.shape[-2:])
    if down or right:
        x = pad(x, (0, right, 0, down), mode="circular")
    tokens = pixel_unshuffle(x, PATCH)
    rows, columns = tokens.shape[-2:]
    positions = torch.zeros(rows, columns, 3, device=x.device)
    positions[..., 0] = index
    positions[..., 1] = _count(rows, top, x.device)[:, None]
    positions[..., 2] = _count(columns, left, x.device)
    return tokens.flatten(2).transpose(1, 2), positions.reshape(-1, 3)


def _count(length: int, offset: int, device: Any) -> Tensor:
    """Return as many positions, from an offset in cells that is rounded to a token."""
    import torch

    return torch.arange(length, device=device) + (offset + PATCH // 2) // PATCH


def _to_latent(tokens: Tensor, height: int, width: int) -> Tensor:
    from torch.nn.functional import pixel_shuffle

    rows, columns = -(-height // PATCH), -(-width // PATCH)
    patches = tokens.transpose(1, 2).reshape(len(tokens), -1, rows, columns)
    return pixel_shuffle(patches, PATCH)[..., :height, :width]


def _reference_offsets(
    method: str, x: Tensor, references: Sequence[Tensor]
) -> Iterator[tuple[int, int, int]]:
    """Yield index, top and left of each reference, in cells.

    With `offset` all share one canvas, on which each lies below the others or to their right,
    whichever gives the shorter canvas. With `index` they lie on the image, one index each. With
    `uxo/uno` each lies past the image and the references before it on both axes.
    """
    height = width = 0
    for number, reference in enumerate(references, 1):
        rows, columns = reference.shape[-2:]
        if method == "index":
            yield number, 0, 0
        elif method == "uxo/uno":
            sides = [-(-side // PATCH) * PATCH for side in x.shape[-2:]]
            yield 0, sides[0] + height, sides[1] + width
            height, width = height + rows, width + columns
        else:
            is_right = rows + height > columns + width
            top, left = (0, width) if is_right else (height, 0)
            yield 1, top, left
            height, width = max(height, rows + top), max(width, columns + left)


@contextmanager
def _without_guidance(module: nn.Module) -> Iterator[None]:
    """Let the guidance embedding of a network add nothing."""
    layer = module.get_submodule("time_text_embed.guidance_embedder")
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: output * 0)
    try:
        yield
    finally:
        hook.remove()


def recognize(file: NetworkFile) -> Family | None:
    """Return Flux.1 in the form of a file's transformer.

    Raises:
        ModelFileError: it takes an unknown number of input channels.
    """
    return make_family(file.name, file.network.config)


def make_family(name: str, config: dict[str, Any]) -> Family:
    """Return Flux.1 in the form of a configuration.

    Raises:
        ModelFileError: it takes an unknown number of input channels.
    """
    channels = config["in_channels"] // PATCH**2
    form = FORMS.get(channels // SPACE.channels)
    if form is None or channels % SPACE.channels:
        known = ", ".join(str(factor * SPACE.channels * PATCH**2) for factor in FORMS)
        raise ModelFileError(
            f"{name}: in_channels: expected one of {known}, got {config['in_channels']}"
        )
    is_distilled = not config["guidance_embeds"]
    return replace(
        FLUX,
        in_channels=channels,
        text_dim=config["joint_attention_dim"],
        flow=SCHNELL if is_distilled else DEV,
        guidance=None if is_distilled else GUIDANCE[form],
        form=form or ("schnell" if is_distilled else "dev"),
    )


TRANSFORMER = Architecture(
    class_name="FluxTransformer2DModel",
    folder="transformer",
    find=find_flux,
    sizes=flux_sizes,
    original_layers=original_layers,
    gather=gather,
    concat=concat,
    predict=predict,
    layer_starts=LAYER_STARTS,
    joins=joins,
    is_narrow=True,
)
FLUX = Family(
    "flux",
    TRANSFORMER,
    recognize,
    space=SPACE,
    text_dim=4096,
    prediction="flow",
    native_size=1024,
    in_channels=16,
    flow=DEV,
    lora_width=3072,
    lora_marks=("_single_", "_double_blocks_", "_norm1_", "_ff_"),
    cfg=1.0,
    guidance=DEFAULT_GUIDANCE,
)
