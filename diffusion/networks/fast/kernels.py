"""Triton kernels of UNets and autoencoders: one pass over memory where torch makes several.

Images are N×H×W×C in memory ("channels last"). Every kernel computes in float32 and rounds once,
when it stores its result.
"""

import triton
import triton.language as tl


@triton.jit
def group_norm_at_once(
    x, added, weight, bias, y, pixels, channels, group_size, added_stride, eps,
    HAS_ADDED: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y = act(norm(x + added) · weight + bias), one group of an image in one program.

    norm(v) = (v - mean(v)) / sqrt(var(v) + eps), over the pixels and channels of the group.
    """
    image, group = tl.program_id(0), tl.program_id(1)
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    channel = group * group_size + columns
    in_group = columns < group_size
    mask = (rows < pixels)[:, None] & in_group[None, :]
    at = (image.to(tl.int64) * pixels + rows[:, None]) * channels + channel[None, :]
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    if HAS_ADDED:
        v += tl.load(added + image * added_stride + channel, mask=in_group, other=0.0).to(
            tl.float32
        )[None, :]
    v = tl.where(mask, v, 0.0)
    mean = tl.sum(tl.sum(v, 1), 0) / (pixels * group_size)
    centred = tl.where(mask, v - mean, 0.0)
    variance = tl.sum(tl.sum(centred * centred, 1), 0) / (pixels * group_size)
    scale = tl.load(weight + channel, mask=in_group, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=in_group, other=0.0).to(tl.float32)
    v = centred * (scale / tl.sqrt(variance + eps))[None, :] + shift[None, :]
    if SILU:
        v = v / (1.0 + tl.exp(-v))
    tl.store(y + at, v.to(y.dtype.element_ty), mask=mask)


@triton.jit
def channel_sums(
    x, added, sums, pixels, channels, chunk, added_stride,
    CHUNKS: tl.constexpr, HAS_ADDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The sums of v and v², v = x + added, of each channel over a chunk of an image's pixels."""
    image, part = tl.program_id(0), tl.program_id(1)
    columns = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < channels
    total = tl.zeros([COLUMNS], tl.float32)
    squares = tl.zeros([COLUMNS], tl.float32)
    extra = tl.zeros([COLUMNS], tl.float32)
    if HAS_ADDED:
        extra = tl.load(added + image * added_stride + columns, mask=inside, other=0.0).to(
            tl.float32
        )
    base = x + image.to(tl.int64) * pixels * channels + columns
    for first in range(0, chunk, ROWS):
        row = first + tl.arange(0, ROWS)
        rows = part * chunk + row
        mask = ((rows < pixels) & (row < chunk))[:, None] & inside[None, :]
        v = tl.load(base[None, :] + rows[:, None].to(tl.int64) * channels, mask=mask, other=0.0)
        v = tl.where(mask, v.to(tl.float32) + extra[None, :], 0.0)
        total += tl.sum(v, 0)
        squares += tl.sum(v * v, 0)
    at = sums + (image * CHUNKS + part) * 2 * channels + columns
    tl.store(at, total, mask=inside)
    tl.store(at + channels, squares, mask=inside)


@triton.jit
def group_moments(
    sums, moments, pixels, channels, group_size, eps, CHUNKS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """mean = Σv / n and 1 / sqrt(Σv² / n - mean² + eps) of each group, from `channel_sums`."""
    image, group = tl.program_id(0), tl.program_id(1)
    columns, parts = tl.arange(0, COLUMNS), tl.arange(0, CHUNKS)
    at = (image * CHUNKS + parts[:, None]) * 2 * channels + group * group_size + columns[None, :]
    mask = (columns < group_size)[None, :] & (parts >= 0)[:, None]
    count = pixels * group_size
    mean = tl.sum(tl.sum(tl.load(sums + at, mask=mask, other=0.0), 1), 0) / count
    square = tl.sum(tl.sum(tl.load(sums + at + channels, mask=mask, other=0.0), 1), 0) / count
    variance = tl.maximum(square - mean * mean, 0.0)
    at = moments + (image * tl.num_programs(1) + group) * 2
    tl.store(at, mean)
    tl.store(at + 1, 1.0 / tl.sqrt(variance + eps))


@triton.jit
def group_norm_apply(
    x, added, moments, weight, bias, y, pixels, channels, group_size, added_stride,
    HAS_ADDED: tl.constexpr, SILU: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y = act((x + added - mean) · deviation⁻¹ · weight + bias), with `group_moments`."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    image = tl.program_id(2)
    inside = columns < channels
    group = moments + (image * (channels // group_size) + columns // group_size) * 2
    mean = tl.load(group, mask=inside, other=0.0)
    scale = tl.load(group + 1, mask=inside, other=0.0)
    scale *= tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32) - mean * scale
    if HAS_ADDED:
        extra = tl.load(added + image * added_stride + columns, mask=inside, other=0.0)
        shift += extra.to(tl.float32) * scale
    mask = (rows < pixels)[:, None] & inside[None, :]
    at = (image.to(tl.int64) * pixels + rows[:, None]) * channels + columns[None, :]
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) * scale[None, :] + shift[None, :]
    if SILU:
        v = v / (1.0 + tl.exp(-v))
    tl.store(y + at, v.to(y.dtype.element_ty), mask=mask)


@triton.jit
def add_with_bias(x, bias, skip, y, count, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = x + bias + skip, over `count` pixels."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (rows < count)[:, None] & (columns < channels)[None, :]
    at = rows[:, None].to(tl.int64) * channels + columns[None, :]
    extra = tl.load(bias + columns, mask=columns < channels, other=0.0).to(tl.float32)
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) + extra[None, :]
    v += tl.load(skip + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y + at, v.to(y.dtype.element_ty), mask=mask)


@triton.jit
def add_layer_norm(
    x, added, weight, bias, total, y, channels, eps, HAS_ADDED: tl.constexpr, COLUMNS: tl.constexpr
):
    """total = x + added, y = (total - mean) / sqrt(var + eps) · weight + bias, of each row."""
    row, columns = tl.program_id(0).to(tl.int64), tl.arange(0, COLUMNS)
    mask = columns < channels
    v = tl.load(x + row * channels + columns, mask=mask, other=0.0).to(tl.float32)
    if HAS_ADDED:
        v += tl.load(added + row * channels + columns, mask=mask, other=0.0).to(tl.float32)
        tl.store(total + row * channels + columns, v.to(total.dtype.element_ty), mask=mask)
    centred = tl.where(mask, v - tl.sum(v, 0) / channels, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / channels + eps)
    scale = scale * tl.load(weight + columns, mask=mask, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=mask, other=0.0).to(tl.float32)
    v = centred * scale + shift
    tl.store(y + row * channels + columns, v.to(y.dtype.element_ty), mask=mask)


@triton.jit
def gated_gelu(x, y, count, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = a · gelu(b) for rows (a, b) of x; gelu(b) = b / 2 · (1 + erf(b / √2))."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (rows < count)[:, None] & (columns < width)[None, :]
    at = rows[:, None].to(tl.int64) * (2 * width) + columns[None, :]
    a = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(x + at + width, mask=mask, other=0.0).to(tl.float32)
    v = a * (0.5 * b * (1.0 + tl.erf(b * 0.7071067811865476)))
    at = rows[:, None].to(tl.int64) * width + columns[None, :]
    tl.store(y + at, v.to(y.dtype.element_ty), mask=mask)
