"""Straight lines over runs of inputs: what the best one costs, and its rounding to an int16 table.

A line starts at the first input of its run with an integer value, because a table stores values in whole output LSBs;
its slope is free. Losses are weighted squared errors in output LSBs against the function, which is not rounded.
"""

from __future__ import annotations

import numpy as np

from irnn_tvm.ops.qparams import QParams

MAX_SLOPE_SHIFT = 14
INT16_MAX = 32767
# Runs up to this length get their integers by trying them with the final rounding; over longer ones the rounding
# error is noise that no choice removes, and the quadratic form of the loss decides.
SHORT = 256
VALUES = np.arange(-2, 3)
SLOPES = np.linspace(-1.0, 1.0, 33)  # in output LSBs over the whole run
# `rounded_losses` tries the best slope for each of the first ends after a start, then for ends in geometric progression.
EVERY_END = 20
FAR_ENDS = 20


class LineLoss:
    """Losses of the best lines over any runs of inputs a..b-1, O(1) each from prefix sums.

    target, weight: float64 [n], the function in output LSBs and the weight of each input. out: the output's grid,
    which limits first values.
    """

    def __init__(self, target: np.ndarray, weight: np.ndarray, out: QParams) -> None:
        self.size, self.out, self.mean = target.size, out, float(target.mean())
        # Centred coordinates: the sums cancel less.
        x, f, w = np.arange(target.size) - target.size / 2, target - self.mean, weight
        moments = (w, w * x, w * x * x, w * f, w * f * x, w * f * f)
        self.sums = [np.concatenate(([0.0], np.cumsum(m))) for m in moments]

    def moments(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sums over each run of w, w x, w x^2, w f, w f x, w f^2, with x counted from the run's start."""
        w, x, xx, f, fx, ff = (s[b] - s[a] for s in self.sums)
        start = a - self.size / 2
        return w, x - start * w, xx - 2.0 * start * x + start * start * w, f, fx - start * f, ff

    def best(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(first value, slope, loss, stiffness) of each run's least-squares line, before any rounding.

        stiffness: the loss grows by stiffness * d^2 when the first value is off by d and the slope makes the best of it.
        """
        w, x, xx, f, fx, ff = self.moments(a, b)
        spread = w * xx - x * x
        line = spread > 1e-9 * w * w  # else a single input, which any slope fits
        spread = np.where(line, spread, 1.0)
        slope = np.where(line, (w * fx - x * f) / spread, 0.0)
        value = (f - slope * x) / w
        loss = np.maximum(ff - value * f - slope * fx, 0.0)
        stiffness = np.where(line, spread / np.where(line, xx, 1.0), w)
        return value + self.mean, slope, loss, stiffness

    def many(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Loss of the best line with an integer first value over each run a[i]..b[i]-1."""
        value, _, loss, stiffness = self.best(a, b)
        off = value - np.clip(np.floor(value + 0.5), self.out.qmin, self.out.qmax)
        total: np.ndarray = loss + off * off * stiffness
        return total


def rounded_losses(target: np.ndarray, weight: np.ndarray, out: QParams) -> np.ndarray:
    """Loss after the final rounding of the best line over every run a..b-1 of a short grid.

    Returns float64 [n, n+1], inf for b <= a. "Best" among the lines of `_candidates`.
    """
    n = target.size
    losses = np.full((n, n + 1), np.inf)
    for a in range(n):
        value, slope = _candidates(target[a:], weight[a:], out)
        losses[a, a + 1 :] = _squares(target[a:], weight[a:], value, slope, out).cumsum(axis=1).min(axis=0)
    return losses


def _candidates(target: np.ndarray, weight: np.ndarray, out: QParams) -> tuple[np.ndarray, np.ndarray]:
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
    spread = w * wxx - wx * wx
    steep = np.where(spread > 0.0, w * wxf - wx * wf, 0.0) / np.where(spread > 0.0, spread, 1.0)
    near = np.floor(target[0] + 0.5) + np.arange(-1.0, 2.0)
    value = np.vstack(((wf - steep * wx) / w, np.broadcast_to(near[:, None], (3, ends.size))))
    value = np.clip(np.floor(value + 0.5), out.qmin, out.qmax)
    slope = (wxf - value * wx) / np.where(wxx > 0.0, wxx, 1.0)
    return value.ravel(), np.clip(slope, -INT16_MAX, INT16_MAX).ravel()


def _squares(
    target: np.ndarray, weight: np.ndarray, value: np.ndarray, slope: np.ndarray, out: QParams
) -> np.ndarray:
    """Weighted squared error of each line at each input, rounded and saturated. float64 [lines, inputs]."""
    error = slope[:, None] * np.arange(target.size, dtype=np.float64)
    error += value[:, None] + 0.5
    np.floor(error, out=error)
    np.clip(error, out.qmin, out.qmax, out=error)
    error -= target
    error *= error
    error *= weight
    return error


def integer_lines(
    target: np.ndarray, weight: np.ndarray, starts: np.ndarray, out: QParams
) -> tuple[np.ndarray, np.ndarray, int]:
    """Values, slopes (int64 [P]) and shift of the lines over the runs that begin at `starts` (indices, the first is 0).

    The shift is the one whose table loses least once everything is rounded: a large one resolves slopes finely, a
    small one lets steep lines fit int16. Slopes are limited to int16 and to what keeps
    |slope| * length + |value| * 2**shift + 2**shift below 2**31.
    """
    stops = np.append(starts[1:], target.size)
    short = target.size <= SHORT
    choose = _candidate_lines if short else _least_squares_lines
    value, slope = choose(target, weight, starts, stops, out)
    steepest = float(np.abs(slope).max())
    shift = MAX_SLOPE_SHIFT
    while shift and steepest * 2.0**shift > INT16_MAX:
        shift -= 1
    found = None
    for shift in range(shift, MAX_SLOPE_SHIFT + 1):
        to_integers = _tried_integers if short else _nearest_integers
        values, slopes = to_integers(target, weight, starts, stops, value, slope, shift, out)
        loss = rounded_loss(target, weight, starts, values, slopes, shift, out)
        if found is not None and loss >= found[0]:
            break
        found = loss, values, slopes, shift
    assert found is not None
    return found[1:]


def rounded_loss(
    target: np.ndarray,
    weight: np.ndarray,
    starts: np.ndarray,
    values: np.ndarray,
    slopes: np.ndarray,
    shift: int,
    out: QParams,
) -> float:
    """Weighted squared error of the integers that a table returns for every input."""
    lengths = np.diff(np.append(starts, target.size))
    run = np.arange(target.size) - np.repeat(starts, lengths)
    line = np.repeat(slopes, lengths) * run + np.repeat(values << shift, lengths)
    error = np.clip((line + ((1 << shift) >> 1)) >> shift, out.qmin, out.qmax) - target
    return float((weight * error * error).sum())


def _limit(value: np.ndarray, length: np.ndarray | int, shift: int) -> np.ndarray:
    """Largest |slope| for a line with this first value."""
    room = (1 << 31) - 1 - (np.abs(value) << shift) - (1 << shift)
    limit: np.ndarray = np.minimum(INT16_MAX, room // length)
    return limit


def _candidate_lines(
    target: np.ndarray, weight: np.ndarray, starts: np.ndarray, stops: np.ndarray, out: QParams
) -> tuple[np.ndarray, np.ndarray]:
    """First value and slope of the candidate that `rounded_losses` took for each run."""
    value, slope = np.empty(starts.size), np.empty(starts.size)
    for k, (a, b) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        values, slopes = _candidates(target[a:], weight[a:], out)
        best = int(_squares(target[a:b], weight[a:b], values, slopes, out).sum(axis=1).argmin())
        value[k], slope[k] = values[best], slopes[best]
    return value, slope


def _least_squares_lines(
    target: np.ndarray, weight: np.ndarray, starts: np.ndarray, stops: np.ndarray, out: QParams
) -> tuple[np.ndarray, np.ndarray]:
    """First value and slope of each run's least-squares line, before any rounding."""
    return LineLoss(target, weight, out).best(starts, stops)[:2]


def _tried_integers(
    target: np.ndarray,
    weight: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    shift: int,
    out: QParams,
) -> tuple[np.ndarray, np.ndarray]:
    """Per run the pair of integers that loses least after the final rounding, of those around the given line."""
    values, slopes = np.empty(starts.size, np.int64), np.empty(starts.size, np.int64)
    for k, (a, b) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        first = np.clip(value[k] + VALUES, out.qmin, out.qmax)
        # Slopes that end where the given line ends, or up to one output LSB beside it.
        tilt = (SLOPES - (first - value[k])[:, None]) / (b - a)
        first = np.repeat(first, SLOPES.size)
        limit = _limit(first.astype(np.int64), b - a, shift)
        steps = np.clip(np.floor((slope[k] + tilt.ravel()) * 2.0**shift + 0.5), -limit, limit)
        squares = _squares(target[a:b], weight[a:b], first, steps * 2.0**-shift, out)
        best = int(squares.sum(axis=1).argmin())
        values[k], slopes[k] = first[best], steps[best]
    return values, slopes


def _nearest_integers(
    target: np.ndarray,
    weight: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    shift: int,
    out: QParams,
) -> tuple[np.ndarray, np.ndarray]:
    """Per run the pair of integers with the least loss before the final rounding: a quadratic form in both."""
    w, x, xx = LineLoss(target, weight, out).moments(starts, stops)[:3]
    # [pieces, values, slopes]: a slope makes up for the rounding of its value, and is rounded down or up.
    first = np.clip(np.floor(value + 0.5)[:, None] + np.arange(-1, 2), out.qmin, out.qmax).astype(np.int64)
    off = first - value[:, None]
    wanted = slope[:, None] - off * (x / np.where(xx > 0.0, xx, 1.0))[:, None]
    limit = _limit(first, (stops - starts)[:, None], shift)[:, :, None]
    steps = np.floor(wanted * 2.0**shift).astype(np.int64)[:, :, None] + np.arange(2)
    steps = np.clip(steps, -limit, limit)
    tilt = steps * 2.0**-shift - slope[:, None, None]
    off = off[:, :, None]
    w, x, xx = (m[:, None, None] for m in (w, x, xx))
    loss = (w * off * off + 2.0 * x * off * tilt + xx * tilt * tilt).reshape(starts.size, -1)
    v, m = np.unravel_index(loss.argmin(axis=1), steps.shape[1:])
    pieces = np.arange(starts.size)
    return first[pieces, v], steps[pieces, v, m]
