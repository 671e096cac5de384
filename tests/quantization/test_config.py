"""QuantConfig refuses what the operators cannot do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization import QuantConfig
from irnn_tvm.quantization.observers import OBSERVERS


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"weight_bits": 4}, "weight_bits=4 is not supported; supported: 8"),
        ({"activation_bits": 16}, "activation_bits=16"),
        ({"gate_bits": 12}, "gate_bits=12 is not supported; supported: 8 or 16"),
        ({"cell_bits": True}, "cell_bits=True"),
        ({"gru_state_bits": "8"}, "gru_state_bits='8'"),
        ({"output_bits": 32}, "output_bits=32"),
        ({"pwl_pieces": 1}, "outside 2..256"),
        ({"pwl_pieces": 2.5}, "not an integer"),
        (
            {"gate_observer": "max"},
            "gate_observer='max' is unknown; supported: minmax, moving_average, mse, percentile",
        ),
        ({"percentile": 101.0}, "percentile=101.0"),
        ({"moving_average": 0.0}, "moving_average=0.0"),
        ({"headroom": 0.5}, "headroom=0.5"),
        ({"headroom": float("nan")}, "headroom=nan"),
        ({"weight_rounding": "up"}, "weight_rounding='up' is unknown"),
    ],
)
def test_bad_values(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(QuantizationError, match=text):
        QuantConfig(**changes)


def test_int8_preset() -> None:
    config = QuantConfig.int8(pwl_pieces=16)
    assert (config.gate_bits, config.cell_bits, config.gru_state_bits, config.output_bits) == (8, 8, 8, 8)
    assert config.pwl_pieces == 16
    with pytest.raises(QuantizationError, match="no field 'pieces'"):
        QuantConfig.int8(pieces=3)


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        QuantConfig().gate_bits = 8  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(OBSERVERS))
def test_observers_are_made_with_their_settings(name: str) -> None:
    config = QuantConfig(gate_observer=name, percentile=90.0, moving_average=0.5)
    observer = config.observer("gate", 16, True)
    assert type(observer) is OBSERVERS[name]
    assert (observer.bits, observer.symmetric) == (16, True)
    assert getattr(observer, "percentile", 90.0) == 90.0
    assert getattr(observer, "momentum", 0.5) == 0.5
