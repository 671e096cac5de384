"""Errors, baselines and the goals of the study."""

from __future__ import annotations

import json
import subprocess
import sys
from math import exp
from pathlib import Path

import numpy as np
import pytest
from pwl_samples import IN8, IN16, OUT8, OUT16, bumps, wavy

import irnn_tvm
from irnn_tvm import pwl
from irnn_tvm.pwl.study import gain_limit

ROOT = Path(__file__).resolve().parents[2]


def test_the_module_is_reached_from_the_package() -> None:
    assert irnn_tvm.pwl is pwl
    assert all(getattr(pwl, name) is not None for name in pwl.__all__)


@pytest.mark.parametrize("method", [pwl.fit, pwl.uniform, pwl.greedy])
def test_error_is_that_of_every_input_in_turn(method: object) -> None:
    table = method(pwl.FUNCTIONS["sigmoid"].fn, 7, IN8, OUT8)  # type: ignore[operator]
    knots, slopes, values = table.table.astype(int).tolist()
    wrong = []
    for q in range(-128, 128):
        piece = max(k for k in range(len(knots)) if knots[k] <= q)
        line = slopes[piece] * (q - knots[piece]) + (values[piece] << table.shift)
        y = min(max((line + (1 << (table.shift - 1))) >> table.shift, -128), 127)
        exact = 1 / (1 + exp(-IN8.scale * q)) / OUT8.scale + OUT8.zero_point
        wrong.append(y - min(max(exact, -128.0), 127.0))
    found = pwl.error_per_input(table, pwl.FUNCTIONS["sigmoid"].fn, IN8, OUT8)
    assert found.tolist() == pytest.approx(wrong, abs=1e-9)
    worst, mean = pwl.error(table, pwl.FUNCTIONS["sigmoid"].fn, IN8, OUT8)
    assert worst == pytest.approx(max(map(abs, wrong)))
    assert mean == pytest.approx(sum(map(abs, wrong)) / 256)


def test_the_histogram_weighs_the_mean_alone() -> None:
    table = pwl.fit(np.tanh, 4, IN8, OUT8)
    seen = (np.abs(np.arange(-128, 128)) < 9).astype(float)
    wrong = np.abs(pwl.error_per_input(table, np.tanh, IN8, OUT8))
    found = pwl.error(table, np.tanh, IN8, OUT8, seen)
    assert found.mean == pytest.approx(wrong[seen > 0].mean())
    assert found.max == wrong.max()


@pytest.mark.parametrize(("inp", "out"), [(IN8, OUT8), (IN8, OUT16), (IN16, OUT8), (IN16, OUT16)])
def test_a_lookup_table_is_the_rounded_function(inp: pwl.QParams, out: pwl.QParams) -> None:
    table = pwl.lookup(np.tanh, inp, out)
    assert table.table.size == 1 << inp.bits
    assert table.table.dtype == (np.int8 if out.bits == 8 else np.int16)
    q = np.arange(inp.qmin, inp.qmax + 1)
    assert (table.evaluate(q, out.bits) == out.quantize(np.tanh(inp.dequantize(q)))).all()
    assert (
        table.evaluate(np.array([5, -7]), out.bits).tolist()
        == out.quantize(np.tanh(inp.scale * np.array([5, -7]))).tolist()
    )
    assert pwl.error(table, np.tanh, inp, out).max <= 0.5


def test_no_table_has_a_smaller_mean_error_than_the_lookup_table() -> None:
    for seed in range(3):
        least = pwl.error(pwl.lookup(wavy(seed), IN8, OUT8), wavy(seed), IN8, OUT8, bumps(seed))
        for pieces in (4, 32, 128):
            found = pwl.error(pwl.fit(wavy(seed), pieces, IN8, OUT8), wavy(seed), IN8, OUT8, bumps(seed))
            assert found.mean >= least.mean


def test_uniform_knots_are_where_they_should_be() -> None:
    table = pwl.uniform(np.tanh, 8, IN8, OUT8)
    assert table.table[0].tolist() == list(range(-128, 128, 32))


@pytest.mark.parametrize("limit", [None, 8.0])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_sixteen_pieces_are_within_one_lsb_at_8_bits(name: str, limit: float | None) -> None:
    fn, (inp, out) = pwl.FUNCTIONS[name].fn, pwl.FUNCTIONS[name].grids(8, limit)
    assert pwl.error(pwl.fit(fn, 16, inp, out), fn, inp, out).max <= 0.75


@pytest.mark.parametrize(("name", "limit"), [("sigmoid", None), ("tanh", None), ("tanh", 8.0)])
def test_adaptive_knots_halve_the_mean_error_at_16_bits(name: str, limit: float | None) -> None:
    fn, (inp, out) = pwl.FUNCTIONS[name].fn, pwl.FUNCTIONS[name].grids(16, limit)
    adaptive, uniform = (method(fn, 16, inp, out) for method in (pwl.fit, pwl.uniform))
    assert pwl.error(uniform, fn, inp, out).mean >= 2 * pwl.error(adaptive, fn, inp, out).mean


def test_the_limit_of_what_knots_gain() -> None:
    """A parabola bends evenly and gains nothing; one that bends on a tenth of its range alone gains 100 times."""
    inp = pwl.QParams(1 / 32767, 0, 16)
    assert gain_limit(lambda x: x * x, inp) == pytest.approx(1.0, rel=1e-3)
    assert gain_limit(lambda x: np.maximum(x - 0.8, 0.0) ** 2, inp) == pytest.approx(100.0, rel=0.05)


def test_ranges_of_the_study() -> None:
    for name, function in pwl.FUNCTIONS.items():
        for bits in (8, 16):
            inp, out = function.grids(bits)
            low, high = (float(inp.dequantize(q)) for q in (inp.qmin, inp.qmax))
            assert (low, high) == pytest.approx(function.inputs[bits], abs=1.01 * inp.scale), name
            assert (inp.bits, out.bits) == (bits, bits)
            exact = (
                function.fn(inp.dequantize(np.arange(inp.qmin, inp.qmax + 1))) / out.scale + out.zero_point
            )
            assert exact.min() >= out.qmin - 1, name
            assert exact.max() <= out.qmax + 1, name


def test_the_page_holds_what_the_benchmark_measures() -> None:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "pwl_study.py"),
        "--json",
        "--bits",
        "8",
        "--pieces",
        "16",
    ]
    done = subprocess.run([*command, "--function", "tanh"], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["high"], r["weighted"]) for r in rows] == [(3.12, False), (8.0, False), (3.12, True)]
    page = (ROOT / "docs" / "pwl.md").read_text(encoding="utf-8")
    for r in rows:
        cells = (
            f"{r[f'{m}_max']:.2f}, {r[f'{m}_mean']:.2f}" for m in ("adaptive", "greedy", "uniform", "lookup")
        )
        assert " | ".join(("8", f"{r['low']:.4g}..{r['high']:.4g}", "16", *cells)) in page
    for figure in ("tanh_16bit_16", "sigmoid_8bit_16", "gelu_16bit_8"):
        assert f"figures/{figure}.png" in page
        assert (ROOT / "docs" / "figures" / f"{figure}.png").is_file()
