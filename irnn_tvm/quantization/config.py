"""QuantConfig: every choice of post-training quantization in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization.observers import OBSERVERS, Observer
from irnn_tvm.quantization.observers.moving_average import MovingAverageObserver
from irnn_tvm.quantization.observers.percentile import PercentileObserver

WIDTHS = {
    "weight_bits": (8,),
    "activation_bits": (8,),
    "gate_bits": (8, 16),
    "cell_bits": (8, 16),
    "gru_state_bits": (8, 16),
    "output_bits": (8, 16),
}
WEIGHT_ROUNDINGS = ("compensated", "nearest")
TIED_WEIGHTS = ("shared", "separate")
TENSOR_CLASSES = ("input", "activation", "hidden", "gate", "cell")


@dataclass(frozen=True)
class QuantConfig:
    """How a float model becomes integers. Raises QuantizationError for a value that is not supported.

    - weight_bits, activation_bits: 8, the width of every operand of a matrix product.
    - gate_bits: RNN gate pre-activations and gates, and the inputs of nonlinear activations. 8 or 16.
    - cell_bits: the LSTM cell state. 8 or 16.
    - gru_state_bits: the GRU hidden state (its products read an 8-bit copy). 8 or 16.
    - output_bits: a model output that a linear, convolution, activation or elementwise op makes. 8 or 16.
    - pwl_pieces: segments per piecewise-linear activation table, 2..256.
    - weight_rounding: "compensated" rounds weights and shifts biases so that the layers' outputs on the
      calibration data stay closest; "nearest" rounds each weight by itself.
    - tied_weights: "shared" keeps one table for a linear layer and an embedding that have the same parameter (one
      scale for all rows then); "separate" gives the linear layer rows and scales of its own.
    - input_observer, activation_observer, hidden_observer, gate_observer, cell_observer: "minmax",
      "moving_average", "percentile" or "mse" for model inputs, activations between layers, RNN outputs, RNN
      gate pre-activations, LSTM cell states.
    - percentile: share of the data, in per cent, that the percentile observers keep, above 50 up to 100.
    - moving_average: weight of the newest batch, above 0 up to 1.
    - headroom: factor (>= 1) over the observed range of 16-bit tensors, which have the resolution to spare:
      an unseen sequence that reaches further does not saturate at once.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    gate_bits: int = 16
    cell_bits: int = 16
    gru_state_bits: int = 16
    output_bits: int = 16
    pwl_pieces: int = 32
    weight_rounding: str = "compensated"
    tied_weights: str = "shared"
    input_observer: str = "minmax"
    activation_observer: str = "minmax"
    hidden_observer: str = "minmax"
    gate_observer: str = "minmax"
    cell_observer: str = "minmax"
    percentile: float = 99.99
    moving_average: float = 0.1
    headroom: float = 2.0

    def __post_init__(self) -> None:
        for name, widths in WIDTHS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or value not in widths:
                supported = " or ".join(str(w) for w in widths)
                raise QuantizationError(f"{name}={value!r} is not supported; supported: {supported}")
        if isinstance(self.pwl_pieces, bool) or not isinstance(self.pwl_pieces, int):
            raise QuantizationError(f"pwl_pieces={self.pwl_pieces!r} is not an integer")
        if not 2 <= self.pwl_pieces <= 256:
            raise QuantizationError(f"pwl_pieces={self.pwl_pieces} is outside 2..256")
        if self.weight_rounding not in WEIGHT_ROUNDINGS:
            supported = ", ".join(WEIGHT_ROUNDINGS)
            raise QuantizationError(
                f"weight_rounding={self.weight_rounding!r} is unknown; supported: {supported}"
            )
        if self.tied_weights not in TIED_WEIGHTS:
            supported = ", ".join(TIED_WEIGHTS)
            raise QuantizationError(f"tied_weights={self.tied_weights!r} is unknown; supported: {supported}")
        for name in TENSOR_CLASSES:
            value = getattr(self, f"{name}_observer")
            if value not in OBSERVERS:
                supported = ", ".join(sorted(OBSERVERS))
                raise QuantizationError(f"{name}_observer={value!r} is unknown; supported: {supported}")
        self._check_number("percentile", 50.0, 100.0)
        self._check_number("moving_average", 0.0, 1.0)
        self._check_number("headroom", 1.0, 1024.0, closed=True)

    def _check_number(self, name: str, low: float, high: float, closed: bool = False) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not (low <= value <= high if closed else low < value <= high):
            raise QuantizationError(f"{name}={value!r} is outside {'[' if closed else '('}{low}, {high}]")

    @classmethod
    def int8(cls, **changes: Any) -> QuantConfig:
        """Everything 8 bits wide; keyword arguments change single fields."""
        known = {f.name for f in fields(cls)}
        for name in changes:
            if name not in known:
                raise QuantizationError(
                    f"QuantConfig has no field {name!r}; it has {', '.join(sorted(known))}"
                )
        narrow = {"gate_bits": 8, "cell_bits": 8, "gru_state_bits": 8, "output_bits": 8}
        return cls(**{**narrow, **changes})

    def observer(self, tensor_class: str, bits: int = 8, symmetric: bool = False) -> Observer:
        """A fresh observer for a tensor of one of the classes input, activation, hidden, gate, cell."""
        kind = OBSERVERS[getattr(self, f"{tensor_class}_observer")]
        if issubclass(kind, PercentileObserver):
            return kind(bits, symmetric, percentile=self.percentile)
        if issubclass(kind, MovingAverageObserver):
            return kind(bits, symmetric, momentum=self.moving_average)
        return kind(bits, symmetric)
