"""Fitting of quantization-aware piecewise-linear tables (iRNN, "Quantization-aware piecewise linear approximation").

On the integer input grid: a knot at every representable input, then the knot whose removal costs least (weighted
squared error in output LSBs) is dropped until `pieces` segments are left, then the values at the remaining knots are
refitted by weighted least squares and rounded to the int16 table that `irnn::pwl` evaluates.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irnn_tvm.errors import QuantizationError
from irnn_tvm.ops.qparams import QParams

MAX_SLOPE_SHIFT = 14
MAX_PIECES = 256
# Unseen inputs keep this share of the average weight, so that a table is sane outside of the calibration data.
HISTOGRAM_FLOOR = 0.05


@dataclass(frozen=True)
class PwlTable:
    """table int16 [3, P] (knots, slopes, values; P a power of two) and the shift of slopes and values."""

    table: np.ndarray
    shift: int

    def evaluate(self, q: np.ndarray, out_bits: int) -> np.ndarray:
        """The integers that `irnn::pwl` returns for integer inputs q. Returns int64."""
        knots, slopes, values = self.table.astype(np.int64)
        q = np.asarray(q, np.int64)
        piece = np.maximum(np.searchsorted(knots, q, side="right") - 1, 0)
        line = slopes[piece] * (q - knots[piece]) + (values[piece] << self.shift)
        if self.shift:
            line = (line + (1 << (self.shift - 1))) >> self.shift
        return np.clip(line, -(1 << (out_bits - 1)), (1 << (out_bits - 1)) - 1)


def fit(
    fn: Callable[[np.ndarray], np.ndarray],
    pieces: int,
    in_qparams: QParams,
    out_qparams: QParams,
    histogram: np.ndarray | None = None,
) -> PwlTable:
    """Piecewise-linear table of `fn` from the input grid to the output grid.

    fn: vectorised float64 -> float64; infinities saturate, NaN is refused. in_qparams, out_qparams: 8 or 16 bits.
    pieces: 1..256 segments. histogram: a weight per grid point (256 or 65536 of them, from qmin up), e.g. how often
    calibration saw it.
    Raises QuantizationError for an unsupported width, number of pieces, histogram or function value.
    """
    if in_qparams.bits not in (8, 16) or out_qparams.bits not in (8, 16):
        raise QuantizationError("PWL tables map 8- or 16-bit integers to 8- or 16-bit integers")
    if not 1 <= pieces <= MAX_PIECES:
        raise QuantizationError(f"{pieces} PWL pieces are not supported; supported: 1..{MAX_PIECES}")
    grid = np.arange(in_qparams.qmin, in_qparams.qmax + 1)
    target = _target(fn, grid, in_qparams, out_qparams)
    weight = _weights(histogram, grid.size)
    pieces = min(pieces, grid.size - 1)
    kept = _drop_knots(target, weight, pieces + 1)
    values = _refit(target, weight, kept)
    return _quantize_table(grid, target, weight, kept, values, out_qparams)


def _target(
    fn: Callable[[np.ndarray], np.ndarray], grid: np.ndarray, inp: QParams, out: QParams
) -> np.ndarray:
    with np.errstate(all="ignore"):
        real = np.asarray(fn(inp.dequantize(grid)), np.float64)
    if real.shape != grid.shape or np.isnan(real).any():
        raise QuantizationError("the function to approximate is not a number somewhere in its input range")
    with np.errstate(over="ignore"):
        return np.clip(real / out.scale + out.zero_point, out.qmin, out.qmax)


def _weights(histogram: np.ndarray | None, size: int) -> np.ndarray:
    if histogram is None:
        return np.ones(size)
    weight = np.asarray(histogram, np.float64)
    if weight.shape != (size,) or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        raise QuantizationError(f"a PWL histogram holds {size} finite weights >= 0, not all 0")
    return weight / weight.mean() + HISTOGRAM_FLOOR


def _drop_knots(target: np.ndarray, weight: np.ndarray, keep: int) -> np.ndarray:
    """Indices of the `keep` knots that survive greedy removal; the first and the last always do.

    The loss of a knot is the weighted squared error of the chord that would replace it, O(1) from prefix sums.
    While many knots are left they go in rounds: a knot that costs less than both neighbours is dropped before either
    of them whatever happens elsewhere, so all such knots in the cheaper half may go at once. The rest goes one by
    one. Losses below float64 resolution count as ties.
    """
    chord = _ChordLoss(target, weight)
    alive = np.arange(target.size)
    while alive.size >= 4 * keep and alive.size > 64:
        cost = chord.many(alive[:-2], alive[2:])
        around = np.concatenate(([np.inf], cost, [np.inf]))
        left, right = around[:-2], around[2:]
        # Of neighbours that cost the same every second one goes, or a flat stretch would lose one knot per round.
        wins = np.arange(cost.size) % 2 == 1
        lowest = (cost < left) | (wins & (cost == left))
        lowest &= (cost < right) | (wins & (cost == right))
        lowest &= cost <= np.median(cost)
        if not lowest.any():
            break
        alive = np.delete(alive, np.flatnonzero(lowest) + 1)
    return _drop_one_by_one(chord, alive, keep)


class _ChordLoss:
    """Weighted squared error of the chord between two grid points over the points strictly between them."""

    def __init__(self, target: np.ndarray, weight: np.ndarray) -> None:
        self.x = np.arange(target.size, dtype=np.float64) - target.size / 2
        self.f = target - target.mean()
        x, f = self.x, self.f
        moments = (weight, weight * x, weight * x * x, weight * f, weight * f * x, weight * f * f)
        self.sums = [np.concatenate(([0.0], np.cumsum(m))) for m in moments]

    def many(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Losses of the chords a[i]..b[i]."""
        x, f = self.x, self.f
        m = (f[b] - f[a]) / (x[b] - x[a])
        c = f[a] - m * x[a]
        w, wx, wxx, wf, wfx, wff = (s[b] - s[a + 1] for s in self.sums)
        loss: np.ndarray = wff - 2.0 * (m * wfx + c * wf) + m * m * wxx + 2.0 * m * c * wx + c * c * w
        return loss

    def one(self, a: int, b: int) -> float:
        return float(self.many(np.asarray(a), np.asarray(b)))


def _drop_one_by_one(chord: _ChordLoss, alive: np.ndarray, keep: int) -> np.ndarray:
    n = alive.size
    if n <= keep:
        return alive
    points = alive.tolist()
    before, after = list(range(-1, n - 1)), list(range(1, n + 1))
    cost = [0.0, *chord.many(alive[:-2], alive[2:]).tolist(), 0.0]
    heap = [(cost[k], k) for k in range(1, n - 1)]
    heapq.heapify(heap)
    dropped = [False] * n
    left = n
    while left > keep:
        c, k = heapq.heappop(heap)
        if dropped[k] or c != cost[k]:
            continue
        dropped[k] = True
        left -= 1
        a, b = before[k], after[k]
        after[a], before[b] = b, a
        for side in (a, b):
            if 0 < side < n - 1:
                cost[side] = chord.one(points[before[side]], points[after[side]])
                heapq.heappush(heap, (cost[side], side))
    return alive[np.logical_not(dropped)]


def _refit(target: np.ndarray, weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Values at the kept knots of the continuous piecewise-linear function nearest to target (weighted L2)."""
    index = np.arange(target.size)
    piece = np.clip(np.searchsorted(kept, index, side="right") - 1, 0, kept.size - 2)
    right = (index - kept[piece]) / (kept[piece + 1] - kept[piece])
    left = 1.0 - right
    size = kept.size
    normal = np.zeros((size, size))
    rhs = np.zeros(size)
    np.add.at(normal, (piece, piece), weight * left * left)
    np.add.at(normal, (piece, piece + 1), weight * left * right)
    np.add.at(normal, (piece + 1, piece), weight * left * right)
    np.add.at(normal, (piece + 1, piece + 1), weight * right * right)
    np.add.at(rhs, piece, weight * left * target)
    np.add.at(rhs, piece + 1, weight * right * target)
    values: np.ndarray = np.linalg.solve(normal, rhs)
    return values


def _quantize_table(
    grid: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    kept: np.ndarray,
    values: np.ndarray,
    out: QParams,
) -> PwlTable:
    """int16 knots, slopes and values. Slopes are fitted after the values are rounded, and absorb that rounding."""
    pieces = kept.size - 1
    start = np.clip(np.floor(values[:-1] + 0.5), out.qmin, out.qmax).astype(np.int64)
    slope = np.empty(pieces)
    for k in range(pieces):
        stop = kept[k + 1] + 1 if k == pieces - 1 else kept[k + 1]
        run = np.arange(kept[k], stop) - kept[k]
        w = weight[kept[k] : stop]
        spread = float((w * run * run).sum())
        slope[k] = float((w * run * (target[kept[k] : stop] - start[k])).sum()) / spread if spread else 0.0
    knots = grid[kept[:-1]].astype(np.int64)
    lengths = np.diff(kept)
    for shift in range(MAX_SLOPE_SHIFT, -1, -1):
        slopes = np.floor(slope * 2.0**shift + 0.5)
        ends = np.abs(slopes * lengths) + np.abs(start * 2.0**shift) + 2.0**shift
        if np.abs(slopes).max() <= 32767 and ends.max() < 2**31:
            break
    else:
        raise QuantizationError(
            "the function is too steep for int16 slopes on this grid; use a wider output scale"
        )
    padded = 1 << (pieces - 1).bit_length()
    table = np.zeros((3, padded), np.int16)
    # Unused pieces start at the largest input and hold its value, so that a binary search needs no length.
    table[0], table[2] = grid[-1], np.clip(np.floor(target[-1] + 0.5), out.qmin, out.qmax)
    table[0, :pieces], table[1, :pieces], table[2, :pieces] = knots, slopes, start
    return PwlTable(table, shift)
