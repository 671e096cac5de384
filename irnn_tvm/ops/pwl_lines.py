"""Straight lines over runs of inputs, and what the best one costs.

A line starts at the first input of its run with an integer value, because a table stores values in whole output LSBs;
its slope is free. Losses are weighted squared errors in output LSBs against the function, which is not rounded. Between
its ends a line stays within the values that the function takes: a fitted sigmoid or exponential is never negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irnn_tvm.ops.qparams import QParams

INT16_MAX = 32767
# Up to this many inputs the final rounding counts in every loss. On longer grids it is noise that no choice removes.
SHORT = 256
# `rounded_losses` tries the best slopes for each of the first ends after a start, then for ends in geometric
# progression.
EVERY_END = 20
FAR_ENDS = 20


@dataclass(frozen=True)
class Reach:
    """The outputs that lines may take: of the function, rounded outwards; endless where saturation takes over."""

    low: float
    high: float
    out: QParams

    @classmethod
    def of(cls, target: np.ndarray, out: QParams) -> Reach:
        low, high = float(np.floor(target.min())), float(np.ceil(target.max()))
        return cls(low if low > out.qmin else -np.inf, high if high < out.qmax else np.inf, out)

    def first(self, value: np.ndarray) -> np.ndarray:
        """The nearest allowed first value: an integer that a table holds. float64."""
        low, high = max(self.low, self.out.qmin), min(self.high, self.out.qmax)
        clipped: np.ndarray = np.clip(np.floor(value + 0.5), low, high)
        return clipped

    def slope(self, first: np.ndarray, slope: np.ndarray, length: np.ndarray) -> np.ndarray:
        """The nearest slope that keeps a line within reach `length` inputs after its first."""
        x = np.maximum(length, 1)
        clipped: np.ndarray = np.clip(slope, (self.low - first) / x, (self.high - first) / x)
        return clipped


class LineLoss:
    """Losses of the best lines over any runs of inputs a..b-1, O(1) each from prefix sums.

    target, weight: float64 [n], the function in output LSBs and the weight of each input. out: the output's grid.
    """

    def __init__(self, target: np.ndarray, weight: np.ndarray, out: QParams) -> None:
        self.size, self.mean, self.reach = target.size, float(target.mean()), Reach.of(target, out)
        # Centred coordinates: the sums cancel less.
        x, f, w = np.arange(target.size) - target.size / 2, target - self.mean, weight
        moments = (w, w * x, w * x * x, w * f, w * f * x, w * f * f)
        self.sums = [np.concatenate(([0.0], np.cumsum(m))) for m in moments]

    def moments(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sums over each run of w, w x, w x^2, w f, w f x, w f^2, with x from the run's start and f from its mean."""
        w, x, xx, f, fx, ff = (s[b] - s[a] for s in self.sums)
        start = a - self.size / 2
        return w, x - start * w, xx - 2.0 * start * x + start * start * w, f, fx - start * f, ff

    def lines(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First value and slope of each run's least-squares line, not rounded and not limited. float64 each."""
        w, x, xx, f, fx, _ = self.moments(a, b)
        spread, line = _spread(w, x, xx)
        slope = np.where(line, (w * fx - x * f) / spread, 0.0)
        return (f - slope * x) / w + self.mean, slope

    def many(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Loss of the best line over each run a[i]..b[i]-1 with an integer first value, within reach at both ends.

        Pinning one end of a least-squares line adds its square distance times a stiffness. For a line that is pinned
        at both ends the sum of the two is an estimate.
        """
        w, x, xx, f, fx, ff = self.moments(a, b)
        spread, line = _spread(w, x, xx)
        slope = np.where(line, (w * fx - x * f) / spread, 0.0)
        value = (f - slope * x) / w
        loss = np.maximum(ff - value * f - slope * fx, 0.0)
        value += self.mean
        length = b - a - 1
        end = value + slope * length
        off = value - self.reach.first(value)
        beyond = end - np.clip(end, self.reach.low, self.reach.high)
        from_end = xx - 2.0 * length * x + length * length * w
        loss += off * off * np.where(line, spread / np.where(line, xx, 1.0), w)
        loss += beyond * beyond * np.where(line, spread / np.where(line, from_end, 1.0), 0.0)
        return loss


def _spread(w: np.ndarray, x: np.ndarray, xx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Determinant of the normal equations, and whether it counts: any slope fits a single input."""
    spread = w * xx - x * x
    line = spread > 1e-9 * w * w
    return np.where(line, spread, 1.0), line


def rounded_losses(target: np.ndarray, weight: np.ndarray, out: QParams) -> np.ndarray:
    """Loss after the final rounding of the best line over every run a..b-1 of a short grid.

    Returns float64 [n, n+1], inf for b <= a. "Best" among the lines of `candidates`.
    """
    n, reach = target.size, Reach.of(target, out)
    losses = np.full((n, n + 1), np.inf)
    for a in range(n):
        value, slope = candidates(target[a:], weight[a:], reach)
        losses[a, a + 1 :] = squares(target[a:], weight[a:], value, slope, reach).cumsum(axis=1).min(axis=0)
    return losses


def candidates(target: np.ndarray, weight: np.ndarray, reach: Reach) -> tuple[np.ndarray, np.ndarray]:
    """First values (whole numbers) and slopes of lines that begin at the first input. float64 [lines] each.

    The least-squares lines up to each of some 40 ends, once with their own first value, rounded, and once through each
    of the three values next to the function; between far ends these lines hardly differ.
    """
    size = target.size
    ends = np.arange(min(size, EVERY_END))
    if size > EVERY_END:
        ends = np.unique(np.append(ends, np.geomspace(EVERY_END, size, FAR_ENDS).astype(np.int64) - 1))
    x = np.arange(size, dtype=np.float64)
    w, wx, wxx, wf, wxf = (
        np.cumsum(m)[ends] for m in (weight, weight * x, weight * x * x, weight * target, weight * x * target)
    )
    spread, line = _spread(w, wx, wxx)
    steep = np.where(line, (w * wxf - wx * wf) / spread, 0.0)
    near = np.floor(target[0] + 0.5) + np.arange(-1.0, 2.0)
    value = reach.first(np.vstack(((wf - steep * wx) / w, np.broadcast_to(near[:, None], (3, ends.size)))))
    slope = reach.slope(value, (wxf - value * wx) / np.where(wxx > 0.0, wxx, 1.0), ends)
    return value.ravel(), np.clip(slope, -INT16_MAX, INT16_MAX).ravel()


def squares(
    target: np.ndarray, weight: np.ndarray, value: np.ndarray, slope: np.ndarray, reach: Reach
) -> np.ndarray:
    """Weighted squared error of each line at each input, rounded and saturated; inf out of reach.

    target, weight: float64 [n]. value, slope: float64 [lines]. Returns float64 [lines, n].
    """
    error = slope[:, None] * np.arange(target.size, dtype=np.float64)
    error += value[:, None] + 0.5
    np.floor(error, out=error)
    outside = None
    if reach.low > -np.inf or reach.high < np.inf:
        outside = (error < reach.low) | (error > reach.high)
    np.clip(error, reach.out.qmin, reach.out.qmax, out=error)
    error -= target
    error *= error
    error *= weight
    if outside is not None:
        error[outside] = np.inf
    return error
