"""The written-out float recurrences compute what torch computes, and the counting integer ones what the ops do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparing import sqnr
from torch import nn

from irnn_tvm.errors import InputError
from irnn_tvm.nn import GRU
from irnn_tvm.nn.lstm_recurrence import lstm_form, lstm_weights, run_lstm
from irnn_tvm.nn.recurrence import Recorder
from irnn_tvm.quantization.float_gru import trace_gru
from irnn_tvm.quantization.float_lstm import trace_lstm
from irnn_tvm.quantization.rules.recurrent import direction_weights
from irnn_tvm.training.sequence import states_before

EXACT = 120.0  # dB: float32 rounding in another order


@pytest.mark.parametrize("bias", [True, False])
def test_lstm_trace(bias: bool) -> None:
    layer = nn.LSTM(8, 16, bidirectional=True, bias=bias)
    x, h, c = torch.randn(7, 3, 8), torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    y, (h_n, c_n) = layer(x, (h, c))
    for d, w in enumerate(direction_weights(layer)[0]):
        found = trace_lstm(x, h[d], c[d], w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.reverse)
        assert sqnr(y[:, :, 16 * d : 16 * d + 16], found.hidden) > EXACT
        assert sqnr(h_n[d], found.last_hidden) > EXACT
        assert sqnr(c_n[d], found.last_cell) > EXACT
        last = 0 if w.reverse else -1
        assert torch.equal(found.cell[last], found.last_cell)
        i, f, g, o = found.gates.chunk(4, -1)
        before = states_before(found.cell, c[d], w.reverse)
        assert sqnr(found.cell, f.sigmoid() * before + i.sigmoid() * g.tanh()) > EXACT
        assert sqnr(found.hidden, o.sigmoid() * found.cell.tanh()) > EXACT


@pytest.mark.parametrize("bias", [True, False])
def test_projected_lstm_trace(bias: bool) -> None:
    layer = nn.LSTM(8, 16, proj_size=6, bidirectional=True, bias=bias)
    x, h, c = torch.randn(7, 3, 8), torch.randn(2, 3, 6), torch.randn(2, 3, 16)
    y, (h_n, c_n) = layer(x, (h, c))
    for d in (0, 1):
        w, exact = lstm_weights(layer, 0, d), Recorder()
        run_lstm(lstm_form(layer), w, x, h[d], c[d], exact)
        found = trace_lstm(x, h[d], c[d], w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.reverse, w.w_hr)
        assert sqnr(y[:, :, 6 * d : 6 * d + 6], found.hidden) > EXACT
        assert sqnr(h_n[d], found.last_hidden) > EXACT
        assert sqnr(c_n[d], found.last_cell) > EXACT
        for name, values in (
            ("cell state", found.cell),
            ("before projection", found.middle),
            *zip([f"gate {gate}" for gate in "ifgo"], found.gates.chunk(4, -1), strict=True),
        ):
            steps = exact.seen[name][:: -1 if w.reverse else 1]
            assert sqnr(torch.stack(steps), values) > EXACT


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_gru_trace(reset_after: bool, bias: bool) -> None:
    layer = GRU(8, 16, bidirectional=True, bias=bias, reset_after=reset_after)
    x, h = torch.randn(7, 3, 8), torch.randn(2, 3, 16)
    y, h_n = layer(x, h)
    for d, w in enumerate(direction_weights(layer)[0]):
        found = trace_gru(x, h[d], w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.reverse, reset_after)
        assert sqnr(y[:, :, 16 * d : 16 * d + 16], found.hidden) > EXACT
        assert sqnr(h_n[d], found.last) > EXACT
        r, z, n = found.gates.chunk(3, -1)
        before = states_before(found.hidden, h[d], w.reverse)
        assert sqnr(found.hidden, (1 - z.sigmoid()) * n.tanh() + z.sigmoid() * before) > EXACT
        if not reset_after:
            assert sqnr(found.inner, r.sigmoid() * before) > EXACT


OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.5},
    {"batch_first": True, "bias": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_own_gru_with_the_reset_after_the_product_is_torch(options: dict[str, Any]) -> None:
    ours, theirs = GRU(8, 16, reset_after=True, **options).eval(), nn.GRU(8, 16, **options).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 3, 8)
    assert all(torch.equal(a, b) for a, b in zip(ours(x), theirs(x), strict=True))


@pytest.mark.parametrize("options", OPTIONS)
def test_own_gru_with_the_reset_before_the_product(options: dict[str, Any]) -> None:
    gru = GRU(8, 16, reset_after=False, **options).eval()
    x = torch.randn(5, 3, 8)
    y, h = gru(x)
    layers = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    assert y.shape == (5, 3, 16 * (2 if options.get("bidirectional") else 1))
    assert h.shape == (layers, 5 if options.get("batch_first") else 3, 16)
    one = x[:1] if options.get("batch_first") else x[:, :1]
    alone, last = gru(one[0] if options.get("batch_first") else one[:, 0])
    batch = y[0] if options.get("batch_first") else y[:, 0]
    assert sqnr(batch, alone) > EXACT
    assert sqnr(h[:, 0], last) > EXACT
    explicit, _ = gru(x, torch.zeros(layers, h.shape[1], 16))
    assert torch.equal(explicit, y)
    # The reset gate matters: with open gates both kinds agree.
    with torch.no_grad():
        for name, parameter in gru.named_parameters():
            if "bias" in name:
                parameter[:16] = 50.0
    twin = nn.GRU(8, 16, **options).eval()
    twin.load_state_dict(gru.state_dict())
    if gru.bias:
        assert sqnr(twin(x)[0], gru(x)[0]) > EXACT
    else:
        assert sqnr(twin(x)[0], gru(x)[0]) < EXACT


def test_own_gru_refuses_packed_sequences() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 8), torch.randn(2, 8)])
    with pytest.raises(InputError, match="PackedSequence"):
        GRU(8, 16, reset_after=False)(packed)
