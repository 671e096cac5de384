"""Normalisation in integers: reciprocal and reciprocal square root by Newton's method, and normalised rows.

No division and no float: both functions work on a mantissa of 30 fraction bits that a shift brings into range, and
every iteration doubles the number of correct bits (docs/numerics.md, "Reciprocal and reciprocal square root").
relay_ops/normalize.py emits the same integers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import round_shift, saturate

# A normalised value u = (x - mean) / deviation has this many fraction bits.
UNIT_BITS = 16
# More features than this could leave int32 in n * x - sum(x) (|x| <= 2**15) or in a normalised value.
MAX_FEATURES = 1 << 15
# A variance plus its epsilon stays below 2**62; a sum of distances plus its epsilon below 2**49, so that no shift
# reaches 64.
MAX_EPS = 1 << 61
MAX_MAD_EPS = 1 << 48

# First guesses, straight lines of least relative error: 1/17 for 1/m on [1, 2), 0.086 for 1/sqrt(m) on [1, 4).
RECIPROCAL_SEED = (1515870810, 1010580540)  # 2**29 * 48/17, 2**29 * 32/17
RECIPROCAL_STEPS = 3
RSQRT_SEED = (1145023540, 163574791)  # 2**30 * 7 * 2/13.1285.., 2**30 * 2/13.1285..
RSQRT_STEPS = 4

HALF_29, HALF_30 = 1 << 29, 1 << 30


def floor_log2(v: Tensor) -> Tensor:
    """floor(log2(v)) of int64 values in 1..2**63-1, by a binary search over its bits."""
    exponent = torch.zeros_like(v)
    for step in (32, 16, 8, 4, 2, 1):
        exponent = exponent + torch.where((v >> (exponent + step)) > 0, step, 0)
    return exponent


def mantissa(v: Tensor, exponent: Tensor) -> Tensor:
    """v * 2**(30 - exponent), bits below 1 cut off."""
    return torch.where(exponent <= 30, v << (30 - exponent).clamp(min=0), v >> (exponent - 30).clamp(min=0))


def integer_reciprocal(v: Tensor) -> tuple[Tensor, Tensor]:
    """1/v ~= r * 2**-shift. v int64 in 1..2**62-1; r in 2**29..2**30, shift in 30..91, both int64.

    m = v * 2**(30-e), e = floor(log2 v), shift = 30 + e; then three Newton steps from a straight line:
    u = (m r + 2**29) >> 30, r = (r (2**31 - u) + 2**29) >> 30. Relative error below 2**-28 (all m were tried).
    """
    exponent = floor_log2(v)
    m = mantissa(v, exponent)
    r = RECIPROCAL_SEED[0] - ((RECIPROCAL_SEED[1] * m) >> 31)
    for _ in range(RECIPROCAL_STEPS):
        u = (m * r + HALF_29) >> 30
        r = (r * ((1 << 31) - u) + HALF_29) >> 30
    return r, exponent + 30


def integer_rsqrt(v: Tensor) -> tuple[Tensor, Tensor]:
    """1/sqrt(v) ~= r * 2**-shift. v int64 in 1..2**62-1; r in 2**29..2**30, shift in 30..60, both int64.

    m = v * 2**(30-e) with e = floor(log2 v) made even, shift = 30 + e/2; then four Newton steps from a straight line:
    t = (r r + 2**29) >> 30, u = (t m + 2**29) >> 30, r = (r (3 * 2**30 - u) + 2**30) >> 31.
    Relative error below 2**-28 (all m were tried).
    """
    exponent = floor_log2(v) & ~1
    m = mantissa(v, exponent)
    r = RSQRT_SEED[0] - ((RSQRT_SEED[1] * m) >> 30)
    for _ in range(RSQRT_STEPS):
        t = (r * r + HALF_29) >> 30
        u = (t * m + HALF_29) >> 30
        r = (r * (3 * (1 << 30) - u) + HALF_30) >> 31
    return r, (exponent >> 1) + 30


def deviations(x: Tensor) -> Tensor:
    """d = N x - sum(x) over the last axis: N times the distance from the mean, exactly. Any zero point cancels."""
    q = x.long()
    return q * x.shape[-1] - q.sum(-1, keepdim=True)


def layer_norm_units(x: Tensor, eps: int) -> Tensor:
    """u = (x - mean) / sqrt(var + eps) with UNIT_BITS fraction bits, int64 [..., N].

    x int8/int16 values [..., N], N <= MAX_FEATURES; eps = round(eps_real * N**2 / scale**2), 1..MAX_EPS.
    V = N sum(x**2) - sum(x)**2 + eps (N**2 times the variance, exact), u = rs(d * r, shift - 16) with
    1/sqrt(V) ~= r * 2**-shift. |u| < (sqrt(N) + 1) * 2**16; a constant row gives 0.
    """
    q = x.long()
    total = q.sum(-1, keepdim=True)
    variance = q.shape[-1] * (q * q).sum(-1, keepdim=True) - total * total
    r, shift = integer_rsqrt(variance + eps)
    return _scaled(deviations(q), r, shift - UNIT_BITS)


def mad_norm_units(x: Tensor, eps: int) -> Tensor:
    """u = (x - mean) / (mean|x - mean| + eps) with UNIT_BITS fraction bits, int64 [..., N].

    x int8/int16 values [..., N], N <= MAX_FEATURES; eps = round(eps_real * N**2 / scale), 1..MAX_MAD_EPS.
    D = sum|d| + eps (N**2 times the mean absolute deviation, exact), R = (r * N) >> b with 1/D ~= r * 2**-shift and
    b = ceil(log2 N), u = rs(d * R, max(shift - b - 16, 1)). |u| <= (N/2 + 1) * 2**16; a constant row gives 0.
    """
    d = deviations(x)
    r, shift = integer_reciprocal(d.abs().sum(-1, keepdim=True) + eps)
    bits = (x.shape[-1] - 1).bit_length()
    return _scaled(d, (r * x.shape[-1]) >> bits, (shift - bits - UNIT_BITS).clamp(min=1))


def largest_unit(kind: str, features: int) -> int:
    """Bound of |normalised value|, 16 fraction bits. kind: "layer" (at most sqrt(N)) or "mad" (at most N/2)."""
    largest = math.isqrt(features) + 2 if kind == "layer" else features // 2 + 2
    return largest << UNIT_BITS


def _scaled(d: Tensor, r: Tensor, shift: Tensor) -> Tensor:
    one = torch.ones_like(shift)
    return (d * r + (one << (shift - 1))) >> shift


def affine_units(u: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """u * gamma + beta * 2**16 in int64: both are multipliers of the same unit. gamma, beta int32 [N]."""
    return u * gamma.long() + (beta.long() << UNIT_BITS)


def layer_norm_rows(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: int, shift: int, out_zp: int, out_bits: int
) -> Tensor:
    """sat(rs(u * gamma + beta * 2**16, shift) + out_zp) with u of `layer_norm_units`. Returns int8/int16 [..., N]."""
    acc = affine_units(layer_norm_units(x, eps), gamma, beta)
    return saturate(round_shift(acc, shift) + out_zp, out_bits)


def mad_norm_rows(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: int, shift: int, out_zp: int, out_bits: int
) -> Tensor:
    """sat(rs(u * gamma + beta * 2**16, shift) + out_zp) with u of `mad_norm_units`. Returns int8/int16 [..., N]."""
    acc = affine_units(mad_norm_units(x, eps), gamma, beta)
    return saturate(round_shift(acc, shift) + out_zp, out_bits)
