"""Multipliers of either sign that share a shift: gains of norms, peephole weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irnn_tvm.errors import AccumulatorOverflowError, QuantizationError
from irnn_tvm.ops.qparams import MAX_SHIFT

LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Term:
    """One term of a 64-bit sum: real factors [N], the largest |value| that each multiplies, and whether a factor must
    stay positive (a rescale) or may be of any sign and 0 (a learned weight)."""

    real: np.ndarray
    bound: int | np.ndarray
    positive: bool = False


def shared_multipliers(terms: Sequence[Term], name: str) -> tuple[list[np.ndarray], int]:
    """Integers mult[i] ~= real[i] * 2**shift with |mult| < 2**31 and sum_i |mult[i]| * bound[i] + 2**(shift-1) < 2**63.

    The shift is the largest in 1..62 for which that holds. Returns int64 arrays and the shift.
    Raises QuantizationError for a factor that is not finite, AccumulatorOverflowError when no shift will do.
    """
    factors = [np.atleast_1d(np.asarray(term.real, np.float64)) for term in terms]
    if not all(np.all(np.isfinite(f)) for f in factors):
        raise QuantizationError(f"{name}: a factor is not finite")
    for shift in range(MAX_SHIFT, 0, -1):
        rounded = [np.floor(f * 2.0**shift + 0.5) for f in factors]
        if any(float(np.abs(r).max()) > LARGEST for r in rounded):
            continue
        mult = [
            np.maximum(r, 1.0 if term.positive else -LARGEST).astype(np.int64)
            for r, term in zip(rounded, terms, strict=True)
        ]
        total = sum(
            np.abs(m).astype(object) * np.asarray(term.bound).astype(object)
            for m, term in zip(mult, terms, strict=True)
        )
        if int(np.max(total)) + (1 << (shift - 1)) < 1 << 63:
            return mult, shift
    raise AccumulatorOverflowError(f"{name}: the 64-bit sum of its products can overflow")
