"""Every way of writing a model becomes an integer graph that computes the same thing."""

from __future__ import annotations

import copy

import pytest
import torch
from comparing import arguments, sqnr, structure, tensors
from functions import FUNCTION_NETWORKS
from networks import MODELS, Network
from sampling import sampled
from torch import nn

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization import IntegerModel, QuantConfig, quantize

FAST = QuantConfig(gate_bits=8, cell_bits=8)  # small tables are fitted fast
MOVEMENT = {
    "permute", "transpose", "t", "view", "reshape", "flatten", "unsqueeze", "squeeze", "select", "narrow", "chunk",
    "split", "stack", "contiguous", "clone", "expand", "repeat", "unbind", "flip", "size", "new_full", "getitem",
    "getattr", "mul", "_shape", "slice", "sym_size", "full", "detach", "alias", "numpy_T", "mT",
}  # fmt: skip


@pytest.mark.parametrize("network", sampled(MODELS + FUNCTION_NETWORKS, 2), ids=lambda network: network.name)
def test_integer_model_follows_float_model(network: Network) -> None:
    model = network.make().eval()
    batches = network.batches()
    args, kwargs = arguments(batches[-1])
    before = copy.deepcopy(model.state_dict())
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    expected = model(*args, **kwargs)

    integer = quantize(model, batches, FAST)
    found = integer.float_forward(*args, *kwargs.values())

    assert structure(found) == structure(expected)
    for exact, ours, spec in zip(tensors(expected), tensors(found), integer.output_specs, strict=True):
        if spec.is_index:
            assert torch.equal(exact, ours)
        else:
            assert sqnr(exact, ours) > network.sqnr, spec.name
    _check_graph(integer)
    _check_report(integer)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    again = model(*args, **kwargs)
    assert all(torch.equal(a, b) for a, b in zip(tensors(expected), tensors(again), strict=True))


def _check_graph(integer: IntegerModel) -> None:
    """Only irnn operators and data movement, and no float tensor anywhere."""
    program = torch.export.export(integer.graph_module, integer.calibration_example)
    assert not any(t.is_floating_point() for t in program.state_dict.values())
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        value = node.meta.get("val")
        assert not (isinstance(value, torch.Tensor) and value.is_floating_point()), node
        namespace, _, name = str(node.target).partition(".")
        assert namespace == "irnn" or any(word in str(node.target) for word in MOVEMENT), (node.target, name)


def _check_report(integer: IntegerModel) -> None:
    assert {row.op for row in integer.report} - {"input"} or not integer.input_specs
    for row in integer.report:
        assert row.scale > 0
        assert row.low <= row.high
        assert 0.0 <= row.saturation <= 1.0
        assert row.sqnr_db is None or row.sqnr_db > 5.0


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_restored_and_dropout_is_off(training: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 2)))
    model.train(training)
    model[1].train(not training)
    integer = quantize(model, [torch.randn(8, 4)])
    assert [m.training for m in model.modules()] == [training, training, *[not training] * 3]
    assert not integer.training
    x = torch.randn(8, 4)
    assert sqnr(model.eval()(x), integer.float_forward(x)) > 30


def test_hooks_of_the_model_survive() -> None:
    calls = []
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_hook(lambda *_: calls.append(1))
    quantize(model, [torch.randn(8, 4)])
    calls.clear()
    model(torch.randn(1, 4))
    assert calls == [1]


def test_layer_names_are_kept() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2)))
    integer = quantize(model, [torch.randn(8, 4)], FAST)
    assert {"0.weight", "1.0.table", "1.1.weight"} <= set(integer.graph_module.state_dict())


def test_positive_factors_and_equal_parameters_cost_nothing() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 16, bidirectional=True)
            self.linear = nn.Linear(32, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = self.lstm(x)
            return self.linear(torch.cat(y.chunk(2, -1), -1) * 0.5) / 0.7

    integer = quantize(Model(), [torch.randn(5, 3, 8)], FAST)
    operators = [str(n.target) for n in integer.graph_module.graph.nodes if "irnn" in str(n.target)]
    assert operators == ["irnn.concat.default"]


def test_relu_is_part_of_the_saturation() -> None:
    integer = quantize(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), [torch.randn(30, 8)])
    assert [n.op for n in integer.graph_module.graph.nodes] == [
        "placeholder",
        "call_module",
        "call_module",
        "output",
    ]
    assert integer.graph_module.get_submodule("0").out_zp == -128


def test_stacked_lstm_keeps_scales_per_layer_when_only_single_states_are_read() -> None:
    class Model(nn.Module):
        def __init__(self, stacked: bool) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 16, 2)
            self.stacked = stacked

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, (h, _) = self.lstm(x)
            return h if self.stacked else h[-1]

    for stacked in (True, False):
        integer = quantize(Model(stacked), [torch.randn(5, 3, 8)], FAST)
        scales = {row.scale for row in integer.report if row.tensor == "hidden state"}
        assert len(scales) == (1 if stacked else 2)


def test_a_result_that_is_a_tuple_is_one() -> None:
    class Residual(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            if isinstance(y, tuple):
                y = y[0]
            first, *others = y.chunk(4, -1)
            return x + torch.cat([*others, first], -1)

    for layer in (nn.LSTM(8, 8), nn.GRU(8, 8), nn.Linear(8, 8)):
        model, x = Residual(layer).eval(), torch.randn(5, 3, 8)
        assert sqnr(model(x), quantize(model, [x], FAST).float_forward(x)) > 20


def test_layers_that_forward_makes() -> None:
    class Model(nn.Module):
        def __init__(self, unlisted: bool) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.layers = [nn.Linear(8, 8)] if unlisted else []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = nn.Sequential(nn.ReLU(), nn.Flatten())(self.linear(x))
            for layer in self.layers:
                y = layer(y)
            return y

    model, x = Model(unlisted=False).eval(), torch.randn(5, 8)
    assert sqnr(model(x), quantize(model, [x], FAST).float_forward(x)) > 20
    assert list(dict(model.named_modules())) == ["", "linear"]
    with pytest.raises(UnsupportedModuleError, match=r"nn.ModuleList.*test_capture.py:"):
        quantize(Model(unlisted=True).eval(), [x], FAST)


def test_layers_with_names_that_python_reserves() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({"in": nn.Linear(8, 8), "lambda": nn.GRU(8, 8)})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers["lambda"](self.layers["in"](x))[0]

    model, x = Model().eval(), torch.randn(5, 3, 8)
    assert sqnr(model(x), quantize(model, [x], FAST).float_forward(x)) > 20
