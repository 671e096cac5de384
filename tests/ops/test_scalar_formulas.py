"""The torch operators against plain Python integers that share no code with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scalar
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import irnn_tvm.ops as ops
from irnn_tvm.ops.qparams import QParams

BITS = st.sampled_from([8, 16, 32])


@given(
    x=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    in_zp=st.integers(-128, 127),
    mult=st.integers(1, 2**31 - 1),
    shift=st.integers(1, 62),
    out_zp=st.integers(-128, 127),
    bits=BITS,
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_requantize(x: list[int], in_zp: int, mult: int, shift: int, out_zp: int, bits: int) -> None:
    got = ops.requantize(torch.tensor(x, dtype=torch.int32), in_zp, mult, shift, out_zp, bits)
    assert got.tolist() == [scalar.rescale((v - in_zp) * mult, shift, out_zp, bits) for v in x]


@given(
    a=st.integers(-(2**15), 2**15 - 1),
    b=st.integers(-128, 127),
    zps=st.tuples(st.just(0), st.integers(-128, 127)),
    mults=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1)),
    shift=st.integers(1, 60),
    out_zp=st.integers(-128, 127),
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_add_and_mul(
    a: int, b: int, zps: tuple[int, int], mults: tuple[int, int], shift: int, out_zp: int
) -> None:
    x, y = torch.tensor([a], dtype=torch.int16), torch.tensor([b], dtype=torch.int8)
    total = (a - zps[0]) * mults[0] + (b - zps[1]) * mults[1]
    assert ops.add(x, y, *zps, *mults, shift, out_zp, 8).item() == scalar.rescale(total, shift, out_zp, 8)
    product = (a - zps[0]) * (b - zps[1]) * mults[0]
    assert ops.mul(x, y, *zps, mults[0], shift, out_zp, 8).item() == scalar.rescale(product, shift, out_zp, 8)


@pytest.mark.parametrize("depth", [1, 7, 1024, 1025, 2500])
def test_linear_is_exact_beyond_the_chunk(depth: int) -> None:
    """The float32 chunks of the product must not round, also where every term has its largest size."""
    rng = np.random.default_rng(depth)
    for low, high in ((-127, 128), (127, 128), (-127, -126)):
        w = rng.integers(low, high, (3, depth))
        x = np.full(depth, -128) if high - low == 1 else rng.integers(-128, 128, depth)
        bias, mult = [5, -7, 123456], [2**30 + 1, 2**29 + 3, 2**31 - 1]
        got = ops.linear(
            torch.tensor(x, dtype=torch.int8),
            torch.tensor(w, dtype=torch.int8),
            torch.tensor(bias, dtype=torch.int32),
            torch.tensor(mult, dtype=torch.int32),
            30,
            0,
            32,
        )
        expected = [
            scalar.rescale((scalar.dot(w[n].tolist(), x.tolist()) + bias[n]) * mult[n], 30, 0, 32)
            for n in range(3)
        ]
        assert got.tolist() == expected


def _recurrent(rng: np.random.Generator, gates: int, bits: int, hidden: int, width: int) -> dict[str, Any]:
    grid = QParams(8 / 127, 3, 8) if bits == 8 else QParams(8 / 32767, 0, 16)
    sigma = QParams(2**-8, -128, 8) if bits == 8 else QParams(2**-15, 0, 16)
    tanh = QParams(2**-7, 0, 8) if bits == 8 else QParams(2**-15, 0, 16)
    names = ["s", "s", "t", "s", "t"] if gates == 4 else ["s", "s", "t"]
    fits = [
        ops.fit(np.tanh, 16, grid, tanh)
        if n == "t"
        else ops.fit(lambda v: 1 / (1 + np.exp(-v)), 16, grid, sigma)
        for n in names
    ]
    scale = 2**30
    return {
        "w_ih": rng.integers(-127, 128, (gates * hidden, width)),
        "w_hh": rng.integers(-127, 128, (gates * hidden, hidden)),
        "bias": rng.integers(-9000, 9000, gates * hidden),
        "mult_ih": rng.integers(scale // 2, scale, gates * hidden),
        "mult_hh": rng.integers(scale // 2, scale, gates * hidden),
        "gate_shift": [38 if bits == 8 else 31] * gates,
        "gate_zp": [3 if bits == 8 else 0] * gates,
        "gate_bits": bits,
        "tables": np.stack([f.table for f in fits]),
        "table_shift": [f.shift for f in fits],
        "act_zp": [-128 if bits == 8 and n == "s" else 0 for n in names],
    }


def _torch_arguments(p: dict[str, Any]) -> dict[str, Any]:
    kinds = {"w_ih": torch.int8, "w_hh": torch.int8, "tables": torch.int16}
    return {
        k: torch.tensor(v, dtype=kinds.get(k, torch.int32)) if isinstance(v, np.ndarray) else v
        for k, v in p.items()
    }


def _lists(p: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in p.items()}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_lstm(bits: int, reverse: bool) -> None:
    rng = np.random.default_rng(bits)
    hidden, width, steps, batch = 4, 3, 5, 2
    p = _recurrent(rng, 4, bits, hidden, width) | {
        "f_mult": 2**30,
        "i_mult": 2**29 + 7,
        "cell_shift": 38 if bits == 8 else 45,
        "cell_zp": 5 if bits == 8 else 0,
        "cell_bits": bits,
        "h_mult": 2**30 + 3,
        "h_shift": 38 if bits == 8 else 53,
        "h_zp": -4,
    }
    x = rng.integers(-128, 128, (steps, batch, width))
    h, c = rng.integers(-128, 128, (batch, hidden)), rng.integers(-100, 100, (batch, hidden))
    dtype = torch.int8 if bits == 8 else torch.int16
    y, h_last, c_last = ops.lstm(
        torch.tensor(x, dtype=torch.int8),
        torch.tensor(h, dtype=torch.int8),
        torch.tensor(c, dtype=dtype),
        **_torch_arguments(p),
        reverse=reverse,
    )
    plain = _lists(p)
    for b in range(batch):
        hb, cb = h[b].tolist(), c[b].tolist()
        for t in reversed(range(steps)) if reverse else range(steps):
            hb, cb = scalar.lstm_step(x[t, b].tolist(), hb, cb, plain)
            assert y[t, b].tolist() == hb
        assert h_last[b].tolist() == hb
        assert c_last[b].tolist() == cb


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_gru(bits: int, reset_after: bool, reverse: bool) -> None:
    rng = np.random.default_rng(10 + bits)
    hidden, width, steps, batch = 4, 3, 5, 2
    p = _recurrent(rng, 3, bits, hidden, width) | {
        "bias_hn": rng.integers(-9000, 9000, hidden),
        "hn_shift": 38 if bits == 8 else 31,
        "rn_mult": 2**30,
        "rh_mult": 2**30 + 5,
        "rh_shift": 38 if bits == 8 else 53,
        "rh_zp": 6,
        "z_one": 256 if bits == 8 else 32768,
        "n_mult": 2**30,
        "h_mult": 2**30 - 9,
        "state_shift": 38 if bits == 8 else 45,
        "state_zp": -7 if bits == 8 else 0,
        "state_bits": bits,
        "out_mult": 2**30,
        "out_shift": 30 if bits == 8 else 38,
        "out_zp": 2,
    }
    x = rng.integers(-128, 128, (steps, batch, width))
    h = rng.integers(-120, 120, (batch, hidden)) * (1 if bits == 8 else 250)
    y, h_last = ops.gru(
        torch.tensor(x, dtype=torch.int8),
        torch.tensor(h, dtype=torch.int8 if bits == 8 else torch.int16),
        **_torch_arguments(p),
        reset_after=reset_after,
        reverse=reverse,
    )
    plain = _lists(p) | {"reset_after": reset_after}
    for b in range(batch):
        hb = h[b].tolist()
        for t in reversed(range(steps)) if reverse else range(steps):
            hb = scalar.gru_step(x[t, b].tolist(), hb, plain)
            assert y[t, b].tolist() == [scalar.gru_output(v, plain) for v in hb]
        assert h_last[b].tolist() == hb


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 3, 1, 1), (1, 2, 2, 2), (3, 1, 1, 4)]
)
def test_conv1d(stride: int, padding: int, dilation: int, groups: int) -> None:
    rng = np.random.default_rng(3)
    channels, outputs, taps, length, in_zp = 4, 8, 3, 11, 17
    x, w = (
        rng.integers(-128, 128, (2, channels, length)),
        rng.integers(-127, 128, (outputs, channels // groups, taps)),
    )
    bias, mult = rng.integers(-999, 999, outputs), rng.integers(2**29, 2**30, outputs)
    got = ops.conv1d(
        torch.tensor(x, dtype=torch.int8),
        torch.tensor(w, dtype=torch.int8),
        torch.tensor(bias, dtype=torch.int32),
        torch.tensor(mult, dtype=torch.int32),
        38, in_zp, -3, 8, stride, padding, dilation, groups,
    )  # fmt: skip
    reach = dilation * (taps - 1)
    assert got.shape == (2, outputs, (length + 2 * padding - reach - 1) // stride + 1)
    per_group, out_per_group = channels // groups, outputs // groups
    for b, o, t in np.ndindex(*got.shape):
        acc = int(bias[o])
        for ch in range(per_group):
            for k in range(taps):
                at = t * stride + k * dilation - padding
                value = x[b, (o // out_per_group) * per_group + ch, at] if 0 <= at < length else in_zp
                acc += int(value) * int(w[o, ch, k])
        assert got[b, o, t].item() == scalar.rescale(acc * int(mult[o]), 38, -3, 8)


def test_quantize_rounds_ties_up() -> None:
    x = torch.tensor([-1.5, -0.5, 0.5, 1.5, 1e9, -1e9])
    assert ops.quantize(x, 1.0, 10, 8).tolist() == [9, 10, 11, 12, 127, -128]
    assert ops.dequantize(torch.tensor([9, 127], dtype=torch.int8), 0.5, 10).tolist() == [-0.5, 58.5]
