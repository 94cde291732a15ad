"""Extensions of the shipped nodes: digests and storage of tensors, images, devices, threads."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from latentloom.engine.cache.fingerprint import Sink, TypeFingerprint
from latentloom.engine.cache.generation import ResultDependencies
from latentloom.engine.cache.packing import (
    Array,
    ArrayCodec,
    CorruptEntryError,
    StoredRecords,
    UnstorableError,
)
from latentloom.engine.execution.threads import ThreadSharing
from latentloom.engine.files.image_formats import format_named
from latentloom.engine.node.devices import (
    Device,
    DeviceListing,
    DeviceNote,
    MachineDescription,
)
from latentloom.engine.node.image_service import (
    EncodedImage,
    ImageComparison,
    ImageKind,
    ImageService,
    PartComparison,
    PreviewMethod,
)
from latentloom.engine.node.spec import NodeSpec

from .checks import as_input_error

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.diffusion.images.transcode import Encoded


def feed_tensor(tensor: Tensor, sink: Sink) -> None:
    """Write a tensor into a hash; strides and device do not count."""
    import torch

    flat = tensor.detach().to("cpu").contiguous()
    sink.update(f"T{flat.dtype}{tuple(flat.shape)}:".encode())
    sink.update(flat.reshape(-1).view(torch.uint8).numpy().data)


DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def tensor_to_array(tensor: Tensor) -> Array:
    """Return the numbers of a tensor on any device.

    Raises:
        UnstorableError: its dtype cannot be stored.
    """
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise UnstorableError(f"tensors of {name} cannot be stored")
    flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return Array(DTYPES[name], tuple(tensor.shape), flat.numpy().tobytes())


def tensor_from_array(array: Array) -> Tensor:
    """Return the tensor on the CPU; it shares the memory of the array.

    Raises:
        CorruptEntryError: the number of bytes does not match the shape.
    """
    import torch

    dtype = getattr(torch, next(name for name, known in DTYPES.items() if known == array.dtype))
    if len(array.data) != math.prod(array.shape) * dtype.itemsize:
        raise CorruptEntryError("a tensor has too few or too many bytes")
    if not array.data:
        return torch.empty(array.shape, dtype=dtype)
    return torch.frombuffer(array.data, dtype=dtype).reshape(array.shape)


TENSOR_FINGERPRINT = TypeFingerprint("torch.Tensor", feed_tensor)
TENSOR_CODEC = ArrayCodec("torch.Tensor", tensor_to_array, tensor_from_array)
RECORDS = StoredRecords((
    "latentloom.diffusion.latents.latents.Latent",
    "latentloom.diffusion.latents.latents.SamplePass",
    "latentloom.diffusion.conditioning.conditioning.PromptEntry",
    "latentloom.diffusion.families.conditions.Sizes",
    "latentloom.diffusion.families.conditions.InpaintMask",
    "latentloom.diffusion.families.conditions.TokenBias",
    "latentloom.diffusion.conditioning.regions.Area",
    "latentloom.diffusion.conditioning.regions.Region",
    "latentloom.diffusion.images.crop_stitch.Stitch",
    "latentloom.diffusion.images.crop_stitch.CropPosition",
    "latentloom.diffusion.networks.clip_vision.VisionOutput",
    "latentloom.diffusion.sampling.report.PassReport",
    "latentloom.diffusion.sampling.report.PassRow",
    "latentloom.diffusion.sampling.report.ImageChange",
    "latentloom.diffusion.sampling.noise.NoiseChoice",
    "latentloom.diffusion.samplers.table.SamplerChoice",
))  # fmt: skip
PACKAGE = Path(__file__).resolve().parents[1]
DEPENDENCIES = ResultDependencies(
    folders=(PACKAGE / "nodes", PACKAGE / "diffusion", PACKAGE / "engine"),
    libraries=(
        "torch", "diffusers", "transformers", "numpy", "pillow", "pillow-heif", "torchsde", "scipy",
        "opencv-python-headless", "opencv-python",
    ),
    switches=("LATENTLOOM_COMFYUI", "LATENTLOOM_FAST"),
)  # fmt: skip


class ImageFiles(ImageService):
    """Reads, checks and converts image files with Pillow."""

    def clean(self, data: bytes) -> EncodedImage:
        from latentloom.diffusion.images.transcode import clean

        return _image(lambda: clean(data))

    def convert(self, data: bytes, kind: ImageKind, quality: int = 90) -> EncodedImage:
        from latentloom.diffusion.images.transcode import convert

        return _image(lambda: convert(data, kind, quality))

    def make_viewable(self, data: bytes) -> EncodedImage | None:
        from latentloom.diffusion.images.image_headers import identify

        name = identify(data)
        if not name:
            return None
        format = format_named(name)
        if format.is_shown_by_browsers:
            return EncodedImage(data, format.mime)
        return self.convert(data, "PNG")

    def extract_channel(self, data: bytes, channel: str) -> EncodedImage:
        from latentloom.diffusion.images.transcode import extract_channel

        return _image(lambda: extract_channel(data, channel))

    def replace_alpha(self, original: bytes, mask: bytes) -> EncodedImage:
        from latentloom.diffusion.images.transcode import replace_alpha

        return _image(lambda: replace_alpha(original, mask))

    def encode(self, value: object) -> list[bytes] | None:
        from torch import Tensor

        from latentloom.diffusion.images.images import encode_png

        if not isinstance(value, Tensor) or value.ndim != 4 or value.shape[-1] not in (1, 3, 4):
            return None
        return [encode_png(image) for image in value] if value.numel() else None

    def shrink(self, data: bytes, side_px: int) -> EncodedImage:
        from latentloom.diffusion.images.transcode import shrink

        return _image(lambda: shrink(data, side_px))

    def compare(self, first: bytes, second: bytes, mask: bytes | None = None) -> ImageComparison:
        from latentloom.diffusion.images.image_comparison import compare_files

        with as_input_error("image"):
            result = compare_files(first, second, mask)
        everything, inside, outside = (
            None if part is None else PartComparison(**asdict(part))
            for part in (result.everything, result.inside, result.outside)
        )
        assert everything is not None
        return ImageComparison(
            width=result.width,
            height=result.height,
            everything=everything,
            inside=inside,
            outside=outside,
            max_levels=result.max_levels,
            alpha_changed=result.alpha_changed,
            grid=result.grid,
            heat=EncodedImage(result.heat, "image/png"),
        )

    def preview(self, value: object, method: PreviewMethod) -> EncodedImage | None:
        # Only previews need torch.
        if value.__class__.__module__ != "latentloom.diffusion.networks.preview":
            return None
        from latentloom.diffusion.networks.preview import LatentPreview, render_jpeg

        data = render_jpeg(value, method) if isinstance(value, LatentPreview) else None
        return EncodedImage(data, "image/jpeg") if data else None


def _image(make: Callable[[], Encoded]) -> EncodedImage:
    with as_input_error("file"):
        image = make()
    return EncodedImage(image.data, format_named(image.format).mime)


def has_driver() -> bool:
    """Return True on a machine with NVIDIA's driver."""
    return Path("/proc/driver/nvidia").exists() or which("nvidia-smi") is not None


def describe_networks() -> str | None:
    """Say how networks run on the GPU; None without NVIDIA's driver."""
    from latentloom.diffusion.networks.fast.setting import describe

    return describe() if has_driver() else None


def accelerators() -> list[Device]:
    """Return the accelerators that torch uses; torch is loaded only if there is a driver."""
    if "torch" not in sys.modules and not has_driver() and sys.platform != "darwin":
        return []
    from latentloom.diffusion.networks.devices import list_accelerators

    return [
        Device(
            name=device.name,
            type=device.type,
            index=device.ordinal,
            vram_total=device.total_bytes,
            vram_free=device.free_bytes,
            torch_vram_total=device.reserved_bytes,
            torch_vram_free=device.unused_bytes,
        )
        for device in list_accelerators()
    ]


def describe_machine() -> dict[str, str]:
    """Return the device, the processor, its instructions and the threads that torch computes on."""
    import platform

    import torch

    from latentloom.diffusion.networks.devices import THREADS

    device = ", ".join(item.name for item in accelerators()) or "cpu"
    return {
        "device": device,
        "system": platform.system(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(THREADS),
    }


def share_threads(spec: NodeSpec) -> AbstractContextManager[object]:
    """Give all threads to device nodes, and one thread to others that hold tensors.

    Loads torch only for nodes that will.
    """
    if TENSOR_TYPES.isdisjoint(spec.types):
        return nullcontext()
    from latentloom.diffusion.networks.devices import use_all_threads, use_one_thread

    return use_all_threads() if spec.device else use_one_thread()


TENSOR_TYPES = frozenset({
    "IMAGE", "MASK", "LATENT", "CONDITIONING", "SIGMAS", "MODEL", "CLIP", "VAE",
})  # fmt: skip
THREADS = ThreadSharing(share_threads)
IMAGE_FILES = ImageFiles()
ACCELERATORS = DeviceListing(accelerators)
NETWORKS = DeviceNote(describe_networks)
MACHINE = MachineDescription(describe_machine)
