"""Rounding of weights that keeps a layer's outputs, not its weights, close.

Three corrections that cost nothing at run time, all from the statistics of the layer's operand over the
calibration data: least squares absorbs the rounding of the operand itself in the weights; the rounding error
of each column is made up for by the columns not rounded yet, and a few sweeps over all columns then improve
every choice given the others; what is left of the mean error goes in the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irnn_tvm.ops.qparams import QParams

LARGEST_OPERAND = 2048  # beyond this many inputs the K x K statistics cost too much: plain rounding
# Candidates for what is added to the covariance's diagonal, as a share of its mean: how far it is trusted.
DAMPINGS = (0.1, 0.3)
FLOOR = 1e-3  # of the operand's mean square: directions that were never seen keep their weights
WORTHWHILE = 0.97  # a candidate must lower the error on unseen sequences to this share of plain rounding's
SAMPLED_ROWS = 64
BLOCK = 32


class Fold:
    """First and second moments of an operand x and of its rounded version q over one half of the sequences."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.sum_x = np.zeros(size)
        self.sum_q = np.zeros(size)
        self.sum_xx = np.zeros((size, size))
        self.sum_xq = np.zeros((size, size))
        self.sum_qq = np.zeros((size, size))

    def update(self, x: Tensor, q: Tensor) -> None:
        """Adds vectors [n, K] in float64."""
        self.count += x.shape[0]
        self.sum_x += x.sum(dim=0).numpy()
        self.sum_q += q.sum(dim=0).numpy()
        self.sum_xx += (x.T @ x).numpy()
        self.sum_xq += (x.T @ q).numpy()
        self.sum_qq += (q.T @ q).numpy()

    def __add__(self, other: Fold) -> Fold:
        total = Fold(self.sum_x.size)
        for name in ("count", "sum_x", "sum_q", "sum_xx", "sum_xq", "sum_qq"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    def statistics(self, damping: float, absorbs: bool) -> Statistics | None:
        """None when there is nothing to learn from."""
        size = self.sum_x.size
        if self.count < 2:
            return None
        mean_x, mean_q = self.sum_x / self.count, self.sum_q / self.count
        cross = self.sum_xq / self.count - np.outer(mean_x, mean_q)
        own = self.sum_qq / self.count - np.outer(mean_q, mean_q)
        square = float(np.trace(self.sum_qq)) / self.count / size
        if not square > 0.0:
            return None
        diagonal = (damping * max(float(np.trace(own)) / size, 0.0) + FLOOR * square) * np.eye(size)
        return Statistics(mean_x, mean_q, cross + diagonal, own + diagonal, absorbs)


class Moments:
    """What an operand looked like in calibration, in two halves that share no sequence: what one half
    suggests is believed when it helps on the other.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.folds = (Fold(size), Fold(size)) if size <= LARGEST_OPERAND else None

    def update(self, values: Tensor, grid: QParams, axis: int) -> None:
        """Adds float vectors [..., K]. grid: how the layer sees them; axis: along which they are independent."""
        if self.folds is None:
            return
        x = values.detach().double().cpu()
        q = torch.clamp(torch.floor(x / grid.scale + 0.5) + grid.zero_point, grid.qmin, grid.qmax)
        q = (q - grid.zero_point) * grid.scale
        # A single sequence is no use for checking; it counts for the half that has seen less.
        size = x.shape[axis] if x.dim() > 1 else 1
        first = 0 if self.folds[0].count <= self.folds[1].count else 1
        for half in (0, 1):
            chosen = range(half, size, 2)
            if len(chosen):
                pick = torch.tensor(list(chosen))
                parts = (t.reshape(1, -1) if t.dim() == 1 else t.index_select(axis, pick) for t in (x, q))
                self.folds[(first + half) % 2].update(*(p.reshape(-1, self.size) for p in parts))

    def statistics(self, weight: np.ndarray) -> Statistics | None:
        """The statistics to round `weight` [N, K] with: those of the candidate whose roundings generalise
        best from either half to the other, or None where none is better than plain rounding.
        """
        if self.folds is None or min(fold.count for fold in self.folds) < 2:
            return None
        sample = weight[:: max(1, weight.shape[0] // SAMPLED_ROWS)]
        best: tuple[float, bool] | None = None
        lowest = WORTHWHILE * sum(_error(sample, None, *pair) for pair in self._pairs())
        for damping in DAMPINGS:
            for absorbs in (False, True):
                error = sum(
                    _error(sample, seen.statistics(damping, absorbs), seen, unseen)
                    for seen, unseen in self._pairs()
                )
                if error < lowest:
                    lowest, best = error, (damping, absorbs)
        return (self.folds[0] + self.folds[1]).statistics(*best) if best is not None else None

    def _pairs(self) -> tuple[tuple[Fold, Fold], tuple[Fold, Fold]]:
        assert self.folds is not None
        return (self.folds[0], self.folds[1]), (self.folds[1], self.folds[0])


@dataclass(frozen=True)
class Statistics:
    """Means [K] and damped covariances [K, K]: of x with q, and of q with itself (positive definite).
    absorbs: whether the weights should make up for the rounding of the operand.
    """

    mean_x: np.ndarray
    mean_q: np.ndarray
    cross: np.ndarray
    own: np.ndarray
    absorbs: bool


def _error(weight: np.ndarray, statistics: Statistics | None, seen: Fold, unseen: Fold) -> float:
    """Mean squared output error on `unseen` of weights rounded with statistics from `seen`."""
    target = absorb(weight, statistics)
    amax = np.abs(target).max(axis=1)
    step = np.where(amax > 0, amax, 1.0) / 127.0
    rounded = round_weights(target, step, statistics, sweep=False) * step[:, None]
    shift = mean_shift(weight, rounded, statistics)
    n = unseen.count
    # E |rounded q + shift - weight x|**2
    mean = rounded @ unseen.sum_q / n - weight @ unseen.sum_x / n
    power = _quadratic(rounded, unseen.sum_qq, rounded) + _quadratic(weight, unseen.sum_xx, weight)
    power = (power - 2.0 * _quadratic(weight, unseen.sum_xq, rounded)) / n
    return float(power + np.sum(2.0 * shift * mean + np.square(shift)))


def _quadratic(a: np.ndarray, middle: np.ndarray, b: np.ndarray) -> float:
    """Sum over rows of a[i] middle b[i]."""
    left, right = torch.from_numpy(np.ascontiguousarray(a)), torch.from_numpy(np.ascontiguousarray(b))
    return float(((left @ torch.from_numpy(middle)) * right).sum())


def absorb(weight: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """Weights [N, K] that map the rounded operand to what `weight` makes of the exact one, in the least
    squares sense, up to the mean (see `mean_shift`)."""
    if statistics is None or not statistics.absorbs:
        return weight
    own, cross = torch.from_numpy(statistics.own), torch.from_numpy(statistics.cross)
    factor = torch.linalg.cholesky(own)
    solved = torch.cholesky_solve(cross.T @ torch.from_numpy(np.ascontiguousarray(weight)).T, factor)
    return np.ascontiguousarray(solved.T.numpy())


def round_weights(
    weight: np.ndarray, step: np.ndarray, statistics: Statistics | None, sweep: bool = True
) -> np.ndarray:
    """int8 [N, K] with real weight = q * step[n], chosen to keep the covariance-weighted output error small.
    sweep: re-round every column once more given all others.
    """
    if statistics is None:
        return np.clip(np.floor(weight / step[:, None] + 0.5), -127, 127).astype(np.int8)
    order = np.argsort(-np.diag(statistics.own), kind="stable")
    scaled = torch.from_numpy(np.ascontiguousarray((weight[:, order] / step[:, None]).T))
    covariance = torch.from_numpy(statistics.own[np.ix_(order, order)])
    q = _feed_errors_forward(scaled, covariance)
    if sweep:
        q = _sweep(scaled, q, covariance)
    result = np.empty(weight.shape, np.int8)
    result[:, order] = q.numpy().T.astype(np.int8)
    return result


def mean_shift(exact: np.ndarray, rounded: np.ndarray, statistics: Statistics | None) -> np.ndarray | float:
    """What the bias must gain so that the mean output stays: exact weights [N, K] times the mean of x, less
    rounded weights (real) times the mean of q."""
    if statistics is None:
        return 0.0
    return np.asarray(exact @ statistics.mean_x - rounded @ statistics.mean_q)


def _nearest(values: Tensor) -> Tensor:
    return torch.floor(values + 0.5).clamp(-127, 127)


def _feed_errors_forward(weight: Tensor, covariance: Tensor) -> Tensor:
    """Rounds input by input; each one's error is compensated by those after it. weight [K, N] -> [K, N]."""
    # The inverse covariance is U^T U with U upper triangular; U^-1 is the Cholesky factor in reversed order.
    reverse = torch.linalg.cholesky(covariance.flip(0, 1)).flip(0, 1)
    size = weight.shape[0]
    eye = torch.eye(size, dtype=covariance.dtype)
    upper = torch.linalg.solve_triangular(reverse, eye, upper=True).float()
    work, q = weight.float(), torch.empty(weight.shape, dtype=torch.float32)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        errors = torch.empty_like(work[start:stop])
        for j in range(start, stop):
            q[j] = _nearest(work[j])
            errors[j - start] = (work[j] - q[j]) / upper[j, j]
            work[j:stop].addr_(upper[j, j:stop], errors[j - start], alpha=-1.0)
        work[stop:] -= upper[start:stop, stop:].T @ errors
    return q


def _sweep(weight: Tensor, q: Tensor, covariance: Tensor) -> Tensor:
    """Re-rounds every input's weights given all others. weight, q [K, N] -> [K, N]."""
    size = weight.shape[0]
    fine = covariance.float()
    slope = fine @ (q.double() - weight).float()
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        before = q[start:stop].clone()
        local = slope[start:stop].clone()
        for j in range(start, stop):
            best = _nearest(q[j] - local[j - start] / fine[j, j])
            local.addr_(fine[start:stop, j], best - q[j])
            q[j] = best
        slope += fine[:, start:stop] @ (q[start:stop] - before)
    return q
