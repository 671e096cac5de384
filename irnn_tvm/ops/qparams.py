"""Affine quantization parameters and fixed-point multipliers (docs/numerics.md, "Rescale")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irnn_tvm.errors import QuantizationError

MULTIPLIER_BITS = 31
MAX_SHIFT = 62


@dataclass(frozen=True)
class QParams:
    """real = scale * (q - zero_point), q a signed integer of `bits` bits.

    Raises QuantizationError when the scale is not a positive finite number, `bits` is not 8, 16 or 32, or the
    zero point is outside the type.
    """

    scale: float
    zero_point: int = 0
    bits: int = 8

    def __post_init__(self) -> None:
        if self.bits not in (8, 16, 32):
            raise QuantizationError(f"bits={self.bits} is not supported; supported: 8, 16, 32")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise QuantizationError(f"scale {self.scale} is not a positive finite number")
        if not self.qmin <= self.zero_point <= self.qmax:
            raise QuantizationError(f"zero point {self.zero_point} is outside int{self.bits}")

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def quantize(self, real: np.ndarray | float) -> np.ndarray:
        """floor(real / scale + 0.5) + zero_point, saturated. Returns int64."""
        q = np.floor(np.asarray(real, np.float64) / self.scale + 0.5) + self.zero_point
        return np.clip(q, self.qmin, self.qmax).astype(np.int64)

    def dequantize(self, q: np.ndarray | int) -> np.ndarray:
        return self.scale * (np.asarray(q, np.float64) - self.zero_point)


def multiplier(real: np.ndarray | float) -> tuple[np.ndarray, int]:
    """Fixed-point form of positive real factors: real ~= mult / 2**shift with one shift for all of them.

    The shift is the largest (<= 62) that keeps every multiplier within 31 bits; multipliers are at least 1.
    Returns (int64 array of the input's shape, shift).
    Raises QuantizationError for factors that are not positive and finite or too large (>= 2**30).
    """
    factors = np.asarray(real, np.float64)
    if factors.size == 0 or not np.all(np.isfinite(factors)) or np.any(factors <= 0):
        raise QuantizationError("rescale factors must be positive and finite")
    largest = float(factors.max())
    _, exponent = np.frexp(largest)  # largest = m * 2**exponent with 0.5 <= m < 1
    shift = min(MULTIPLIER_BITS - int(exponent), MAX_SHIFT)
    if np.floor(largest * 2.0**shift + 0.5) >= 2**MULTIPLIER_BITS:
        shift -= 1
    if shift < 1:
        raise QuantizationError(
            f"rescale factor {largest} is too large; the largest supported is below 2**30"
        )
    mult = np.floor(factors * 2.0**shift + 0.5).astype(np.int64)
    return np.clip(mult, 1, 2**MULTIPLIER_BITS - 1), shift
