"""Norms, pools and selections against plain Python integers, and against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
import scalar_rows
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar import rescale

import irnn_tvm.ops as ops
from irnn_tvm.ops.normalize import (
    MAX_EPS,
    MAX_FEATURES,
    MAX_MAD_EPS,
    integer_reciprocal,
    integer_rsqrt,
    largest_unit,
    layer_norm_units,
    mad_norm_units,
)

UNITS = {"layer": layer_norm_units, "mad": mad_norm_units}
LARGEST_EPS = {"layer": MAX_EPS, "mad": MAX_MAD_EPS}
KINDS = ("layer", "mad")
PRECISE = Fraction(1, 1 << 28)
EDGES = sorted({v for e in range(62) for v in ((1 << e) - 1, 1 << e, (1 << e) + 1) if 1 <= v < 1 << 62})


def _samples() -> list[int]:
    rng = np.random.default_rng(5)
    return EDGES + [int(2.0 ** rng.uniform(0, 61.9)) for _ in range(3000)]


def _root(v: int, bits: int) -> Fraction:
    """sqrt(v), cut off after `bits` fraction bits."""
    return Fraction(isqrt(v << (2 * bits)), 1 << bits)


def test_reciprocal_is_precise_everywhere() -> None:
    values = _samples()
    mantissas, shifts = integer_reciprocal(torch.tensor(values))
    for v, r, shift in zip(values, mantissas.tolist(), shifts.tolist(), strict=True):
        assert (r, shift) == scalar_rows.newton_reciprocal(v)
        assert 1 << 29 <= r <= 1 << 30
        assert abs(Fraction(r * v, 1 << shift) - 1) < PRECISE


def test_square_root_is_precise_everywhere() -> None:
    values = _samples()
    mantissas, shifts = integer_rsqrt(torch.tensor(values))
    for v, r, shift in zip(values, mantissas.tolist(), shifts.tolist(), strict=True):
        assert (r, shift) == scalar_rows.newton_rsqrt(v)
        assert 1 << 29 <= r <= 1 << 30
        # r / 2**shift = (1 + e) / sqrt(v), so its square times v is (1 + e)**2.
        assert abs(Fraction(r * r * v, 1 << (2 * shift)) - 1) < 2 * PRECISE + PRECISE**2


@pytest.mark.parametrize("v", [1, 4, 16, 1 << 20, 1 << 60])
def test_powers_of_two_are_exact(v: int) -> None:
    assert integer_reciprocal(torch.tensor([v]))[0].item() == 1 << 30
    assert integer_rsqrt(torch.tensor([v]))[0].item() == 1 << 30


def _exact_units(kind: str, x: list[int], eps: int) -> list[Fraction]:
    """(x - mean) / deviation by rational arithmetic; the root has 80 fraction bits."""
    n = len(x)
    mean = Fraction(sum(x), n)
    if kind == "mad":
        deviation = sum((abs(v - mean) for v in x), Fraction(0)) / n + Fraction(eps, n * n)
    else:
        squared = sum(((v - mean) ** 2 for v in x), Fraction(0)) / n + Fraction(eps, n * n)
        deviation = _root(squared.numerator * squared.denominator, 80) / squared.denominator
    return [(v - mean) / deviation for v in x]


ROWS = st.tuples(st.sampled_from([8, 16]), st.integers(1, 70)).flatmap(
    lambda a: st.lists(
        st.integers(-(1 << (a[0] - 1)), (1 << (a[0] - 1)) - 1), min_size=a[1], max_size=a[1]
    ).map(lambda row: (a[0], row))
)


@pytest.mark.parametrize("kind", KINDS)
@given(row=ROWS, eps=st.one_of(st.just(1), st.integers(1, 1 << 40)))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_normalised_values(kind: str, row: tuple[int, list[int]], eps: int) -> None:
    """== plain integers; within half a step, and 2**-27 of its size, of the rational value."""
    bits, x = row
    dtype = torch.int8 if bits == 8 else torch.int16
    found = UNITS[kind](torch.tensor(x, dtype=dtype), eps).tolist()
    assert found == scalar_rows.units(kind, x, eps)
    for u, exact in zip(found, _exact_units(kind, x, eps), strict=True):
        assert abs(Fraction(u, 1 << 16) - exact) <= Fraction(1, 1 << 17) + abs(exact) / (1 << 27)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [2, 3, 1000, MAX_FEATURES])
def test_largest_normalised_value(kind: str, features: int) -> None:
    """One outlier among equal values reaches sqrt(N - 1), or N/2: the bound that verification proves with."""
    x = torch.full((features,), -(1 << 15), dtype=torch.int16)
    x[features // 2] = (1 << 15) - 1
    reached = UNITS[kind](x, 1).abs().max().item()
    assert reached <= largest_unit(kind, features)
    expected = (features - 1) ** 0.5 if kind == "layer" else features / 2
    assert reached / (1 << 16) == pytest.approx(expected, rel=1e-6, abs=2.0**-16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-32768, -1, 0, 32767])
@pytest.mark.parametrize("features", [1, 2, 37, MAX_FEATURES])
def test_constant_rows_give_the_offset(kind: str, value: int, features: int) -> None:
    x = torch.full((2, features), value, dtype=torch.int16)
    for eps in (1, LARGEST_EPS[kind]):
        assert not UNITS[kind](x, eps).any()
    gamma = torch.full((features,), 2**31 - 1, dtype=torch.int32)
    beta = torch.arange(features, dtype=torch.int32) - 7
    op = ops.layer_norm if kind == "layer" else ops.mad_norm
    y = op(x, gamma, beta, 1, 16, 0, 16)
    assert torch.equal(y, beta.clamp(-32768, 32767).to(torch.int16).expand(2, -1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 16])
def test_norm(kind: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    op = ops.layer_norm if kind == "layer" else ops.mad_norm
    for _ in range(20):
        n, eps, to = int(rng.integers(1, 50)), int(rng.integers(1, 1 << 20)), int(rng.choice([8, 16]))
        x = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (3, n))
        gamma, beta = rng.integers(-(2**30), 2**30, (2, n))
        shift, zp = int(rng.integers(30, 45)), int(rng.integers(-9, 9)) if to == 8 else 0
        got = op(
            torch.tensor(x, dtype=torch.int8 if bits == 8 else torch.int16),
            torch.tensor(gamma, dtype=torch.int32),
            torch.tensor(beta, dtype=torch.int32),
            eps,
            shift,
            zp,
            to,
        )
        rest = (gamma.tolist(), beta.tolist(), eps, shift, zp, to)
        assert got.tolist() == [scalar_rows.norm(kind, row, *rest) for row in x.tolist()]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 1000, 4097])
def test_mean_pool(length: int) -> None:
    rng = np.random.default_rng(length)
    x = rng.integers(-128, 128, (length, 5))
    got = ops.mean_pool(torch.tensor(x, dtype=torch.int8), 0, -9, 2**30 + 77, 24, 0, 16)
    columns = x.T.tolist()
    assert got.tolist() == [scalar_rows.mean(c, -9, 2**30 + 77, 24, 0, 16) for c in columns]
    # One rounding, of a coefficient that is precise to 2**-28.
    for y, column in zip(got.tolist(), columns, strict=True):
        exact = Fraction(sum(v + 9 for v in column) * (2**30 + 77), length << 24)
        clipped = max(Fraction(-32768), min(Fraction(32767), exact))
        assert abs(y - clipped) <= Fraction(1, 2) + abs(exact) / (1 << 27)


@pytest.mark.parametrize("length", [1, 2, 1000])
def test_sum_pool(length: int) -> None:
    rng = np.random.default_rng(length)
    x = rng.integers(-128, 128, (3, length))
    got = ops.sum_pool(torch.tensor(x, dtype=torch.int8), -1, 5, 2**30 + 77, 33, 0, 16)
    assert got.tolist() == [rescale(sum(v - 5 for v in row) * (2**30 + 77), 33, 0, 16) for row in x.tolist()]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (2, 2, 1), (3, 1, 0), (5, 3, 2)])
def test_windows(kernel: int, stride: int, padding: int) -> None:
    rng = np.random.default_rng(kernel)
    x = rng.integers(-128, 128, (2, 3, 17))
    tensor = torch.tensor(x, dtype=torch.int8)
    mean = ops.avg_pool1d(tensor, kernel, stride, padding, 4, 2**30 // kernel, 30, -3, 8)
    largest = ops.max_pool1d(tensor, kernel, stride, padding, 1)
    starts = range(-padding, 17 + padding - kernel + 1, stride)
    for b in range(2):
        for c in range(3):
            row = x[b, c].tolist()
            expected = [scalar_rows.average(row, t, kernel, 4, 2**30 // kernel, 30, -3, 8) for t in starts]
            assert mean[b, c].tolist() == expected
            assert largest[b, c].tolist() == [max(row[max(t, 0) : t + kernel]) for t in starts]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_maximum_and_where_it_is(dim: int) -> None:
    """Few distinct values, so that ties are everywhere."""
    x = torch.randint(-3, 3, (7, 5, 6), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    largest, where = ops.max_pool(x, dim), ops.argmax(x, dim)
    rows = x.movedim(dim, -1).reshape(-1, x.shape[dim]).tolist()
    assert largest.reshape(-1).tolist() == [max(row) for row in rows]
    assert where.reshape(-1).tolist() == [row.index(max(row)) for row in rows]
    assert where.dtype == torch.int32


@pytest.mark.parametrize("k", [1, 4, 9])
def test_topk(k: int) -> None:
    x = torch.randint(-3, 3, (11, 9), generator=torch.Generator().manual_seed(k)).to(torch.int16)
    values, indices = ops.topk(x, k)
    for row, v, i in zip(x.tolist(), values.tolist(), indices.tolist(), strict=True):
        assert i == scalar_rows.order(row)[:k]
        assert v == [row[place] for place in i]
