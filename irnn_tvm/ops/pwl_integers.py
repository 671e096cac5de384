"""From runs of inputs to the int16 values and slopes of a table: integers with the least error after all rounding."""

from __future__ import annotations

import numpy as np

from irnn_tvm.ops.pwl_lines import INT16_MAX, SHORT, LineLoss, Reach, candidates, squares
from irnn_tvm.ops.qparams import QParams

MAX_SLOPE_SHIFT = 14
VALUES = np.arange(-2.0, 3.0)
SLOPES = np.linspace(-1.0, 1.0, 33)  # in output LSBs over the whole run


def integer_lines(
    target: np.ndarray, weight: np.ndarray, starts: np.ndarray, out: QParams
) -> tuple[np.ndarray, np.ndarray, int]:
    """Values, slopes (int64 [P]) and shift of the lines over the runs that begin at `starts` (indices, the first is 0).

    target, weight: float64 [n], the function in output LSBs and the weight of each input.
    The shift is the one whose table loses least once everything is rounded: a large one resolves slopes finely, a
    small one lets steep lines fit int16. Slopes are limited to int16 and to what keeps
    |slope| * length + |value| * 2**shift + 2**shift below 2**31.
    """
    lines = _Lines(target, weight, starts, out)
    steepest = float(np.abs(lines.slope).max())
    smallest = MAX_SLOPE_SHIFT
    while smallest and steepest * 2.0**smallest > INT16_MAX:
        smallest -= 1
    found = None
    for shift in range(smallest, MAX_SLOPE_SHIFT + 1):
        values, slopes = lines.tried(shift) if lines.short else lines.nearest(shift)
        loss = lines.loss(values, slopes, shift)
        if found is not None and loss >= found[0]:
            break
        found = loss, values, slopes, shift
    assert found is not None
    return found[1:]


class _Lines:
    """The best line of every run before its integers are chosen, and two ways to choose them.

    value, slope: float64 [P].
    """

    def __init__(self, target: np.ndarray, weight: np.ndarray, starts: np.ndarray, out: QParams) -> None:
        self.target, self.weight, self.out, self.reach = target, weight, out, Reach.of(target, out)
        self.starts, self.stops = starts, np.append(starts[1:], target.size)
        self.short = target.size <= SHORT
        if self.short:
            self.value, self.slope = self._best_candidates()
        else:
            sums = LineLoss(target, weight, out)
            self.value, self.slope = sums.lines(self.starts, self.stops)
            self.moments = sums.moments(self.starts, self.stops)[:3]
        # The slope of the function over each run and to its neighbours; any slope fits a run of one input.
        left, right = np.maximum(starts - 1, 0), np.minimum(self.stops, target.size - 1)
        self.chord = (target[right] - target[left]) / np.maximum(right - left, 1)
        self.slope = np.where(self.stops - starts == 1, self.chord, self.slope)

    def _best_candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """The lines that `rounded_losses` took."""
        value, slope = np.empty(self.starts.size), np.empty(self.starts.size)
        for k, (a, b) in enumerate(zip(self.starts.tolist(), self.stops.tolist(), strict=True)):
            values, slopes = candidates(self.target[a:], self.weight[a:], self.reach)
            loss = squares(self.target[a:b], self.weight[a:b], values, slopes, self.reach).sum(axis=1)
            value[k], slope[k] = values[loss.argmin()], slopes[loss.argmin()]
        return value, slope

    def loss(self, values: np.ndarray, slopes: np.ndarray, shift: int) -> float:
        """Weighted squared error of the integers that a table returns for every input."""
        lengths = self.stops - self.starts
        run = np.arange(self.target.size) - np.repeat(self.starts, lengths)
        line = np.repeat(slopes, lengths) * run + np.repeat(values << shift, lengths)
        error = np.clip((line + ((1 << shift) >> 1)) >> shift, self.out.qmin, self.out.qmax) - self.target
        return float((self.weight * error * error).sum())

    def _steps(self, slope: np.ndarray, first: np.ndarray, length: np.ndarray, shift: int) -> np.ndarray:
        """Integer slopes near `slope` (float, already scaled by 2**shift) within every limit. int64.

        first: float64 first values. length: inputs of the run. All of shapes that broadcast.
        """
        room = 2.0**31 - 1.0 - (np.abs(first) + 1.0) * 2.0**shift
        limit = np.minimum(INT16_MAX, room // length)
        x = np.maximum(length - 1, 1)
        low = np.ceil((self.reach.low - first) * 2.0**shift / x)
        high = np.floor((self.reach.high - first) * 2.0**shift / x)
        steps = np.clip(np.floor(slope + 0.5), np.maximum(low, -limit), np.minimum(high, limit))
        return np.asarray(steps, np.int64)

    def tried(self, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Per run the pair of integers that loses least after the final rounding, of those around its line.

        Of several that return the same integers the one whose slope is nearest to the function's: training
        differentiates tables.
        """
        values, slopes = np.empty(self.starts.size, np.int64), np.empty(self.starts.size, np.int64)
        for k, (a, b) in enumerate(zip(self.starts.tolist(), self.stops.tolist(), strict=True)):
            first = self.reach.first(self.value[k] + VALUES)[:, None]
            # Slopes that end where the line ends, or up to one output LSB beside it.
            wanted = self.slope[k] + (SLOPES - (first - self.value[k])) / (b - a)
            wanted = np.hstack((wanted, np.full_like(first, self.chord[k])))
            steps = self._steps(wanted * 2.0**shift, first, np.array(b - a), shift).ravel()
            first = np.repeat(first[:, 0], wanted.shape[1])
            slope = steps * 2.0**-shift
            loss = squares(self.target[a:b], self.weight[a:b], first, slope, self.reach).sum(axis=1)
            best = np.lexsort((np.abs(slope - self.chord[k]), loss > loss.min() * (1.0 + 1e-9)))[0]
            values[k], slopes[k] = first[best], steps[best]
        return values, slopes

    def nearest(self, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Per run the pair of integers with the least loss before the final rounding: a quadratic form in both."""
        w, x, xx = (m[:, None, None] for m in self.moments)
        length = (self.stops - self.starts)[:, None, None]
        # A line that leaves the reach of outputs at its end gets a first value that lets it end there.
        over = self.value + self.slope * (length[:, 0, 0] - 1)
        over = (over - np.clip(over, self.reach.low, self.reach.high))[:, None, None]
        from_end = xx - 2.0 * (length - 1) * x + (length - 1) ** 2 * w
        pinned = self.value[:, None, None] - over * (xx - (length - 1) * x) / np.where(
            from_end > 0.0, from_end, 1.0
        )
        # [pieces, values, slopes]: a slope makes up for the rounding of its value, and is rounded down or up.
        first = self.reach.first(pinned + np.arange(-1.0, 2.0)[:, None])
        off = first - self.value[:, None, None]
        wanted = (self.slope[:, None, None] - off * x / np.where(xx > 0.0, xx, 1.0)) * 2.0**shift
        steps = self._steps(wanted + np.array([-0.5, 0.5]), first, length, shift)
        tilt = steps * 2.0**-shift - self.slope[:, None, None]
        loss = (w * off * off + 2.0 * x * off * tilt + xx * tilt * tilt).reshape(self.starts.size, -1)
        v, m = np.unravel_index(loss.argmin(axis=1), steps.shape[1:])
        pieces = np.arange(self.starts.size)
        return first[pieces, v, 0].astype(np.int64), steps[pieces, v, m]
