"""Properties of fitted tables and of fixed-point multipliers."""

from __future__ import annotations

import numpy as np
import pytest
import scalar
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import irnn_tvm.ops as ops
from irnn_tvm.errors import QuantizationError
from irnn_tvm.ops.qparams import QParams, multiplier


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


IN8, IN16 = QParams(6 / 127, 0, 8), QParams(8 / 32767, 0, 16)
SIGMOID8, SIGMOID16 = QParams(2**-8, -128, 8), QParams(2**-15, 0, 16)
TANH8, TANH16 = QParams(2**-7, 0, 8), QParams(2**-15, 0, 16)


def _error(fn: object, pieces: int, inp: QParams, out: QParams) -> np.ndarray:
    """Error in output LSBs at every input, against the function rounded nowhere."""
    table = ops.fit(fn, pieces, inp, out)  # type: ignore[arg-type]
    grid = np.arange(inp.qmin, inp.qmax + 1)
    exact = fn(inp.dequantize(grid)) / out.scale + out.zero_point  # type: ignore[operator]
    return np.abs(table.evaluate(grid, out.bits) - np.clip(exact, out.qmin, out.qmax))


@pytest.mark.parametrize(
    ("fn", "pieces", "inp", "out", "worst"),
    [
        pytest.param(sigmoid, 16, IN8, SIGMOID8, 0.75, id="sigmoid-8bit-16"),
        pytest.param(np.tanh, 16, IN8, TANH8, 0.75, id="tanh-8bit-16"),
        pytest.param(sigmoid, 32, IN8, SIGMOID8, 0.5, id="sigmoid-8bit-32"),
        pytest.param(np.tanh, 32, IN8, TANH8, 0.5, id="tanh-8bit-32"),
        pytest.param(sigmoid, 32, IN16, SIGMOID16, 20, id="sigmoid-16bit-32"),
        pytest.param(np.tanh, 64, IN16, TANH16, 11, id="tanh-16bit-64"),
    ],
)
def test_error_is_bounded(fn: object, pieces: int, inp: QParams, out: QParams, worst: float) -> None:
    assert _error(fn, pieces, inp, out).max() <= worst


def test_more_pieces_are_better() -> None:
    errors = [_error(np.tanh, pieces, IN16, TANH16).mean() for pieces in (8, 16, 32, 64)]
    assert errors == sorted(errors, reverse=True)


def test_a_linear_function_is_exact_with_one_piece() -> None:
    qp = QParams(1 / 64, 0, 8)
    table = ops.fit(lambda x: x, 1, qp, qp)
    grid = np.arange(-128, 128)
    assert table.table.shape == (3, 1)
    assert table.evaluate(grid, 8).tolist() == grid.tolist()


def test_a_jump_over_the_whole_output_is_exact() -> None:
    """No int16 slope climbs 65535 steps at once; a piece that starts there does."""
    out = QParams(1e-6, 0, 16)
    grid = np.arange(-32768, 32768)
    exact = np.where(grid < 0, -32768, np.where(grid > 0, 32767, 0))
    table = ops.fit(lambda x: x * 1e6, 4, IN16, out)
    assert (table.evaluate(grid, 16) == exact).all()
    narrow = ops.fit(lambda x: x * 1e6, 4, IN8, out)
    assert (narrow.evaluate(grid[::256] // 256, 16) == exact[::256]).all()


def test_a_function_that_is_too_steep_everywhere_still_gives_a_valid_table() -> None:
    """Slopes saturate at int16; the error is what `irnn_tvm.pwl.error` says."""
    table = ops.fit(lambda x: 1e9 * np.cos(np.pi * x / IN8.scale), 100, IN8, SIGMOID16)
    assert table.table.shape == (3, 128)
    assert (np.diff(table.table[0].astype(int)) >= 0).all()


def test_as_many_pieces_as_inputs_are_a_lookup_table() -> None:
    values = np.random.default_rng(0).normal(size=256)
    table = ops.fit(lambda x: values, 256, IN8, TANH8)
    assert table.evaluate(np.arange(-128, 128), 8).tolist() == TANH8.quantize(values).tolist()


def test_no_piece_is_wasted_on_a_line() -> None:
    """Pieces that would not lower the error stay unused, at the largest input."""
    qp = QParams(1 / 64, 0, 16)
    table = ops.fit(lambda x: x, 16, qp, qp).table
    assert (table[0, 1:] == 32767).all()


def test_table_layout() -> None:
    """Knots ascend from the smallest input, unused pieces start at the largest one, shapes are powers of two."""
    table = ops.fit(np.tanh, 11, IN8, TANH8).table
    assert table.shape == (3, 16)
    assert table.dtype == np.int16
    assert table[0, 0] == -128
    assert (np.diff(table[0].astype(int)) >= 0).all()
    assert (table[0, 11:] == 127).all()
    assert (table[1, 11:] == 0).all()


def test_lines_stay_within_int32() -> None:
    for fn, out in ((np.tanh, TANH16), (sigmoid, SIGMOID16), (np.exp, QParams(0.1, 0, 16))):
        fitted = ops.fit(fn, 32, IN16, out)
        knots, slopes, values = fitted.table.astype(np.int64)
        ends = np.append(knots[1:], 32767)
        reach = np.abs(slopes) * (ends - knots) + (np.abs(values) << fitted.shift) + (1 << fitted.shift)
        assert reach.max() < 2**31


def test_the_histogram_moves_accuracy_to_where_the_data_is() -> None:
    grid = np.arange(-128, 128)
    seen = np.abs(grid) < 20
    plain, weighted = ops.fit(np.tanh, 6, IN8, TANH16), ops.fit(np.tanh, 6, IN8, TANH16, seen.astype(float))
    exact = np.tanh(IN8.dequantize(grid)) / TANH16.scale

    def mean_error(table: ops.PwlTable) -> float:
        return float(np.abs(table.evaluate(grid, 16) - exact)[seen].mean())

    assert mean_error(weighted) < mean_error(plain)


@given(
    knots=st.lists(st.integers(-32767, 32767), min_size=3, max_size=3, unique=True),
    slopes=st.lists(st.integers(-32768, 32767), min_size=4, max_size=4),
    values=st.lists(st.integers(-32768, 32767), min_size=4, max_size=4),
    shift=st.integers(0, 14),
    q=st.lists(st.integers(-32768, 32767), min_size=1, max_size=30),
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_evaluation(knots: list[int], slopes: list[int], values: list[int], shift: int, q: list[int]) -> None:
    """Reference operator, PwlTable.evaluate and the scalar formula agree on arbitrary tables."""
    table = ([-32768, *sorted(knots)], slopes, values)
    rows = torch.tensor(table, dtype=torch.int16)
    expected = [scalar.pwl(v, table, shift, 16) for v in q]
    assert ops.pwl(torch.tensor(q, dtype=torch.int16), rows, shift, 16).tolist() == expected
    assert ops.PwlTable(rows.numpy(), shift).evaluate(np.array(q), 16).tolist() == expected


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ops.fit(np.tanh, 0, IN8, TANH8), "0 PWL pieces"),
        (lambda: ops.fit(np.tanh, 257, IN8, TANH8), "257 PWL pieces"),
        (lambda: ops.fit(np.log, 4, IN8, TANH8), "not a number"),
        (lambda: ops.fit(np.tanh, 4, QParams(1.0, 0, 32), TANH8), "8- or 16-bit"),
        (lambda: ops.fit(np.tanh, 4, IN8, TANH8, np.zeros(256)), "histogram"),
        (lambda: ops.fit(np.tanh, 4, IN8, TANH8, np.ones(7)), "256 finite weights"),
        (lambda: QParams(0.0), "scale 0.0"),
        (lambda: QParams(float("nan")), "scale nan"),
        (lambda: QParams(1.0, 200, 8), "zero point 200"),
        (lambda: QParams(1.0, 0, 12), "bits=12"),
        (lambda: multiplier(np.array([])), "positive"),
        (lambda: multiplier(-1.0), "positive"),
        (lambda: multiplier(2.0**31), "too large"),
    ],
)
def test_bad_parameters(call: object, match: str) -> None:
    with pytest.raises(QuantizationError, match=match):
        call()  # type: ignore[operator]


@given(st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=8))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_multipliers(factors: list[float]) -> None:
    """All within 31 bits, the largest uses at least 30 of them unless the shift is at its limit, error below 2**-30."""
    mult, shift = multiplier(np.array(factors))
    assert 1 <= shift <= 62
    assert mult.min() >= 1
    assert mult.max() < 2**31
    largest = max(factors)
    assert mult.max() >= 2**30 or shift == 62
    worst = max(abs(int(m) / 2**shift - f) for m, f in zip(mult, factors, strict=True))
    assert worst <= max(largest * 2.0**-30, 2.0**-shift)
