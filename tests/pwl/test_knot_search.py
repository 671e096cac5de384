"""The search for knots and integers against brute force."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pwl_samples import IN8, IN16, OUT8, OUT16, bumps, wavy

from irnn_tvm.ops.pwl_fit import target_on_grid
from irnn_tvm.ops.pwl_integers import integer_lines
from irnn_tvm.ops.pwl_knots import _shortest_path, best_starts, greedy_starts, thin_out, uniform_starts
from irnn_tvm.ops.pwl_lines import LineLoss, rounded_losses
from irnn_tvm.pwl import FUNCTIONS, PwlTable, fit, greedy, uniform


def test_dynamic_programming_finds_the_cheapest_cover() -> None:
    rng = np.random.default_rng(0)
    for n, pieces in ((1, 1), (2, 2), (6, 3), (9, 4), (9, 9)):
        losses = np.where(np.arange(n)[:, None] < np.arange(n + 1), rng.uniform(0, 9, (n, n + 1)), np.inf)
        starts = _shortest_path(losses, pieces)

        def cost(first: tuple[int, ...], losses: np.ndarray = losses, n: int = n) -> float:
            return sum(losses[a, b] for a, b in zip(first, (*first[1:], n), strict=True))

        covers = [(0, *c) for k in range(pieces) for c in combinations(range(1, n), k)]
        assert cost(tuple(starts)) == min(cost(c) for c in covers)
        assert starts.size <= pieces


def test_fewer_pieces_where_more_do_not_help() -> None:
    losses = np.where(np.arange(5)[:, None] < np.arange(6), 1.0, np.inf)
    assert _shortest_path(losses, 4).tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_loss_of_a_run_is_that_of_its_best_line_with_an_integer_first_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, weight = target_on_grid(wavy(seed), IN8, OUT8), bumps(seed) + 0.05
    loss = LineLoss(target, weight, OUT8)
    for _ in range(30):
        a, b = np.sort(rng.choice(257, 2, replace=False))
        x, f, w = np.arange(b - a), target[a:b], weight[a:b]
        best = np.inf
        for value in range(-128, 128):
            slope = (w * x * (f - value)).sum() / max((w * x * x).sum(), 1e-30)
            best = min(best, float((w * (value + slope * x - f) ** 2).sum()))
        low, high = np.floor(target.min()), np.ceil(target.max())
        found = float(loss.many(np.array([a]), np.array([b]))[0])
        # A line that would leave the range of the function is limited, and costs more than the best one.
        assert found >= best * (1 - 1e-6) - 1e-6
        value, slope = (float(v[0]) for v in loss.lines(np.array([a]), np.array([b])))
        if low <= np.floor(value + 0.5) <= high and low <= value + slope * (b - a - 1) <= high:
            assert found == pytest.approx(best, rel=1e-5, abs=1e-5)


def test_loss_of_a_run_on_a_short_grid_counts_the_rounding() -> None:
    """No candidate line may be better than the best over all first values and slopes, nor much worse."""
    target, weight = target_on_grid(np.tanh, IN8, OUT8), np.ones(256)
    losses = rounded_losses(target, weight, OUT8)
    rng = np.random.default_rng(1)
    for _ in range(12):
        a = int(rng.integers(0, 230))
        b = a + int(rng.integers(2, 26))
        x, f = np.arange(b - a), target[a:b]
        values = np.floor(f[0]) + np.arange(-3, 5)
        slopes = np.linspace(-1, 8, 4001)
        lines = np.clip(np.floor(values[:, None, None] + slopes[:, None] * x + 0.5), -128, 127)
        best = ((lines - f) ** 2).sum(axis=2).min()
        assert best - 1e-6 <= losses[a, b] <= 1.3 * best + 0.2


def _naive_greedy(target: np.ndarray, weight: np.ndarray, keep: int) -> list[int]:
    alive = list(range(target.size))
    while len(alive) > keep:
        costs = []
        for k in range(1, len(alive) - 1):
            a, b = alive[k - 1], alive[k + 1]
            x = np.arange(a + 1, b)
            chord = target[a] + (target[b] - target[a]) * (x - a) / (b - a)
            costs.append(float((weight[x] * (chord - target[x]) ** 2).sum()))
        del alive[1 + int(np.argmin(costs))]
    return alive


@pytest.mark.parametrize("seed", range(3))
def test_greedy_knots_are_those_of_dropping_one_after_the_other(seed: int) -> None:
    target, weight = target_on_grid(wavy(seed), IN8, OUT8), bumps(seed) + 0.05
    assert greedy_starts(target, weight, 12).tolist() == _naive_greedy(target, weight, 13)[:-1]


def test_thinning_keeps_the_ends_and_as_many_knots_as_asked() -> None:
    target = target_on_grid(np.tanh, IN16, OUT16)
    for keep in (3, 100, 384):
        kept = thin_out(target, np.ones(target.size), keep)
        assert kept.size == keep
        assert kept[0] == 0
        assert kept[-1] == 65535
        assert (np.diff(kept) > 0).all()


def test_uniform_pieces_have_equal_lengths() -> None:
    assert uniform_starts(256, 8).tolist() == list(range(0, 256, 32))
    lengths = np.diff(np.append(uniform_starts(65536, 11), 65536))
    assert lengths.max() - lengths.min() <= 1


def _loss(table: PwlTable, target: np.ndarray, weight: np.ndarray, low: int, bits: int) -> float:
    found = table.evaluate(np.arange(target.size) + low, bits)
    return float((weight * (found - target) ** 2).sum())


@pytest.mark.parametrize("pieces", [3, 8, 16])
@pytest.mark.parametrize("seed", range(4))
def test_adaptive_knots_lose_least_on_a_short_grid(seed: int, pieces: int) -> None:
    """Under the histogram that the fit is told, and whatever the function."""
    histogram = bumps(seed)
    weight = histogram / histogram.mean() + 0.05
    target = target_on_grid(wavy(seed), IN8, OUT8)
    losses = [
        _loss(method(wavy(seed), pieces, IN8, OUT8, histogram), target, weight, -128, 8)
        for method in (fit, greedy, uniform)
    ]
    assert losses[0] <= min(losses[1:]) * (1 + 1e-6) + 0.5


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "exp", "gelu"])
def test_adaptive_knots_lose_least_at_16_bits(name: str) -> None:
    fn, (inp, out) = FUNCTIONS[name].fn, FUNCTIONS[name].grids(16)
    target = target_on_grid(fn, inp, out)
    losses = [
        _loss(method(fn, 16, inp, out), target, np.ones(65536), -32768, 16)
        for method in (fit, greedy, uniform)
    ]
    assert losses[0] < 0.9 * losses[1]
    assert losses[0] < 0.5 * losses[2]


def test_no_start_moved_a_little_would_be_better() -> None:
    target, weight = target_on_grid(np.tanh, IN16, OUT16), np.ones(65536)
    starts = best_starts(target, weight, 16, OUT16)
    loss = LineLoss(target, weight, OUT16)

    def total(first: np.ndarray) -> float:
        return float(loss.many(first, np.append(first[1:], 65536)).sum())

    best = total(starts)
    for k in range(1, starts.size):
        for step in (-40, -5, 5, 40):
            moved = starts.copy()
            moved[k] += step
            assert total(moved) > best * (1 - 1e-4)


@given(
    seed=st.integers(0, 10_000),
    pieces=st.integers(1, 40),
    weighted=st.booleans(),
    wide=st.booleans(),
    steepness=st.floats(0.01, 300),
)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_every_table_is_valid(seed: int, pieces: int, weighted: bool, wide: bool, steepness: float) -> None:
    """Whatever the function: knots ascend, lines stay within int32, outputs within the function's values."""
    inner, out = wavy(seed), OUT16 if wide else OUT8
    histogram = bumps(seed) if weighted else None
    table = fit(lambda x: inner(x) * steepness, pieces, IN8, out, histogram)
    knots, slopes, values = table.table.astype(np.int64)
    assert table.table.shape == (3, 1 << (pieces - 1).bit_length())
    assert knots[0] == -128
    assert (np.diff(knots) >= 0).all()
    assert 0 <= table.shift <= 14
    lengths = np.append(knots[1:], 127) - knots
    assert (np.abs(slopes) * lengths + (np.abs(values) << table.shift) + (1 << table.shift) < 2**31).all()
    target = target_on_grid(lambda x: inner(x) * steepness, IN8, out)
    found = table.evaluate(np.arange(-128, 128), out.bits)
    assert found.min() >= np.floor(target.min())
    assert found.max() <= np.ceil(target.max())


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_outputs_stay_within_the_function_at_16_bits(name: str) -> None:
    """No sigmoid or exponential is negative, with any number of pieces."""
    fn, (inp, out) = FUNCTIONS[name].fn, FUNCTIONS[name].grids(16)
    target = target_on_grid(fn, inp, out)
    for pieces in (2, 4, 8, 16):
        found = fit(fn, pieces, inp, out).evaluate(np.arange(-32768, 32768), 16)
        assert found.min() >= np.floor(target.min())
        assert found.max() <= np.ceil(target.max())


def test_slopes_of_single_inputs_follow_the_function() -> None:
    """A piece of one input returns the same with any slope; training differentiates the table."""
    target = target_on_grid(lambda x: x, IN8, OUT8)
    values, slopes, shift = integer_lines(target, np.ones(256), np.arange(256), OUT8)
    assert values.tolist() == np.floor(target + 0.5).tolist()
    inside = np.abs(target) < 120  # further out a neighbour is saturated
    assert np.abs(slopes[inside] / 2**shift - IN8.scale / OUT8.scale).max() < 1e-3


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_fit_takes_less_than_a_third_of_a_second(name: str) -> None:
    """Training fits tables again; processor time, as other tests run at the same time."""
    fn, (inp, out) = FUNCTIONS[name].fn, FUNCTIONS[name].grids(16)

    def once() -> float:
        start = time.process_time()
        fit(fn, 32, inp, out)
        return time.process_time() - start

    assert min(once() for _ in range(3)) < 0.3
