"""Softmax, attention and products of activations against plain Python integers, and against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scalar
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import irnn_tvm.ops as ops
from irnn_tvm.ops.qparams import QParams, multiplier
from irnn_tvm.ops.softmax import exp_table

TABLE = exp_table(32)
KNOTS = tuple(TABLE.table.tolist())


def reciprocal(v: int) -> tuple[int, int]:
    """1/v as docs/numerics.md states it."""
    e = v.bit_length() - 1
    m = v << (30 - e) if e <= 30 else v >> (e - 30)
    r = 1515870810 - ((1010580540 * m) >> 31)
    for _ in range(3):
        u = (m * r + (1 << 29)) >> 30
        r = (r * ((1 << 31) - u) + (1 << 29)) >> 30
    return r, e + 30


def weights(scores: list[int], mult: int, shift: int, bits: int) -> list[int]:
    """Weights of the valid scores of a row, with `bits` fraction bits."""
    top = max(scores, default=0)
    e = []
    for score in scores:
        distance = min(scalar.rs((top - score) * mult, shift), 32767)
        e.append(max(scalar.pwl(-distance, KNOTS, TABLE.shift, 16), 0))
    r, s = reciprocal(max(sum(e), 1))
    return [scalar.rs(v * r, s - bits) for v in e]


@given(
    rows=st.lists(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=6, max_size=6), min_size=1, max_size=3),
    scale=st.sampled_from([1e-6, 2e-4, 1e-2, 0.5]),
    length=st.integers(0, 6),
    causal=st.booleans(),
    bits=st.sampled_from([8, 16]),
)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_softmax(rows: list[list[int]], scale: float, length: int, causal: bool, bits: int) -> None:
    mult, shift = multiplier(scale * 2**11)
    got = ops.softmax(
        torch.tensor([rows], dtype=torch.int16),
        torch.tensor([length], dtype=torch.int32),
        torch.from_numpy(TABLE.table.copy()),
        int(mult),
        shift,
        TABLE.shift,
        causal,
        bits,
    )
    fraction, zero = (8, -128) if bits == 8 else (15, 0)
    for i, row in enumerate(rows):
        valid = min(length, i + 1) if causal else length
        expected = weights(row[:valid], int(mult), shift, fraction)
        expected = [scalar.sat(w + zero, bits) for w in expected] + [zero] * (6 - valid)
        assert got[0, i].tolist() == expected


@pytest.mark.parametrize(("n", "spread"), [(1, 0.0), (3, 1.0), (50, 2.0), (3000, 1.0), (3000, 0.0)])
def test_weights_are_close_to_the_real_ones(n: int, spread: float) -> None:
    """The table of exp is off by less than 0.1 % of 1, and nothing is lost by the integer sum and division."""
    scores = np.random.default_rng(n).normal(0, spread, n)
    scale = 8 / 32767
    q = np.round(scores / scale).astype(np.int64)
    mult, shift = multiplier(scale * 2**11)
    got = np.array(weights(q.tolist(), int(mult), shift, 22)) / 2**22
    exact = np.exp(q * scale - (q * scale).max())
    assert abs(got - exact / exact.sum()).max() < 1e-3 / exact.sum()
    assert abs(got.sum() - 1) < n * 2.0**-23 + 2.0**-20


def _attention_by_hand(
    q: Any, k: Any, v: Any, lengths: list[int] | None, p: dict[str, Any], causal: bool
) -> list[Any]:
    out = []
    heads = p["heads"]
    for b in range(len(q)):
        rows = []
        for i, query in enumerate(q[b]):
            n = len(k[b]) if lengths is None else lengths[b]
            n = min(n, i + 1) if causal else n
            row: list[int] = []
            size, width = len(query) // heads, len(v[b][0]) // heads
            for h in range(heads):
                part = slice(h * size, h * size + size)
                left = [x - p["q_zp"] for x in query[part]]
                scores = [scalar.dot(left, key[part]) for key in k[b][:n]]
                w = weights(scores, p["mult"], p["shift"], 22)
                for d in range(h * width, h * width + width):
                    acc = scalar.dot(w, [value[d] - p["v_zp"] for value in v[b][:n]])
                    assert abs(acc) < 2**31
                    row.append(
                        scalar.rescale(acc * p["out_mult"], p["out_shift"], p["out_zp"], p["out_bits"])
                    )
            rows.append(row)
        out.append(rows)
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
def test_attention(causal: bool, heads: int, bits: int) -> None:
    rng = np.random.default_rng(heads)
    q, k, v = (
        torch.tensor(rng.integers(-128, 128, s), dtype=torch.int8) for s in ((3, 4, 6), (3, 5, 6), (3, 5, 8))
    )
    lengths = [5, 0, 3]
    mult, shift = multiplier(2e-3 * 2**11)
    out_mult, out_shift = multiplier(2.0**-22 * (1 if bits == 8 else 200))
    p = {
        **{"heads": heads, "q_zp": 9, "v_zp": -100, "mult": int(mult), "shift": shift},
        **{
            "out_mult": int(out_mult),
            "out_shift": out_shift,
            "out_zp": 4 if bits == 8 else 0,
            "out_bits": bits,
        },
    }
    got = ops.attention(
        q, k, v, torch.tensor(lengths, dtype=torch.int32), torch.from_numpy(TABLE.table.copy()),
        table_shift=TABLE.shift, causal=causal, **p,
    )  # fmt: skip
    assert got.tolist() == _attention_by_hand(q.tolist(), k.tolist(), v.tolist(), lengths, p, causal)
    assert got[1].unique().tolist() == [p["out_zp"]]  # no key is valid: the real value 0


def test_attention_of_heads_in_the_batch() -> None:
    """One length for several rows of the batch is that length for each of them."""
    rng = np.random.default_rng(1)
    q, k, v = (torch.tensor(rng.integers(-128, 128, (6, 4, 5)), dtype=torch.int8) for _ in range(3))
    rest = [torch.from_numpy(TABLE.table.copy()), 1, 0, 0, 1 << 30, 31, TABLE.shift, False, 1 << 30, 52, 0, 8]
    few, many = torch.tensor([4, 2, 1]), torch.tensor([4, 4, 2, 2, 1, 1])
    assert torch.equal(ops.attention(q, k, v, few, *rest), ops.attention(q, k, v, many, *rest))


@given(
    seed=st.integers(0, 99),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 5)),
    bits=st.tuples(*[st.sampled_from([8, 16])] * 3),
    zps=st.tuples(*[st.integers(-128, 127)] * 3),
    transposed=st.booleans(),
)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_matmul(seed: int, sizes: Any, bits: Any, zps: Any, transposed: bool) -> None:
    rng = np.random.default_rng(seed)
    m, k, n = sizes
    a, b = (
        rng.integers(-(1 << (w - 1)), 1 << (w - 1), s) for w, s in zip(bits, ((m, k), (k, n)), strict=False)
    )
    a_zp, b_zp, out_zp = (z if w == 8 else 0 for z, w in zip(zps, bits, strict=True))
    mult, shift = multiplier(2.0 ** (bits[2] - bits[0] - bits[1]) / math.sqrt(k))
    types = {8: torch.int8, 16: torch.int16}
    left, right = torch.tensor(a, dtype=types[bits[0]]), torch.tensor(b, dtype=types[bits[1]])
    got = ops.matmul(
        left, right.T.contiguous() if transposed else right, a_zp, b_zp, int(mult), shift, out_zp, bits[2], transposed
    )  # fmt: skip
    for i in range(m):
        for j in range(n):
            total = scalar.dot([int(x) - a_zp for x in a[i]], [int(y) - b_zp for y in b[:, j]])
            assert got[i, j] == scalar.rescale(scalar.sat(total, 32) * int(mult), shift, out_zp, bits[2])


def test_append_forgets_the_oldest_row() -> None:
    memory, length = torch.zeros(2, 3, 1, dtype=torch.int8), torch.tensor([0, 2], dtype=torch.int32)
    seen: list[list[int]] = [[], [0, 0]]
    for t in range(1, 20):
        memory, length = ops.append(memory, length, torch.full((2, 1), t, dtype=torch.int8))
        for b in range(2):
            seen[b].append(t)
            valid = min(int(length[b]), 3)
            assert valid == min(len(seen[b]), 3)
            assert 0 < int(length[b]) < 6
            assert sorted(memory[b, :valid, 0].tolist()) == sorted(seen[b][-3:])


@pytest.mark.parametrize("length", [-(2**31), -1, 6, 2**31 - 1])
def test_append_outside_of_the_capacity(length: int) -> None:
    """It counts as the nearest length inside, so that no row outside of the memory is written."""
    memory = torch.arange(6, dtype=torch.int8).reshape(1, 3, 2)
    x = torch.full((1, 2), 9, dtype=torch.int8)
    inside = torch.tensor([min(max(length, 0), 5)], dtype=torch.int32)
    ours = ops.append(memory, torch.tensor([length], dtype=torch.int32), x)
    for a, b in zip(ours, ops.append(memory, inside, x), strict=True):
        assert torch.equal(a, b)


def test_additive_scores() -> None:
    rng = np.random.default_rng(5)
    grid = QParams(6 / 32767, 0, 16)
    table = ops.fit(np.tanh, 16, grid, QParams(2.0**-7, 0, 8))
    q = torch.tensor(rng.integers(-128, 128, (2, 3, 7)), dtype=torch.int8)
    k = torch.tensor(rng.integers(-(2**15), 2**15, (2, 4, 7)), dtype=torch.int16)
    w = torch.tensor(rng.integers(-127, 128, 7), dtype=torch.int8)
    (q_mult, k_mult), pre_shift = multiplier(np.array([100.0, 0.6]))
    mult, shift = multiplier(0.3)
    got = ops.additive_scores(
        q, k, w, torch.from_numpy(table.table.copy()), 11, 0, int(q_mult), int(k_mult), pre_shift, 0, 16, table.shift,
        int(mult), shift, 0, 16,
    )  # fmt: skip
    for b in range(2):
        for i in range(3):
            for j in range(4):
                total = 0
                for h in range(7):
                    acc = (int(q[b, i, h]) - 11) * int(q_mult) + int(k[b, j, h]) * int(k_mult)
                    pre = scalar.rescale(acc, pre_shift, 0, 16)
                    total += int(w[h]) * scalar.pwl(pre, tuple(table.table.tolist()), table.shift, 8)
                assert got[b, i, j] == scalar.rescale(total * int(mult), shift, 0, 16)


def test_sums_of_an_attention_fit_int32() -> None:
    """255 * (sum of the weights) at the largest number of keys that is accepted, in exact arithmetic."""
    from irnn_tvm.compiler.verify_attention import MAX_KEYS

    # 1 / sum is at most 2**-28 too large, and each weight is rounded by at most half a unit.
    largest = Fraction(2**22) * (1 + Fraction(1, 2**28)) + Fraction(MAX_KEYS, 2)
    assert 255 * largest < 2**31
