"""The integer model as a torch module: export, saving, streaming, devices, and its own input checks."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from networks import MODELS, Network
from torch import Tensor, nn
from torch.export import Dim, export

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.quantization import IntegerModel, QuantConfig, quantize

FAST = QuantConfig(gate_bits=8, cell_bits=8)
BY_NAME = {network.name: network for network in MODELS}
TIME_MAJOR = ("lstm", "learned_state", "shared_layers")
SAVED = (
    "lstm",
    "bilstm_classifier",
    "gru_with_state",
    "convolution_norm_rnn",
    "unrolled_cell",
    "learned_state",
)


def make(name: str, config: QuantConfig = FAST) -> IntegerModel:
    network: Network = BY_NAME[name]
    return quantize(network.make().eval(), network.batches(), config)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return all(same(a[key], b[key]) for key in a)
    return all(same(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", SAVED)
def test_saving_copying_and_state_dict(name: str) -> None:
    integer = make(name)
    expected = integer(*integer.calibration_example)
    file = io.BytesIO()
    torch.save(integer, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert same(expected, loaded(*integer.calibration_example))
    assert loaded.input_specs == integer.input_specs
    assert loaded.report == integer.report
    twin = copy.deepcopy(integer)
    for tensor in twin.state_dict().values():
        tensor.zero_()
    assert same(expected, integer(*integer.calibration_example))
    twin.load_state_dict(integer.state_dict())
    assert same(expected, twin(*integer.calibration_example))


@pytest.mark.parametrize(
    "name",
    [*TIME_MAJOR, "bilstm_classifier", "unpacked_shape", "zero_state", "convolution_norm_rnn"],
)
def test_export_with_run_time_batch_and_length(name: str) -> None:
    integer = make(name)
    example = integer.calibration_example
    (x,) = example
    b, t = Dim("B", min=2, max=64), Dim("T", min=4, max=512)
    axes = {0: t, 1: b} if name in TIME_MAJOR else {0: b, 1: t}
    program = export(integer.graph_module, example, dynamic_shapes=(axes,))
    for batch, steps in ((2, 40), (7, 8)):
        shape = (steps, batch) if name in TIME_MAJOR else (batch, steps)
        y = torch.randint(0, 20, (*shape, *x.shape[2:])).to(x.dtype)
        assert same(program.module()(y), integer(y))


def test_whole_model_exports_with_nested_arguments() -> None:
    integer = make("lstm_with_state")
    x, h, c = integer.calibration_example
    program = export(integer, (x, (h, c)))
    assert same(program.module()(x, (h, c)), integer(x, h, c))


@pytest.mark.parametrize("make_layer", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("config", [FAST, QuantConfig.int8(), QuantConfig()], ids=["fast", "int8", "default"])
def test_steps_equal_a_run(make_layer: Any, config: QuantConfig) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = make_layer(8, 16)
            self.linear = nn.Linear(16, 3)

        def forward(self, x: Tensor, state: Any) -> Any:
            y, state = self.rnn(x, state)
            return self.linear(y), state

    state: Any = 0.1 * torch.randn(1, 2, 16)
    state = (state, 0.2 * state) if make_layer is nn.LSTM else state
    integer = quantize(Model(), [(torch.randn(6, 2, 8), state)], config)
    states = integer.input_specs[1:]
    assert [(s.scale, s.zero_point, s.dtype) for s in states] == [
        (s.scale, s.zero_point, s.dtype) for s in integer.output_specs[1:]
    ]
    x, *first = integer.calibration_example
    whole = integer(x, *first)
    steps, current = [], first
    for t in range(6):
        y, after = integer(x[t : t + 1], *current)
        steps.append(y)
        current = list(after) if isinstance(after, tuple) else [after]
    assert torch.equal(torch.cat(steps), whole[0])
    last = list(whole[1]) if isinstance(whole[1], tuple) else [whole[1]]
    assert same(current, last)


@pytest.mark.parametrize("name", ["lstm", "gru_bidirectional", "encoder_decoder"])
def test_batch_does_not_matter(name: str) -> None:
    integer = make(name)
    inputs = integer.calibration_example
    together = integer(*inputs)
    y = together if isinstance(together, Tensor) else together[0]
    for b in range(inputs[0].shape[1]):
        alone = integer(*(x[:, b : b + 1] for x in inputs))
        assert torch.equal((alone if isinstance(alone, Tensor) else alone[0])[:, 0], y[:, b])


def test_specs_describe_the_tensors() -> None:
    integer = make("gru_with_state", QuantConfig(gate_bits=8, cell_bits=8))
    x, h = integer.input_specs
    assert (x.name, x.dtype, x.is_index, x.example_shape, x.bits) == ("x", "int8", False, (5, 2, 8), 8)
    assert (h.name, h.dtype, h.scale, h.zero_point) == ("h", "int16", 2.0**-15, 0)
    y, state = integer.output_specs
    assert (y.dtype, y.zero_point) == ("int16", 0)
    assert (state.scale, state.dtype) == (h.scale, h.dtype)
    tokens = make("bilstm_classifier").input_specs[0]
    assert (tokens.is_index, tokens.scale, tokens.limit, tokens.dtype) == (True, None, 20, "int64")
    assert [t.dtype for t in integer.calibration_example] == [torch.int8, torch.int16]


def test_quantize_and_dequantize_round_trip() -> None:
    integer = make("lstm")
    spec = integer.input_specs[0]
    q = torch.arange(-128, 128, dtype=torch.int8).reshape(4, 8, 8)
    real = (q.double() - spec.zero_point) * spec.scale
    assert torch.equal(integer.quantize_inputs(real)[0], q)
    far = integer.quantize_inputs(torch.full((1, 1, 8), 1e30))[0]
    assert far.unique().tolist() == [127]


@pytest.mark.parametrize(
    ("name", "inputs", "text"),
    [
        ("lstm", (torch.zeros(3, 2, 8),), "input 'input' is float32, expected int8"),
        ("lstm", (torch.zeros(3, 2, 8, dtype=torch.int16),), "is int16, expected int8"),
        ("lstm", (torch.zeros(3, 8, dtype=torch.int8),), "has 2 dimensions, expected 3"),
        ("lstm", (torch.zeros(0, 2, 8, dtype=torch.int8),), "size of 0"),
        ("lstm", (torch.zeros(3, 0, 8, dtype=torch.int8),), "size of 0"),
        ("lstm", (torch.zeros(3, 2, 7, dtype=torch.int8),), "LSTM input: expected size 8"),
        ("lstm", (), r"takes 1 inputs \(input\), got 0"),
        ("lstm", ("x",), "is a str, not a tensor"),
        ("bilstm_classifier", (torch.zeros(2, 3, dtype=torch.int8),), "is int8, expected int32 or int64"),
        ("bilstm_classifier", (torch.full((2, 3), 20),), "holds index 20, outside 0..19"),
        ("bilstm_classifier", (torch.full((2, 3), -1),), "holds index -1"),
        ("convolution_norm_rnn", (torch.zeros(2, 9, 7, dtype=torch.int8),), "conv1d input: expected size 8"),
        ("functional", (torch.zeros(2, 9, dtype=torch.int8),), "linear input: expected size 8"),
    ],
)
def test_bad_inputs(name: str, inputs: tuple[Any, ...], text: str) -> None:
    integer = make(name)
    with pytest.raises(InputError, match=text):
        integer(*inputs)


@pytest.mark.parametrize(
    ("name", "inputs", "text"),
    [
        ("lstm", (torch.full((2, 2, 8), float("nan")),), "NaN"),
        ("lstm", (torch.zeros(2, 2, 8, dtype=torch.int8),), "expected a float tensor"),
        ("lstm", (torch.zeros(2, 8),), "has 2 dimensions"),
        ("lstm", (torch.zeros(2, 2, 8), torch.zeros(1)), "got 2"),
        ("bilstm_classifier", (torch.zeros(2, 3),), "takes ids, int32 or int64"),
        ("bilstm_classifier", (torch.full((2, 3), 99),), "holds index 99"),
    ],
)
def test_bad_float_inputs(name: str, inputs: tuple[Any, ...], text: str) -> None:
    integer = make(name)
    with pytest.raises(InputError, match=text):
        integer.float_forward(*inputs)


def test_int32_ids_are_as_good_as_int64() -> None:
    integer = make("bilstm_classifier")
    ids = integer.calibration_example[0]
    assert torch.equal(integer(ids), integer(ids.int()))


def test_buffers_follow_the_model_to_another_device() -> None:
    integer = make("learned_state").to("meta")
    assert all(buffer.device.type == "meta" for buffer in integer.buffers())
    y = integer.graph_module(torch.empty(4, 2, 8, dtype=torch.int8, device="meta"))
    assert y.shape == (4, 2, 16)
    assert y.device.type == "meta"


def test_sizes_that_the_calibration_fixes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    gru = nn.GRU(4, 4, batch_first=True)
    fixed = quantize(gru, [torch.randn(3, 1, 4)], FAST)
    free = quantize(gru, [torch.randn(3, 5, 4)], FAST)
    assert "a size of 1 (axis 1) is fixed" in fixed.fixed_sizes()[0]
    assert free.fixed_sizes() == []
    fixed.print_report()
    assert "was (3, 1, 4) in the first calibration batch" in capsys.readouterr().out
    library = irnn_tvm.build(fixed)
    assert "(axis 1) is fixed" in library.report["notes"][0]
    with pytest.raises(InputError, match="or was 1 in the calibration"):
        library.run(library.inputs[0].quantize(np.zeros((1, 5, 4), np.float32)))
