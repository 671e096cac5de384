"""The report names every quantized tensor, what it can represent, how often it clips and how noisy it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from irnn_tvm.nn import GRU
from irnn_tvm.quantization import QuantConfig, ReportRow, quantize

FAST = QuantConfig(gate_bits=8, cell_bits=8)


def rows(
    model: nn.Module, batches: list[torch.Tensor], config: QuantConfig = FAST
) -> dict[tuple[str, str], ReportRow]:
    return {(row.layer, row.tensor): row for row in quantize(model, batches, config).report}


def test_lstm_and_linear_rows() -> None:
    model = nn.Sequential(nn.LSTM(8, 16, 2, bidirectional=True))
    found = rows(model, [torch.randn(9, 3, 8) for _ in range(2)])
    internal = ["gate i", "gate f", "gate g", "gate o", "cell state", "hidden state"]
    for layer in ("0 layer 0", "0 layer 0 reverse", "0 layer 1", "0 layer 1 reverse"):
        assert [tensor for name, tensor in found if name == layer] == internal
    assert ("input", "input") in found
    output = found["0", "output"]
    assert output.sqnr_db is not None
    assert output.sqnr_db > 20
    assert (output.op, output.bits) == ("lstm", 8)
    gate = found["0 layer 0", "gate i"].sqnr_db
    assert gate is not None
    assert gate > 20
    assert found["0 layer 0", "cell state"].zero_point == 0


@pytest.mark.parametrize(("reset_after", "inner"), [(True, "W_hn h + b_hn"), (False, "r * h")])
def test_gru_rows(reset_after: bool, inner: str) -> None:
    found = rows(GRU(8, 16, reset_after=reset_after), [torch.randn(9, 3, 8)], QuantConfig(gate_bits=8))
    names = [tensor for name, tensor in found if name == "gru layer 0"]
    assert names == ["gate r", "gate z", "gate n", inner, "state", "hidden state"]
    assert found["gru layer 0", "state"].bits == 16
    assert found["gru layer 0", "state"].scale == 2.0**-15


def test_ranges_are_those_of_the_float_model() -> None:
    model = nn.Linear(8, 4)
    x = [torch.randn(5, 8) for _ in range(3)]
    found = rows(model, x)
    y = torch.cat([model(b) for b in x])
    assert found["linear", "output"].low == float(y.min())
    assert found["linear", "output"].high == float(y.max())
    assert found["input", "input"].low == float(torch.cat(x).min())


def test_saturation_is_counted_where_a_range_was_cut() -> None:
    cut = QuantConfig(
        gate_bits=8, cell_bits=8, output_bits=8, input_observer="percentile", cell_observer="percentile",
        activation_observer="percentile", percentile=80.0,
    )  # fmt: skip
    x = [torch.randn(50, 4, 8)]
    found = rows(nn.LSTM(8, 16), x, cut)
    assert 0.15 < found["input", "input"].saturation < 0.25
    assert 0.02 < found["lstm layer 0", "cell state"].saturation < 0.4
    assert 0.1 < rows(nn.Linear(8, 4), x, cut)["linear", "output"].saturation < 0.3
    everything = rows(nn.LSTM(8, 16), x)
    assert max(row.saturation for row in everything.values()) < 0.01


def test_relu_and_flat_gates_do_not_count_as_saturation() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    assert rows(model, [torch.randn(50, 8)])["0", "output"].saturation < 0.01
    lstm = nn.LSTM(8, 16)
    lstm.weight_ih_l0.mul_(40.0)
    found = rows(lstm, [torch.randn(20, 3, 8)])
    assert found["lstm layer 0", "gate i"].high > 20.0
    assert found["lstm layer 0", "gate i"].saturation == 0.0


def test_print_report(capsys: pytest.CaptureFixture[str]) -> None:
    integer = quantize(nn.Linear(8, 4), [torch.randn(5, 8)])
    integer.print_report()
    printed = capsys.readouterr().out
    assert "Quantization of Linear" in printed
    assert "linear" in printed
