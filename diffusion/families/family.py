"""The record of a model family, and of the class of its networks. No torch here.

How a family is added:

1. A file in this folder holds its `Family`: latent space, prediction, sigmas, native size, and
   `recognize`, which returns the family of a network that was read from a file, or None.
2. Its latent space is one of `space.py`, or a new line there.
3. Its `Architecture` is that of another family (SDXL is a UNet, as SD1.5), or a new one: the
   class of diffusers, its name for each key of a file, its configuration from the shapes, and
   three functions of tensors: `gather` collects the extra conditioning of prompts, `concat` makes
   extra input channels, `predict` calls the network. They import torch inside.
4. A line in `table.py`.

Nothing else asks which family a model is of: loading, sampling, previews, LoRA files, lint and
`latentloom models` ask the record. tests/diffusion/families/test_table.py looks for such
comparisons elsewhere. The tests of a family compare it with goldens or diffusers' pipeline on
small random weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from .space import SD, LatentSpace
from .stored import OriginalLayers, ParameterSizes, StoredNetwork, TensorInfos

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .conditions import Prompt, SourceLatent

Prediction = Literal["eps", "v", "x0", "edm", "lcm", "img_to_img", "flow"]
SizeInputs = Literal["none", "sizes", "score"]


@dataclass(frozen=True)
class NetworkFile:
    """A file with a denoising network, for `Family.recognize`.

    Attributes:
        name: of the file, for errors.
        infos: its tensors.
        network: its denoising network.
        text_widths: of the CLIP text encoders that it has too.
        read_floats: returns the numbers of one of its tensors.
    """

    name: str
    infos: TensorInfos
    network: StoredNetwork
    text_widths: tuple[int, ...]
    read_floats: Callable[[str], Sequence[float]]


class Residuals(Protocol):
    """The outputs of ControlNets, as an architecture's `predict` takes them."""

    def to(self, dtype: torch.dtype) -> Self:
        """Return the residuals in another precision."""

    def plus(self, other: Self) -> Self:
        """Return the sum with another ControlNet's."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlArchitecture:
    """A class of ControlNets that read the latent of their image.

    Attributes:
        class_name: of diffusers' network.
        find: returns the ControlNet of a file by its keys; None if it has none of this class.
        sizes: the parameters of a configuration.
        predict: the residuals: `(module, x, timestep, context, added, hint, kind)`, as the
            `predict` of the `Architecture`; the hint is a latent like x, the kind is of a union,
            below 0 for none.
    """

    class_name: str
    find: Callable[[TensorInfos], StoredNetwork | None]
    sizes: ParameterSizes
    predict: Callable[[nn.Module, Tensor, Tensor, Tensor, Any, Tensor, int], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """A class of denoising networks.

    Attributes:
        class_name: of diffusers' network.
        folder: of the network in diffusers' layout.
        find: returns the network of a file by its keys; None if it has none of this class.
        sizes: the parameters of a configuration.
        original_layers: our layers by the original code's name, from our names.
        layer_starts: how our names and the original code's begin, with underscores, in LoRA files.
        gather: the extra conditioning of a batch: `(family, x, prompts, sides)` to a tuple of
            tensors, which `predict` takes, or None. x is B×C×h×w; each prompt has B rows. A side
            is 0 for a positive prompt.
        concat: extra input channels of one prompt: `(family, x, prompt, source)`; None if the
            network takes only the channels of a latent.
        predict: the raw output: `(module, x, timestep, context, added, control)`; x scaled for
            the network with its extra channels, B timesteps, context B×n×d, `added` of `gather`,
            and the sum of the ControlNets' residuals.
        joins: returns True if one call can take two prompts of equal length.
        is_narrow: weights stay as the file has them, in 16 or 8 bits; the network computes in a
            range as wide as float32's.
        repeats_tokens: prompts of different lengths can be brought to one by repeating them,
            because the network only attends to them.
    """

    class_name: str
    folder: str
    find: Callable[[TensorInfos], StoredNetwork | None]
    sizes: ParameterSizes
    original_layers: OriginalLayers
    layer_starts: tuple[str, ...]
    gather: Callable[[Family, Tensor, Sequence[Prompt], Sequence[int]], Any]
    concat: Callable[[Family, Tensor, Prompt, SourceLatent | None], Tensor | None]
    predict: Callable[[nn.Module, Tensor, Tensor, Tensor, Any, Any], Tensor]
    joins: Callable[[Prompt, Prompt], bool]
    is_narrow: bool = False
    repeats_tokens: bool = False


@dataclass(frozen=True)
class FlowLevels:
    """The sigmas of a model that predicts the flow; see `schedules.flow`.

    Attributes:
        shift: of the sigmas; 1 is none.
        multiplier: timestep that the network receives for sigma 1.
        timesteps: length of the table.
        is_flux: the sigmas are computed in the form of FLUX.1's code.
    """

    shift: float = 1.0
    multiplier: float = 1000.0
    timesteps: int = 1000
    is_flux: bool = False


@dataclass(frozen=True)
class Family:
    """Models whose networks work together.

    Attributes:
        name: unique name; networks of one name can be combined.
        architecture: the class of its networks.
        recognize: returns the family, with what is special about this model, of a network of
            its architecture; None if it is of another family.
        space: its latents.
        text_dim: width of the text encoding.
        prediction: what the network predicts.
        zsnr: the highest sigma of the schedule leaves no signal (zero terminal SNR).
        native_size: width and height in pixels that the model was trained at.
        in_channels: input channels of the network: those of a latent; for editing, those of an
            image's latent too; for inpainting, a mask and the masked image's latent too.
        size_inputs: extra conditioning of the network: none; image and crop sizes (SDXL); sizes
            and an aesthetic score (SDXL's refiner).
        sigma_range: lowest and highest sigma of a model that takes any sigma between them.
        flow: sigmas of a model that predicts the flow.
        lora_width: inputs of the blocks' layers, by which LoRA files of the family are known;
            0 if they are not known so.
        lora_marks: parts of names of layers, with underscores, that only LoRA files of the family
            have among those of its width.
        cfg: of classifier-free guidance that a distilled model is meant for; None for any.
        guidance: that it is meant for as a number; None if it takes none.
        form: what this model is for beyond text to image, such as inpaint; empty for nothing.
    """

    name: str
    architecture: Architecture = field(repr=False)
    recognize: Callable[[NetworkFile], Family | None] = field(repr=False, compare=False)
    space: LatentSpace = SD
    text_dim: int = 768
    prediction: Prediction = "eps"
    zsnr: bool = False
    native_size: int = 512
    in_channels: int = 4
    size_inputs: SizeInputs = "none"
    sigma_range: tuple[float, float] | None = None
    flow: FlowLevels | None = None
    lora_width: int = 0
    lora_marks: tuple[str, ...] = ()
    cfg: float | None = None
    guidance: float | None = None
    form: str = ""

    @property
    def label(self) -> str:
        """The name and the form."""
        return f"{self.name} {self.form}".strip()

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.space.channels

    @property
    def vae_factor(self) -> int:
        """Width and height in pixels of one latent cell."""
        return self.space.cell_px

    @property
    def is_edit_model(self) -> bool:
        """True if the network takes an image next to the noisy latent, as InstructPix2Pix does."""
        return self.in_channels == 2 * self.latent_channels

    def to_model(self, latent: Tensor) -> Tensor:
        """Return latents of VAE space in the space that the network samples in."""
        return self.space.to_model(latent)

    def to_vae(self, latent: Tensor) -> Tensor:
        """Return latents that the network sampled in VAE space; the inverse of `to_model`."""
        return self.space.to_vae(latent)
