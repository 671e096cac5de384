"""LayerNorm, MadNorm, BatchNorm1d, pools, argmax, top-k: how close to float, ways to write them, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr, tensors
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.errors import InputError, QuantizationError, UnsupportedModuleError
from irnn_tvm.nn import MadNorm
from irnn_tvm.quantization import IntegerModel, QuantConfig, quantize

CONFIGS = {16: QuantConfig(headroom=1.2), 8: QuantConfig.int8()}


class Sum(nn.Module):
    """Over the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1)


class Calls(nn.Module):
    """A function of the input, with layers."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)
            if isinstance(layer, nn.LayerNorm | MadNorm | nn.BatchNorm1d) and layer.weight is not None:
                layer.weight.normal_(1.0, 0.3)
                layer.bias.normal_(0.0, 0.3)
            if isinstance(layer, nn.BatchNorm1d):
                layer.running_mean.normal_(0.0, 0.5)
                layer.running_var.uniform_(0.2, 3.0)
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def made(
    function: Callable[..., Any],
    shape: tuple[int, ...],
    config: QuantConfig | None = None,
    **layers: nn.Module,
) -> tuple[nn.Module, IntegerModel, Tensor]:
    """The float model, its integer version, and data that calibration did not see."""
    model = Calls(function, **layers)
    return model, quantize(model, [torch.randn(shape) for _ in range(4)], config), torch.randn(shape)


def decibels(model: nn.Module, integer: IntegerModel, x: Tensor) -> list[float]:
    """SQNR against the float model fed with the quantized input: noise of the layer alone."""
    q = integer.quantize_inputs(x)
    spec = integer.input_specs[0]
    real = (q[0].double() - spec.zero_point) * spec.scale
    return [
        sqnr(a, b)
        for a, b in zip(tensors(model(real.float())), tensors(integer.float_forward(x)), strict=True)
        if a.is_floating_point()
    ]


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "layer_norm": (lambda: nn.LayerNorm(40), (9, 5, 40)),
    "layer_norm_plain": (lambda: nn.LayerNorm(40, elementwise_affine=False), (9, 40)),
    "layer_norm_without_bias": (lambda: nn.LayerNorm(33, eps=1e-2), (9, 4, 33)),
    "layer_norm_two_axes": (lambda: nn.LayerNorm((5, 8)), (9, 3, 5, 8)),
    "mad_norm": (lambda: MadNorm(40), (9, 5, 40)),
    "mad_norm_plain": (lambda: MadNorm(40, elementwise_affine=False), (9, 40)),
    "mad_norm_two_axes": (lambda: MadNorm((5, 8)), (9, 3, 5, 8)),
    "batch_norm": (lambda: nn.BatchNorm1d(8), (64, 8)),
    "batch_norm_sequence": (lambda: nn.BatchNorm1d(8), (9, 8, 20)),
    "avg_pool": (lambda: nn.AvgPool1d(3, 2, padding=1), (5, 8, 31)),
    "sum": (lambda: Sum(), (9, 20, 8)),
    "adaptive_avg_pool": (lambda: nn.AdaptiveAvgPool1d(1), (40, 8, 31)),
}


@pytest.mark.parametrize("bits", CONFIGS)
@pytest.mark.parametrize("name", LAYERS)
def test_noise(name: str, bits: int) -> None:
    """At least 40 dB with 16-bit outputs, 30 dB with 8."""
    make, shape = LAYERS[name]
    found = decibels(*made(lambda m, x: m.layer(x), shape, CONFIGS[bits], layer=make()))
    assert min(found) > {16: 40.0, 8: 30.0}[bits], found


@pytest.mark.parametrize("make", [lambda: nn.LayerNorm(64), lambda: MadNorm(64)], ids=["layer", "mad"])
def test_sixteen_bit_rows_lose_nothing_that_counts(make: Callable[[], nn.Module]) -> None:
    """Between 16-bit tensors the norm itself is far below the noise of 8-bit data."""
    model, integer, x = made(
        lambda m, x: m.norm(m.wide(x)), (20, 3, 16), QuantConfig(), wide=nn.Linear(16, 64), norm=make()
    )
    hidden = integer.get_submodule("graph_module.wide")(*integer.quantize_inputs(x))
    assert hidden.dtype == torch.int16
    scale = next(row.scale for row in integer.report if row.layer == "wide")
    exact = model.norm.double()(hidden.double() * scale)
    assert sqnr(exact, integer.float_forward(x)) > 70.0


def operators(integer: IntegerModel) -> list[str]:
    """Names of the irnn operators of a graph, of layers' names where they are inside one."""
    return [
        str(n.target).split(".")[1] if n.op == "call_function" else str(n.target)
        for n in integer.graph_module.graph.nodes
        if n.op == "call_module" or str(n.target).startswith("irnn.")
    ]


SAME: dict[str, tuple[Callable[..., Any], ...]] = {
    "mean": (
        lambda m, x: x.mean(1),
        lambda m, x: torch.mean(x, dim=1),
        lambda m, x: x.mean((1,), keepdim=True).squeeze(1),
        lambda m, x: F.adaptive_avg_pool1d(x.transpose(1, 2), 1).squeeze(-1),
        lambda m, x: nn.functional.avg_pool1d(x.transpose(1, 2), 12).squeeze(-1),
    ),
    "sum": (
        lambda m, x: x.sum(1) / 12.0,
        lambda m, x: torch.sum(x, dim=1, keepdim=True).squeeze(1) / 12.0,
    ),
    "maximum": (
        lambda m, x: x.max(1)[0],
        lambda m, x: x.max(dim=-2).values,
        lambda m, x: torch.max(x, 1, keepdim=True)[0].squeeze(1),
        lambda m, x: x.amax(dim=1),
        lambda m, x: F.adaptive_max_pool1d(x.transpose(1, 2), 1).squeeze(-1),
        lambda m, x: F.max_pool1d(x.transpose(1, 2), 12).squeeze(-1),
    ),
    "argmax": (
        lambda m, x: x.argmax(-1),
        lambda m, x: torch.argmax(x, dim=2),
        lambda m, x: x.argmax(-1, keepdim=True)[..., 0],
        lambda m, x: x.softmax(-1).argmax(-1),
        lambda m, x: torch.log_softmax(x, -1).argmax(dim=-1),
        lambda m, x: x.max(2).indices,
        lambda m, x: x.topk(1).indices[..., 0],
    ),
    "topk": (
        lambda m, x: torch.topk(x, 3, 1)[1],
        lambda m, x: F.softmax(x, dim=1).topk(3, dim=1).indices,
        lambda m, x: x.transpose(1, 2).log_softmax(-1).topk(3)[1].transpose(1, 2),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_ways_to_write_it_agree(name: str) -> None:
    """Exactly, on data where float and integer cannot differ by a tie."""
    torch.manual_seed(4)
    steps = torch.stack([torch.randperm(12 * 6).reshape(12, 6) for _ in range(5)]) - 36.0
    expected: Tensor | None = None
    for function in SAME[name]:
        model = Calls(function)
        integer = quantize(model, [steps])
        assert "softmax" not in operators(integer)
        found, exact = integer.float_forward(steps), model(steps)
        assert found.shape == exact.shape
        if name in ("mean", "sum"):
            assert (found - exact).abs().max() < 0.15
        else:
            assert torch.equal(found.to(exact.dtype), exact) or (found - exact).abs().max() < 0.3
        expected = found if expected is None else expected
        assert torch.equal(found, expected)


def test_values_of_a_softmax_are_kept_where_they_are_read() -> None:
    _, integer, x = made(lambda m, x: torch.topk(torch.softmax(x, -1), 2), (7, 9))
    assert "softmax" in operators(integer)
    values, indices = integer.float_forward(x)
    assert 0.0 < float(values.min()) <= float(values.max()) <= 1.0
    assert indices.dtype == torch.int32


def test_means_over_several_axes() -> None:
    for axes in ((1, 2), (0, 2), (-1, 0), None):
        model, integer, x = made(
            lambda m, x, axes=axes: x.mean(axes, keepdim=axes is not None) * 3.0, (4, 5, 6)
        )
        found, exact = integer.float_forward(x), model(x)
        assert found.shape == exact.shape
        assert float((found - exact).abs().max()) < 0.02


def test_batch_norm_after_a_linear_layer_that_others_read_is_a_layer_of_its_own() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        y = m.linear(x)
        return m.norm(y) + y

    model, integer, x = made(function, (16, 8), linear=nn.Linear(8, 5), norm=nn.BatchNorm1d(5))
    assert operators(integer)[:2] == ["linear", "norm"]
    assert sqnr(model(x), integer.float_forward(x)) > 30.0


def test_a_gain_of_zero() -> None:
    for norm in (nn.BatchNorm1d(4), nn.LayerNorm(4), MadNorm(4)):
        model = Calls(lambda m, x: m.norm(x), norm=norm)
        with torch.no_grad():
            norm.weight.zero_()
        integer = quantize(model, [torch.randn(9, 4)])
        x = torch.randn(9, 4)
        assert (integer.float_forward(x) - model(x)).abs().max() < 1e-3


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), MadNorm(8)], ids=["layer", "mad"])
def test_constant_rows(norm: nn.Module) -> None:
    """The offset, exactly as the float layer has it, also where calibration never saw such rows."""
    model, integer, _ = made(lambda m, x: m.norm(x), (12, 8), norm=norm)
    x = torch.full((3, 8), 1.5)
    assert (integer.float_forward(x) - model(x)).abs().max() <= 0.5 * integer.output_specs[0].scale + 1e-6


def test_the_report_counts_clipping() -> None:
    torch.manual_seed(2)
    model = Calls(lambda m, x: m.norm(x), norm=nn.LayerNorm(6))
    data = [torch.randn(400, 6)]
    row = next(r for r in quantize(model, data).report if r.op == "layer_norm")
    assert row.saturation == 0.0
    assert row.sqnr_db is not None
    assert row.sqnr_db > 30.0
    config = QuantConfig(activation_observer="percentile", percentile=90.0, headroom=1.0)
    clipped = next(r for r in quantize(model, data, config).report if r.op == "layer_norm")
    assert 0.01 < clipped.saturation < 0.3


def test_functional_layer_norm() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.offset = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            plain = F.layer_norm(x, (8,))
            return F.layer_norm(x, (8,), self.gain, self.offset, 1e-3), plain

    model = Model().eval()
    integer = quantize(model, [torch.randn(50, 8)])
    assert min(decibels(model, integer, torch.randn(20, 8))) > 40.0


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda m, x: torch.max(x, x * 2.0), "the larger of two tensors"),
        (lambda m, x: F.avg_pool1d(x, 3, ceil_mode=True), "ceil_mode=True"),
        (lambda m, x: F.avg_pool1d(x, 3, padding=1, count_include_pad=False), "count_include_pad=False"),
        (lambda m, x: F.max_pool1d(x, 3, ceil_mode=True), "ceil_mode=True"),
        (lambda m, x: F.max_pool1d(x, 3, return_indices=True)[0], "return_indices|has no integer version"),
        (lambda m, x: F.adaptive_avg_pool1d(x, 2), "output_size=2 has no integer version; supported: 1"),
        (lambda m, x: F.adaptive_max_pool1d(x, 3), "output_size=3 has no integer version"),
        (lambda m, x: x.topk(2, largest=False)[0], "largest=False"),
        (lambda m, x: x.argmax(keepdim=True), "keepdim=True needs a dim"),
        (
            lambda m, x: F.log_softmax(x, -1).argmax(0),
            "log_softmax has an integer version right before argmax",
        ),
        (
            lambda m, x: F.log_softmax(x, -1).topk(2)[0],
            "log_softmax has an integer version right before argmax",
        ),
        (lambda m, x: F.layer_norm(x, (9,), x[0, 0]), "its weight must be a parameter"),
    ],
)
def test_refused(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=text):
        made(function, (4, 6, 9))


def test_sizes_that_do_not_fit() -> None:
    for norm in (nn.LayerNorm(7), MadNorm(7)):
        with pytest.raises(
            InputError,
            match=r"the float model itself fails .*\(4, 8\).*7|last sizes are \(7,\), got \(4, 8\)",
        ):
            quantize(Calls(lambda m, x: m.norm(x), norm=norm), [torch.randn(4, 8)])
    _, integer, _ = made(lambda m, x: m.norm(x), (4, 8), norm=nn.LayerNorm(8))
    with pytest.raises(InputError, match="layer norm input: expected size 8"):
        integer(torch.zeros(4, 9, dtype=torch.int8))


@pytest.mark.parametrize("arguments", [(0,), ((),), ((3, 0),), (4, 0.0), (4, -1.0)])
def test_mad_norm_refuses(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"normalized_shape|eps"):
        MadNorm(*arguments)


def test_mad_norm_is_its_formula() -> None:
    norm = MadNorm(6)
    norm.weight.normal_()
    norm.bias.normal_()
    x = torch.randn(5, 6)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.abs().mean(-1, keepdim=True) + 1e-5) * norm.weight + norm.bias
    assert torch.allclose(norm(x), expected)
    assert set(norm.state_dict()) == set(nn.LayerNorm(6).state_dict())
    with pytest.raises(InputError, match=r"last sizes are \(6,\), got \(5, 7\)"):
        norm(torch.randn(5, 7))


def test_data_that_eps_dwarfs() -> None:
    with pytest.raises(QuantizationError, match=r"norm: eps=1000000\.0 is .* beyond"):
        made(lambda m, x: m.norm(x * 1e-9), (9, 64), norm=nn.LayerNorm(64, eps=1e6))


def test_too_many_features() -> None:
    with pytest.raises(UnsupportedModuleError, match="40000 features; at most 32768"):
        made(lambda m, x: m.norm(x), (2, 40000), norm=nn.LayerNorm(40000))


def test_offsets_far_beyond_the_gain_keep_their_sum_in_range() -> None:
    """Gain and offset share a shift: a huge offset costs precision of the gain, never an overflow."""
    norm = nn.LayerNorm(8)
    model = Calls(lambda m, x: m.norm(x), norm=norm)
    with torch.no_grad():
        norm.bias.fill_(1e6)
    integer = quantize(model, [torch.randn(9, 8)])
    assert abs(float(integer.float_forward(torch.randn(3, 8)).mean()) - 1e6) < 1e3
