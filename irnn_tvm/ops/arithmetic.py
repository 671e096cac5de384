"""The integer primitives that every reference op is written in. All run on any torch device."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = {8: torch.int8, 16: torch.int16, 32: torch.int32}

# float32 holds integers exactly up to 2**24; 1024 products of int8 by int8 stay below that (1024 * 128 * 127).
EXACT_CHUNK = 1024


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest value of a signed integer of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def saturate(value: Tensor, bits: int) -> Tensor:
    """int64 -> int8/int16/int32, values outside the type become its nearest limit. Contiguous, as operators return."""
    lo, hi = limits(bits)
    return value.clamp(lo, hi).to(DTYPES[bits]).contiguous()


def narrow_plain(value: Tensor, bits: int, name: str) -> Tensor:
    """`saturate`; name: what an internal tensor is called in reports, for functions that count clipped values."""
    return saturate(value, bits)


def round_shift(value: Tensor, shift: int) -> Tensor:
    """(value + 2**(shift-1)) >> shift in int64: one rounding, ties toward +infinity. shift = 0 is the identity."""
    if shift == 0:
        return value
    return (value + (1 << (shift - 1))) >> shift


def matmul_int8(x: Tensor, w: Tensor) -> Tensor:
    """Exact integer product x @ w.T. x int8 [..., K], w int8 [N, K] -> int64 [..., N].

    Computed in float32 by chunks of K that cannot leave its exact range, because integer matrix products do not
    exist on every device; the result is the integer one on all of them, whatever order the device adds in.
    """
    k = x.shape[-1]
    total: Tensor | None = None
    for start in range(0, k, EXACT_CHUNK):
        part = x[..., start : start + EXACT_CHUNK].float() @ w[:, start : start + EXACT_CHUNK].float().T
        total = part.long() if total is None else total + part.long()
    assert total is not None
    return total
