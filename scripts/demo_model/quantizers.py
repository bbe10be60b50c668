"""
quantizers.py: float arrays to the tensor types of GGUF files, numpy only.
Job      one function a type, from weights to the bytes of its blocks; simple rounding, no search
         for better scales: the files are for tests and measurements.
Form     a block type takes rows of a multiple of its block: 32 columns, or 256 for the K types.
Source   the block structs of ggml (ggml-common.h).
"""

import numpy as np

F16 = np.dtype("<f2")


def _blocks(weights, size):
    return np.asarray(weights, np.float32).reshape(-1, size)


def _quotient(values, scale):
    """values / scale, and 0 where the scale is 0."""
    return values / np.where(scale == 0, np.float32(np.inf), scale)


def _halves(values):
    return values.astype(F16)


def _as_bytes(values):
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _join(*parts):
    return np.concatenate([_as_bytes(part) for part in parts], axis=1).tobytes()


def _nibbles(q):
    """32 numbers below 16 a row: number i in the low, i + 16 in the high half of byte i."""
    return (q[:, :16] & 15) | ((q[:, 16:] & 15) << 4)


def _fifth_bits(q):
    places = np.arange(32, dtype=np.uint32)
    bits = (q >> 4).astype(np.uint32) << places
    return np.bitwise_or.reduce(bits, axis=1).astype("<u4")[:, None]


def q8_0(weights):
    """Scale = max|w| / 127 as f16, then int8."""
    blocks = _blocks(weights, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    return _join(_halves(scale), np.rint(_quotient(blocks, scale)).astype(np.int8))


def _around_zero(weights, levels):
    """Scale and numbers 0 .. levels - 1; the largest weight, with its sign, is number 0."""
    blocks = _blocks(weights, 32)
    peak = np.abs(blocks).argmax(axis=1)
    scale = (blocks[np.arange(len(blocks)), peak] / np.float32(-(levels // 2)))[:, None]
    q = np.rint(_quotient(blocks, scale) + np.float32(levels // 2))
    return scale, np.clip(q, 0, levels - 1).astype(np.uint8)


def _from_minimum(weights, levels):
    """Scale, minimum and numbers 0 .. levels - 1."""
    blocks = _blocks(weights, 32)
    low = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - low) / np.float32(levels - 1)
    q = np.clip(np.rint(_quotient(blocks - low, scale)), 0, levels - 1)
    return scale, low, q.astype(np.uint8)


def q4_0(weights):
    scale, q = _around_zero(weights, 16)
    return _join(_halves(scale), _nibbles(q))


def q4_1(weights):
    scale, low, q = _from_minimum(weights, 16)
    return _join(_halves(scale), _halves(low), _nibbles(q))


def q5_0(weights):
    scale, q = _around_zero(weights, 32)
    return _join(_halves(scale), _fifth_bits(q), _nibbles(q))


def q5_1(weights):
    scale, low, q = _from_minimum(weights, 32)
    return _join(_halves(scale), _halves(low), _fifth_bits(q), _nibbles(q))


def _six_bit_scales(scales, minima):
    """Eight scales and eight minima below 64 in twelve bytes."""
    packed = np.empty((len(scales), 12), np.uint8)
    packed[:, 0:4] = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    packed[:, 4:8] = minima[:, :4] | (minima[:, 4:] >> 4) << 6
    packed[:, 8:12] = (scales[:, 4:] & 15) | (minima[:, 4:] & 15) << 4
    return packed


def _k_parts(weights, levels):
    """Head of a Q4_K or Q5_K block and its numbers, as (blocks, 8, 32)."""
    parts = _blocks(weights, 256).reshape(-1, 8, 32)
    low = np.minimum(parts.min(axis=2), 0)
    steps = (parts.max(axis=2) - low) / np.float32(levels - 1)
    d = _halves(steps.max(axis=1, keepdims=True) / np.float32(63))
    d_min = _halves((-low).max(axis=1, keepdims=True) / np.float32(63))
    scales = np.clip(np.rint(_quotient(steps, d.astype(np.float32))), 0, 63).astype(np.uint8)
    minima = np.clip(np.rint(_quotient(-low, d_min.astype(np.float32))), 0, 63).astype(np.uint8)
    step = (d.astype(np.float32) * scales)[:, :, None]
    offset = (d_min.astype(np.float32) * minima)[:, :, None]
    q = np.clip(np.rint(_quotient(parts + offset, step)), 0, levels - 1).astype(np.uint8)
    return (d, d_min, _six_bit_scales(scales, minima)), q


def _k_nibbles(q):
    """Parts 2i and 2i + 1 share 32 bytes."""
    return ((q[:, 0::2] & 15) | (q[:, 1::2] & 15) << 4).reshape(len(q), -1)


def q4_k(weights):
    head, q = _k_parts(weights, 16)
    return _join(*head, _k_nibbles(q))


def q5_k(weights):
    head, q = _k_parts(weights, 32)
    bits = (q >> 4) << np.arange(8, dtype=np.uint8)[:, None]
    return _join(*head, np.bitwise_or.reduce(bits, axis=1), _k_nibbles(q))


def q6_k(weights):
    """Sixteen int8 scales over one f16; numbers -32 .. 31 in four and two bits."""
    parts = _blocks(weights, 256).reshape(-1, 16, 16)
    peak = np.abs(parts).max(axis=2) / np.float32(31)
    d = _halves(peak.max(axis=1, keepdims=True) / np.float32(127))
    scales = np.clip(np.rint(_quotient(peak, d.astype(np.float32))), -128, 127).astype(np.int8)
    step = (d.astype(np.float32) * scales)[:, :, None]
    q = (np.clip(np.rint(_quotient(parts, step)), -32, 31) + 32).astype(np.uint8)
    quarters = q.reshape(-1, 2, 4, 32)  # halves of 128, quarters of 32
    low = (quarters[:, :, :2] & 15) | (quarters[:, :, 2:] & 15) << 4
    pairs = (quarters >> 4) << np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = np.bitwise_or.reduce(pairs, axis=2)
    return _join(low.reshape(len(q), -1), high.reshape(len(q), -1), scales, d)


def f32(weights):
    return np.ascontiguousarray(weights, "<f4").tobytes()


def f16(weights):
    return np.ascontiguousarray(weights, np.float32).astype(F16).tobytes()


def bf16(weights):
    """Upper halves of the floats, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(weights, "<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


# name: (number in the file format, columns of a block, bytes of a block, function)
TYPES = {
    "F32": (0, 1, 4, f32),
    "F16": (1, 1, 2, f16),
    "BF16": (30, 1, 2, bf16),
    "Q4_0": (2, 32, 18, q4_0),
    "Q4_1": (3, 32, 20, q4_1),
    "Q5_0": (6, 32, 22, q5_0),
    "Q5_1": (7, 32, 24, q5_1),
    "Q8_0": (8, 32, 34, q8_0),
    "Q4_K": (12, 256, 144, q4_k),
    "Q5_K": (13, 256, 176, q5_k),
    "Q6_K": (14, 256, 210, q6_k),
}


def quantize(weights, type_name):
    """The bytes of an array whose last axis is a row."""
    block = TYPES[type_name][1]
    if weights.shape[-1] % block != 0:
        raise ValueError(f"{type_name} needs rows of a multiple of {block}, got {weights.shape}")
    return TYPES[type_name][3](weights)
