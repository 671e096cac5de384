"""Where the pieces of a piecewise-linear table start.

`best_starts` is what `fit` uses: greedy removal, the paper's method, thins the knots out to a few hundred candidates,
and dynamic programming picks the best set of them. `greedy_starts` is the paper's method to the end, `uniform_starts`
knows nothing of the function; docs/pwl.md compares the three.
"""

from __future__ import annotations

import heapq

import numpy as np

from irnn_tvm.ops.pwl_lines import SHORT, LineLoss, rounded_losses
from irnn_tvm.ops.qparams import QParams

CANDIDATES = 384
SWEEPS = 3


def uniform_starts(size: int, pieces: int) -> np.ndarray:
    """Starts of `pieces` runs of equal length (to one input)."""
    return np.arange(pieces) * size // pieces


def best_starts(target: np.ndarray, weight: np.ndarray, pieces: int, out: QParams) -> np.ndarray:
    """Starts of at most `pieces` runs whose best lines lose least together.

    Up to 256 inputs: exact, with the final rounding in the loss. Longer grids: exact among the candidates, then every
    start moves to its best place between its neighbours' candidates.
    """
    size = target.size
    if size <= SHORT:
        return _shortest_path(rounded_losses(target, weight, out), pieces)
    loss = LineLoss(target, weight, out)
    points = thin_out(target, weight, max(CANDIDATES, pieces + CANDIDATES // 3))
    points[-1] = size  # a run ends before the next start
    a, b = np.triu_indices(points.size, 1)
    losses = np.full((points.size - 1, points.size), np.inf)
    losses[a, b] = loss.many(points[a], points[b])
    starts = points[_shortest_path(losses, pieces)]
    return _settle(loss, starts, size)


def greedy_starts(target: np.ndarray, weight: np.ndarray, pieces: int) -> np.ndarray:
    """Starts that survive when the knot that costs least is dropped until `pieces` segments are left.

    The loss of a knot is the weighted squared error of the chord that would replace it.
    """
    chord = _ChordLoss(target, weight)
    alive = thin_out(target, weight, max(4 * (pieces + 1), 64))
    return _drop_one_by_one(chord, alive, pieces + 1)[:-1]


def thin_out(target: np.ndarray, weight: np.ndarray, keep: int) -> np.ndarray:
    """Indices of at most max(keep, 3) knots, the first and the last input among them.

    Greedy removal in rounds: a knot that costs less than both neighbours is dropped before either of them whatever
    happens elsewhere, so all such knots in the cheaper half go at once. Losses below float64 resolution count as ties.
    """
    chord = _ChordLoss(target, weight)
    alive = np.arange(target.size)
    while alive.size > max(keep, 3):
        cost = chord.many(alive[:-2], alive[2:])
        around = np.concatenate(([np.inf], cost, [np.inf]))
        left, right = around[:-2], around[2:]
        # Of neighbours that cost the same every second one goes, or a flat stretch would lose one knot per round.
        wins = np.arange(cost.size) % 2 == 1
        lowest = (cost < left) | (wins & (cost == left))
        lowest &= (cost < right) | (wins & (cost == right))
        lowest &= cost <= np.median(cost)
        drop = np.flatnonzero(lowest)
        if drop.size == 0:
            drop = np.array([int(cost.argmin())])
        drop = drop[np.argsort(cost[drop], kind="stable")][: alive.size - keep]
        alive = np.delete(alive, drop + 1)
    return alive


def _shortest_path(losses: np.ndarray, pieces: int) -> np.ndarray:
    """First points of at most `pieces` runs that cover all points at the least total loss.

    losses: float64 [n, n+1], of the run a..b-1 at [a, b]. Dynamic programming over the number of runs.
    """
    n = losses.shape[0]
    columns = np.arange(n + 1)
    best, came_from = losses[0], [np.zeros(n + 1, np.int64)]
    for _ in range(1, pieces):
        total = best[:n, None] + losses
        last = total.argmin(axis=0)
        through = total[last, columns]
        better = through < best
        if not better.any():
            break
        came_from.append(np.where(better, last, -1))
        best = np.where(better, through, best)
    starts, end = [], n
    for last in reversed(came_from):
        if last[end] >= 0:  # else one run fewer is as good for this end
            end = int(last[end])
            starts.append(end)
    return np.array(starts[::-1])


def _settle(loss: LineLoss, starts: np.ndarray, size: int) -> np.ndarray:
    """Moves each start to the place near it where the runs on both sides lose least together, until none moves."""
    reach = size // CANDIDATES
    place = [*starts.tolist(), size]
    for _ in range(SWEEPS):
        moved = False
        for k in range(1, starts.size):
            near = np.arange(max(place[k - 1] + 1, place[k] - reach), min(place[k + 1], place[k] + reach + 1))
            before = loss.many(np.full(near.size, place[k - 1]), near)
            after = loss.many(near, np.full(near.size, place[k + 1]))
            found = int(near[(before + after).argmin()])
            moved, place[k] = moved or found != place[k], found
        if not moved:
            break
    return np.array(place[:-1])


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
