"""Integer recurrent layers stay close to the float ones, with weights as wide as trained ones have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comparing import sqnr, tensors
from sampling import sampled
from torch import nn

from irnn_tvm.nn import GRU
from irnn_tvm.quantization import QuantConfig, quantize


def trained_like(model: nn.Module) -> nn.Module:
    """Heavier tails and larger weights than initialisation gives, forget gates biased open."""
    for name, parameter in model.named_parameters():
        if "weight" in name:
            wide = torch.randn_like(parameter) * (1.0 + 2.0 * (torch.rand_like(parameter) < 0.05))
            parameter.copy_(wide * 1.5 / parameter.shape[1] ** 0.5)
        elif isinstance(model, nn.LSTM):
            parameter[model.hidden_size : 2 * model.hidden_size] += 0.5
    return model


LAYERS: dict[str, tuple[Callable[[], nn.Module], float, float]] = {
    "lstm": (lambda: nn.LSTM(24, 48), 31.0, 22.0),
    "lstm_stacked_bidirectional": (lambda: nn.LSTM(24, 32, 2, bidirectional=True), 26.0, 18.0),
    "gru": (lambda: nn.GRU(24, 48), 32.0, 20.0),
    "gru_reset_before": (lambda: GRU(24, 48, reset_after=False), 30.0, 18.0),
    "gru_stacked": (lambda: nn.GRU(24, 32, 2), 30.0, 18.0),
}


def compare(model: nn.Module, config: QuantConfig) -> list[float]:
    """SQNR of every output on data that calibration did not see."""
    x = [torch.randn(30, 4, 24) for _ in range(4)]
    integer = quantize(model, x[:3], config)
    return [
        sqnr(a, b) for a, b in zip(tensors(model(x[3])), tensors(integer.float_forward(x[3])), strict=True)
    ]


@pytest.mark.parametrize("name", sampled(sorted(LAYERS), 2))
def test_unseen_sequences(name: str) -> None:
    make, wide, narrow = LAYERS[name]
    model = trained_like(make())
    default = compare(model, QuantConfig())
    assert min(default) > wide, default
    int8 = compare(model, QuantConfig.int8())
    assert min(int8) > narrow, int8


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "percentile", "mse"])
def test_every_observer_works_for_every_class(observer: str) -> None:
    names = ("input", "activation", "hidden", "gate", "cell")
    options: dict[str, Any] = {f"{name}_observer": observer for name in names}
    assert min(compare(trained_like(nn.LSTM(24, 16)), QuantConfig.int8(**options))) > 15.0


def test_compensated_rounding_beats_nearest() -> None:
    model = trained_like(nn.GRU(24, 48))
    mixing = torch.randn(24, 24) * torch.linspace(
        1, 0.05, 24
    )  # channels that depend on each other, as real ones do
    x = [torch.randn(30, 4, 24).cumsum(0).mul(0.3) @ mixing.T for _ in range(12)]
    found = {}
    for rounding in ("nearest", "compensated"):
        integer = quantize(model, x[:8], QuantConfig(weight_rounding=rounding))
        noise = [sqnr(model(b)[0], integer.float_forward(b)[0]) for b in x[8:]]
        found[rounding] = sum(noise) / len(noise)
    assert found["compensated"] > found["nearest"]


def test_long_sequences_do_not_drift() -> None:
    for make in (nn.LSTM, nn.GRU):
        model = trained_like(make(24, 32))
        integer = quantize(model, [torch.randn(40, 4, 24) for _ in range(3)])
        x = torch.randn(600, 2, 24)
        exact, found = model(x)[0], integer.float_forward(x)[0]
        assert sqnr(exact[-100:], found[-100:]) > 28.0


def test_convolution_front_end() -> None:
    model = nn.Sequential(nn.Conv1d(24, 32, 5, padding="same"), nn.ReLU(), nn.Conv1d(32, 32, 3, groups=32))
    x = [torch.randn(4, 24, 30) for _ in range(4)]
    integer = quantize(model, x[:3])
    assert sqnr(model(x[3]), integer.float_forward(x[3])) > 32.0
