"""Everything that cannot be quantized is refused by a named exception that says what and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from irnn_tvm.errors import (
    AccumulatorOverflowError,
    CalibrationError,
    InputError,
    QuantizationError,
    UnsupportedModuleError,
)
from irnn_tvm.quantization import QuantConfig, quantize

FAST = QuantConfig.int8()


def good() -> list[Tensor]:
    return [torch.randn(6, 8)]


def with_value(value: float, shape: tuple[int, ...] = (6, 8)) -> Tensor:
    x = torch.randn(*shape)
    x[0, 0] = value
    return x


@pytest.mark.parametrize(
    ("calibration", "error", "text"),
    [
        ([], CalibrationError, "empty"),
        (iter(()), CalibrationError, "empty"),
        (None, CalibrationError, "not iterable"),
        (torch.randn(6, 8), CalibrationError, r"pass \[batch\]"),
        ([with_value(float("nan"))], CalibrationError, "input 'input' of calibration batch 0 holds NaN"),
        ([torch.randn(6, 8), with_value(float("inf"))], CalibrationError, "batch 1 holds NaN or infinity"),
        ([torch.zeros(6, 8)], CalibrationError, "input 'input' is constant 0"),
        ([torch.randn(0, 8)], InputError, "size of 0"),
        ([torch.ones(6, 8, dtype=torch.int16)], InputError, "torch.int16"),
        ([torch.ones(6, 8, dtype=torch.bool)], InputError, "torch.bool"),
        (
            [torch.ones(6, 8, dtype=torch.int64)],
            InputError,
            "the float model itself fails on calibration batch 0",
        ),
        ([torch.randn(6, 7)], InputError, r"batch 0 \(input: \(6, 7\)"),
        ([(torch.randn(6, 8), torch.zeros(6))], InputError, "no labels"),
        ([{"y": torch.randn(6, 8)}], InputError, "does not fit"),
        ([("x",)], CalibrationError, "holds no tensor"),
        ([torch.randn(6, 8), torch.randn(8)], CalibrationError, "with 1 dimensions"),
    ],
)
def test_calibration_data(calibration: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        quantize(nn.Linear(8, 4), calibration)


def test_sequence_of_length_zero() -> None:
    with pytest.raises(InputError, match="time or batch size of 0"):
        quantize(nn.LSTM(8, 4), [torch.randn(0, 2, 8)])


def test_batches_of_different_structure() -> None:
    with pytest.raises(CalibrationError, match="another structure"):
        quantize(nn.GRU(8, 4), [torch.randn(3, 2, 8), (torch.randn(3, 2, 8), torch.zeros(1, 2, 4))])


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite(value: float) -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    model[1].weight[0, 0] = value
    with pytest.raises(CalibrationError, match=r"weight '1\.weight'"):
        quantize(model, good())


def test_layer_whose_output_is_not_finite() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.exp(x * 100.0)

    with pytest.raises(CalibrationError, match="exp holds NaN or infinity"):
        quantize(Model(), [torch.ones(3, 3) * 100])


def test_dead_activation_is_named() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].bias.fill_(-100.0)
    with pytest.raises(CalibrationError, match="0 output is constant 0"):
        quantize(model, good())


def test_dead_rnn_is_named() -> None:
    model = nn.LSTM(8, 4, bias=False)
    for parameter in model.parameters():
        parameter.zero_()
    with pytest.raises(CalibrationError, match=r"lstm .* is constant 0"):
        quantize(model, [torch.randn(3, 2, 8)], FAST)


def test_ids_out_of_range_for_the_float_model() -> None:
    with pytest.raises(InputError, match="index out of range"):
        quantize(nn.Embedding(5, 4), [torch.tensor([[5]])])


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (
            nn.GroupNorm(2, 8),
            (3, 8),
            "layer '0' of type GroupNorm has no integer version; did you mean nn.LayerNorm.*docs/quantization.md",
        ),
        (nn.TransformerEncoderLayer(8, 2), (3, 2, 8), "type TransformerEncoderLayer"),
        (nn.Softmin(-1), (3, 8), "type Softmin"),
        (nn.Conv1d(8, 4, 3, padding=1, padding_mode="reflect"), (2, 8, 5), "padding_mode='reflect'"),
        (nn.Conv2d(8, 4, 3), (2, 8, 5, 5), "type Conv2d"),
        (nn.BatchNorm1d(8, track_running_stats=False), (3, 8), "BatchNorm1d .* without running statistics"),
        (nn.PReLU(8), (3, 8), "one slope for all channels"),
    ],
)
def test_unsupported_layer(layer: nn.Module, shape: tuple[int, ...], text: str) -> None:
    arguments = (torch.randn(*shape),)
    model = nn.Sequential(layer)
    with pytest.raises(UnsupportedModuleError, match=text):
        quantize(model, [arguments])


def test_embedding_with_max_norm() -> None:
    with pytest.raises(UnsupportedModuleError, match="max_norm"):
        quantize(nn.Embedding(5, 4, max_norm=1.0), [torch.tensor([[1, 2]])])


def _loop(x: Tensor) -> Tensor:
    return sum(x[:, t] for t in range(x.size(1)))  # type: ignore[return-value]


def _branch(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def _size_branch(x: Tensor) -> Tensor:
    return x if x.size(0) > 3 else -x


def _masked_assignment(x: Tensor) -> Tensor:
    x[x > 0] = 0
    return x


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_loop, "used as a Python number.*nn.LSTM.*carries.*unbind.*test_bad_input.py"),
        (_branch, "control flow that depends on an input's values.*test_bad_input.py:.*x.sum"),
        (_size_branch, "control flow"),
        (_masked_assignment, "mask or a tensor of indices.*test_bad_input.py:.*x\\[x > 0\\] = 0"),
        (lambda x: list(x), "loop over a tensor"),
        (lambda x: x * int(x.size(1) * 0.5), "used as a Python number"),
        (lambda x: torch.stack([t * 2.0 for t in x], 1), "nn.LSTM and nn.GRU.*carries"),
        (lambda x: x[: len(x) // 2], "len\\(\\) of a tensor"),
        (lambda x: torch.fft.fft(x).real, "has no integer version"),
        (lambda x: x.std(1), "Tensor.std has no integer version; supported functions and methods: .*tanh"),
        (lambda x: F.log_softmax(x, -1), "log_softmax has an integer version right before argmax"),
        (lambda x: x / (x * x + 1), "division by a tensor"),
        (lambda x: x[torch.tensor([0, 1])], "indexing with a tensor"),
        (lambda x: x > 0, "gt has no integer version"),
        (lambda x: x + torch.arange(8), "integer tensor, not a float tensor"),
        (lambda x: x.long(), "no integer version"),
        (lambda x: x * 0.0, "product with 0"),
        (
            lambda x: x + torch.randn(x.size(0), 8),
            "called again with the same input in eval mode: it is random",
        ),
        (lambda x: F.dropout(x, 0.5), "random"),
        (lambda x: F.pad(x, (1, 1), value=3.0), "padding with zeros"),
        (lambda x: (x, x.size(0)), "returns something that is not a tensor"),
    ],
)
def test_unsupported_code(function: Callable[[Tensor], Any], text: str) -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return function(x)

    with pytest.raises(UnsupportedModuleError, match=text):
        quantize(Model(), good())


def test_packed_sequences() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(8, 4)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            return rnn.pad_packed_sequence(self.gru(packed)[0])[0]

    with pytest.raises(
        UnsupportedModuleError, match=r"pack_padded_sequence in .*PackedSequence is not supported"
    ):
        quantize(Model(), [(torch.randn(5, 2, 8), torch.tensor([5, 3]))])
    packed = rnn.pack_sequence([torch.randn(3, 8), torch.randn(2, 8)])
    with pytest.raises(UnsupportedModuleError, match="PackedSequence is not supported"):
        quantize(nn.GRU(8, 4), [packed])


def test_size_that_is_used_as_a_number_must_not_change() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1.0 / x.size(0))

    quantize(Model(), [torch.randn(4, 8), torch.randn(4, 8)])
    with pytest.raises(
        UnsupportedModuleError, match=r"used as a constant, but it is 0\.25 in batch 0 and 0.2"
    ):
        quantize(Model(), [torch.randn(4, 8), torch.randn(5, 8)])


@pytest.mark.parametrize("model", [None, lambda x: x, nn.Linear])
def test_what_is_not_a_module(model: Any) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"not a torch.nn.Module"):
        quantize(model, good())


def test_integer_model_is_not_quantized_again() -> None:
    with pytest.raises(UnsupportedModuleError, match="quantized already"):
        quantize(quantize(nn.Linear(8, 4), good()), good())


def test_config_of_another_type() -> None:
    with pytest.raises(QuantizationError, match="not a QuantConfig"):
        quantize(nn.Linear(8, 4), good(), {"gate_bits": 8})  # type: ignore[arg-type]


def test_accumulator_that_could_overflow_names_layer_and_row() -> None:
    model = nn.Sequential(nn.Linear(140_000, 2, bias=False))
    model[0].weight.fill_(1.0)
    model[0].weight[0, 1:] = 0.0
    with pytest.raises(AccumulatorOverflowError, match="0, row 1: its accumulator can reach"):
        quantize(model, [torch.randn(1, 140_000)])


@pytest.mark.parametrize("bias", [1e6, 1e12])
def test_huge_bias_raises_the_scale_of_its_row(bias: float) -> None:
    model = nn.Linear(8, 3)
    model.bias[1] = bias
    model.weight[2] = 0.0
    integer = quantize(model, good())
    found = integer.float_forward(good()[0])
    assert float((found[:, 1] / bias - 1).abs().max()) < 1e-3
    assert int(integer.graph_module.linear.bias.abs().max()) <= 1 << 30


def test_rnn_rows_of_zeros_and_huge_biases_work() -> None:
    for make in (nn.LSTM, nn.GRU):
        model = make(8, 6)
        model.weight_ih_l0[3] = 0.0
        model.weight_hh_l0[8] = 0.0
        model.weight_ih_l0[12:14] = 1e-12
        model.bias_hh_l0[7] = 1e5
        model.bias_ih_l0[13] = -1e5
        x = [torch.randn(6, 3, 8)]
        integer = quantize(model, x)
        exact, found = model(x[0])[0], integer.float_forward(x[0])[0]
        assert float((exact - found).abs().max()) < 0.05
