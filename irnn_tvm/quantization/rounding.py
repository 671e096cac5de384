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
DAMPING = 0.1  # of the mean square of the operand: directions that were hardly seen keep their weights
BLOCK = 64
SWEEPS = 2


class Moments:
    """First and second moments of an operand x and of its rounded version q, over all calibration vectors."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.sum_x = np.zeros(size)
        self.sum_q = np.zeros(size)
        self.sum_xq = np.zeros((size, size)) if size <= LARGEST_OPERAND else None
        self.sum_qq = np.zeros((size, size)) if size <= LARGEST_OPERAND else None

    def update(self, values: Tensor, grid: QParams) -> None:
        """Adds float vectors [..., K]; grid: how the layer sees them."""
        if self.sum_xq is None or self.sum_qq is None:
            return
        x = values.detach().double().reshape(-1, self.size).cpu()
        q = torch.clamp(torch.floor(x / grid.scale + 0.5) + grid.zero_point, grid.qmin, grid.qmax)
        q = (q - grid.zero_point) * grid.scale
        self.count += x.shape[0]
        self.sum_x += x.sum(dim=0).numpy()
        self.sum_q += q.sum(dim=0).numpy()
        self.sum_xq += (x.T @ q).numpy()
        self.sum_qq += (q.T @ q).numpy()

    def statistics(self) -> Statistics | None:
        """None when nothing useful was seen."""
        if self.sum_xq is None or self.sum_qq is None or self.count < 2:
            return None
        mean_x, mean_q = self.sum_x / self.count, self.sum_q / self.count
        square = float(np.trace(self.sum_qq)) / self.count / self.size
        if not square > 0.0:
            return None
        damping = DAMPING * square * np.eye(self.size)
        return Statistics(
            mean_x,
            mean_q,
            self.sum_xq / self.count - np.outer(mean_x, mean_q) + damping,
            self.sum_qq / self.count - np.outer(mean_q, mean_q) + damping,
        )


@dataclass(frozen=True)
class Statistics:
    """Means [K] and damped covariances [K, K]: of x with q, and of q with itself (positive definite)."""

    mean_x: np.ndarray
    mean_q: np.ndarray
    cross: np.ndarray
    own: np.ndarray


def absorb(weight: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """Weights [N, K] that map the rounded operand to what `weight` makes of the exact one, in the least
    squares sense, up to the mean (see `mean_shift`).
    """
    if statistics is None:
        return weight
    return np.asarray(np.linalg.solve(statistics.own, statistics.cross.T @ weight.T).T)


def round_weights(weight: np.ndarray, step: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """int8 [N, K] with real weight = q * step[n], chosen to keep the covariance-weighted output error small."""
    if statistics is None:
        return np.clip(np.floor(weight / step[:, None] + 0.5), -127, 127).astype(np.int8)
    order = np.argsort(-np.diag(statistics.own), kind="stable")
    scaled = weight[:, order] / step[:, None]
    covariance = statistics.own[np.ix_(order, order)]
    q = _sweep(scaled, _feed_errors_forward(scaled, covariance), covariance)
    result = np.empty_like(q)
    result[:, order] = q
    return result.astype(np.int8)


def mean_shift(exact: np.ndarray, rounded: np.ndarray, statistics: Statistics | None) -> np.ndarray | float:
    """What the bias must gain so that the mean output stays: exact weights [N, K] times the mean of x, less
    rounded weights (real) times the mean of q.
    """
    if statistics is None:
        return 0.0
    return np.asarray(exact @ statistics.mean_x - rounded @ statistics.mean_q)


def _feed_errors_forward(weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Rounds column by column; each column's error is compensated by the columns after it."""
    upper = np.linalg.cholesky(np.linalg.inv(covariance)).T
    work, q = weight.copy(), np.empty_like(weight)
    size = weight.shape[1]
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        errors = np.empty((weight.shape[0], stop - start))
        for j in range(start, stop):
            q[:, j] = np.clip(np.floor(work[:, j] + 0.5), -127, 127)
            errors[:, j - start] = (work[:, j] - q[:, j]) / upper[j, j]
            work[:, j:stop] -= np.outer(errors[:, j - start], upper[j, j:stop])
        work[:, stop:] -= errors @ upper[start:stop, stop:]
    return q


def _sweep(weight: np.ndarray, q: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Re-rounds every column given all others."""
    size = weight.shape[1]
    slope = (q - weight) @ covariance
    for _ in range(SWEEPS):
        changed = False
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            before = q[:, start:stop].copy()
            local = slope[:, start:stop].copy()
            for j in range(start, stop):
                best = np.clip(np.floor(q[:, j] - local[:, j - start] / covariance[j, j] + 0.5), -127, 127)
                local += np.outer(best - q[:, j], covariance[j, start:stop])
                q[:, j] = best
            step = q[:, start:stop] - before
            if step.any():
                changed = True
                slope += step @ covariance[start:stop]
        if not changed:
            break
    return q
