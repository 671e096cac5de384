"""Numbers that go with the norms inside recurrent operators: their codes, epsilons and bounds (ops/normalize.py)."""

from __future__ import annotations

from torch import Tensor

from irnn_tvm.ops import normalize
from irnn_tvm.ops.normalize import MAX_EPS, MAX_MAD_EPS, layer_norm_units, mad_norm_units

LAYER_NORM, MAD_NORM = 1, 2
CODES: dict[str | None, int] = {None: 0, "layer": LAYER_NORM, "mad": MAD_NORM}


def norm_units(x: Tensor, kind: int, eps: int) -> Tensor:
    """Normalised last axis with UNIT_BITS fraction bits. kind: LAYER_NORM or MAD_NORM."""
    return layer_norm_units(x, eps) if kind == LAYER_NORM else mad_norm_units(x, eps)


def largest_unit(kind: int, features: int) -> int:
    """Largest |normalised element| with UNIT_BITS fraction bits of a row of `features` elements."""
    return normalize.largest_unit("layer" if kind == LAYER_NORM else "mad", features)


def largest_eps(kind: int) -> int:
    """Largest epsilon in integer units."""
    return MAX_EPS if kind == LAYER_NORM else MAX_MAD_EPS


def eps_unit(kind: int, features: int, scale: float) -> float:
    """Real value of an integer epsilon of 1."""
    return (scale**2 if kind == LAYER_NORM else scale) / features**2


def integer_eps(kind: int, eps: float, features: int, scale: float) -> int:
    """Epsilon (real) in the units of the integer statistic of a row on a grid with this scale, at least 1."""
    units = eps / eps_unit(kind, features, scale)
    return min(max(round(units), 1), largest_eps(kind))
