"""Multipliers whose 64-bit sums cannot overflow, and int8 weight rows whose 32-bit accumulators cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from irnn_tvm.errors import AccumulatorOverflowError, QuantizationError
from irnn_tvm.ops.qparams import QParams, multiplier
from irnn_tvm.quantization.rounding import Statistics, absorb, mean_shift, round_weights

BIAS_LIMIT = 1 << 30
# Accumulator units of the largest bias of a matrix that is 0 everywhere.
BIAS_STEPS = 1 << 24
# Rows more than this factor finer than the coarsest of their gate contribute nothing at the output's
# resolution; a floor keeps their multipliers at 11 bits or more.
FINEST_ROW = 2.0**-20


def bounded_multiplier(
    real: Sequence[float | np.ndarray], bound: Sequence[int | np.ndarray], name: str
) -> tuple[list[np.ndarray], int]:
    """Fixed-point form of factors that share one shift and are summed: sum_i mult[i] * value[i] >> shift.

    real[i]: a factor, or one per row [N]; bound[i]: largest |value[i]|, per row or for all. The precision is
    lowered until the sum and its rounding constant fit in a signed 64-bit integer for every row. Raises
    AccumulatorOverflowError when even one bit does not fit, QuantizationError for impossible factors.
    """
    parts = [np.atleast_1d(np.asarray(r, np.float64)) for r in real]
    bounds = [np.atleast_1d(np.asarray(b)).astype(object) for b in bound]
    try:
        _, shift = multiplier(np.concatenate(parts))
    except QuantizationError as error:
        raise QuantizationError(f"{name}: {error}") from error
    while shift >= 1:
        mult = [np.clip(np.floor(p * 2.0**shift + 0.5), 1, 2**31 - 1).astype(np.int64) for p in parts]
        total = sum(m.astype(object) * b for m, b in zip(mult, bounds, strict=True))
        if int(np.max(total)) + (1 << (shift - 1)) < 1 << 63:
            return mult, shift
        shift -= 1
    raise AccumulatorOverflowError(f"{name}: the 64-bit sum of its products can overflow")


@dataclass
class Rows:
    """int8 weights with a scale per row. effective = input scale * row scale: the real value of one
    accumulator unit.
    """

    weight: np.ndarray  # int8 [N, K]
    effective: np.ndarray  # float64 [N]

    def sums(self) -> np.ndarray:
        """Sum of each row's integers, int64 [N]."""
        return np.asarray(self.weight.astype(np.int64).sum(axis=1))

    def magnitude(self) -> np.ndarray:
        """Largest |accumulator| of each row for any int8 input (|x| <= 128), without bias. int64 [N]."""
        return np.asarray(np.abs(self.weight.astype(np.int64)).sum(axis=1) * 128)


def row_units(weight: np.ndarray, in_scale: float) -> np.ndarray:
    """Real value of one accumulator unit per row when the row's largest weight becomes 127; 0 for an all-zero
    row.
    """
    return np.asarray(np.abs(weight).max(axis=1) / 127.0 * in_scale)


def floor_units(units: np.ndarray, reference: float) -> np.ndarray:
    """Units without zeros and without rows far below the coarsest one (`reference`)."""
    coarsest = reference if reference > 0 else 1.0
    return np.where(units > 0, np.maximum(units, coarsest * FINEST_ROW), coarsest)


def quantize_rows(
    weight: np.ndarray, in_scale: float | np.ndarray, units: np.ndarray, statistics: Statistics | None = None
) -> Rows:
    """Rounds weights [N, K] to the grid of their row's unit; in_scale: the operand's, or one per row."""
    return Rows(round_weights(weight, units / in_scale, statistics), units)


def fit_bias(units: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Raises the units of rows whose bias (real) would leave +-2**30 accumulator units, with room for zero
    points.
    """
    return np.maximum(units, np.abs(bias) / (BIAS_LIMIT * 0.98))


def quantize_product(
    weight: np.ndarray, bias: np.ndarray, x: QParams, statistics: Statistics | None, name: str
) -> tuple[Rows, np.ndarray]:
    """int8 rows and int64 bias (zero point of x folded in) of y = x W^T + b. Raises AccumulatorOverflowError."""
    target = absorb(weight, statistics)
    units = row_units(target, x.scale)
    # A matrix of zeros has no scale of its own; its bias must not be lost.
    coarsest = float(units.max()) or float(np.abs(bias).max()) / BIAS_STEPS
    units = fit_bias(floor_units(units, coarsest), bias)
    rows = quantize_rows(target, x.scale, units, statistics)
    real = bias + mean_shift(weight, rows.weight * (units / x.scale)[:, None], statistics)
    total = np.floor(real / units + 0.5).astype(np.int64) - x.zero_point * rows.sums()
    check_accumulators(rows.magnitude(), total, name)
    return rows, total


def given_product(
    weight: np.ndarray,
    table: np.ndarray,
    step: float,
    bias: np.ndarray,
    x: QParams,
    statistics: Statistics | None,
    name: str,
) -> tuple[Rows, np.ndarray]:
    """As `quantize_product`, with int8 rows that are given (tied weights): table * step ~= weight [N, K].

    Raises AccumulatorOverflowError, also for a bias that the given rows cannot carry.
    """
    units = np.full(weight.shape[0], step * x.scale)
    rows = Rows(table, units)
    real = bias + mean_shift(weight, table * step, statistics)
    if np.any(np.abs(real) > BIAS_LIMIT * 0.98 * units):
        raise AccumulatorOverflowError(
            f"{name}: a bias is too large for the table that the layer shares with its embedding; use "
            'QuantConfig(tied_weights="separate")'
        )
    total = np.floor(real / units + 0.5).astype(np.int64) - x.zero_point * rows.sums()
    check_accumulators(rows.magnitude(), total, name)
    return rows, total


def check_accumulators(magnitude: np.ndarray, bias: np.ndarray, name: str) -> None:
    """Raises AccumulatorOverflowError naming the layer and row when an int32 accumulator could wrap."""
    worst = magnitude.astype(object) + np.abs(bias.astype(np.int64)).astype(object)
    for row, value in enumerate(worst.tolist()):
        if value >= 1 << 31 or abs(int(bias[row])) >= 1 << 31:
            raise AccumulatorOverflowError(
                f"{name}, row {row}: its accumulator can reach {value}, beyond 2**31 - 1; use fewer inputs "
                "per row"
            )
