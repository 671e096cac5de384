"""Layer: what all calls of one float layer share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, fx, nn

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rounding import Moments, Statistics
from irnn_tvm.quantization.slots import Slot

if TYPE_CHECKING:
    from irnn_tvm.quantization.planner import Planner


class Entry(Slot):
    """The int8 input of a layer: the parameters of its operand where those are int8 and all calls agree on
    them, parameters of its own otherwise, and then the operands are requantized on entry.
    """

    sources: list[Slot]

    def _resolve(self) -> QParams:
        found = {source.qparams for source in self.sources}
        if len(found) == 1 and next(iter(found)).bits == 8:
            return found.pop()
        return super()._resolve()


@dataclass(frozen=True)
class Internal:
    """A tensor inside a recurrent operator. flat: the function that reads it is constant beyond +-flat, so
    clipping there changes nothing.
    """

    name: str
    qparams: QParams
    low: float
    high: float
    flat: float = float("inf")


class Layer:
    """Integer parameters of one float layer. Subclasses build the integer layer once calibration is over."""

    def __init__(self, planner: Planner, name: str) -> None:
        self.planner = planner
        self.name = name
        self.entry = Entry(f"{name} input", planner.config, bits=8)
        self.entry.sources = []
        self.states_read = False  # whether any call's final states are used
        self.internals: dict[tuple[int, int], list[Internal]] = {}
        self.moments: Moments | None = None
        self.path: str | None = None
        # Takes layer, direction and the tensors inside in the place of the observers, while a model is measured.
        self.witness: Callable[[int, int, dict[str, Tensor]], None] | None = None

    def call(self, source: Slot) -> None:
        """Registers the operand of one more call."""
        self.entry.sources.append(source)

    def observe(self, x: Tensor) -> None:
        """Sees the float operand of one call."""
        if self.witness is None:
            self.entry.observer.update(x)

    def refine(self, x: Tensor, axis: int = 0) -> None:
        """Sees the float operand vectors [..., K] again, when the entry's parameters are known; axis: the batch's."""
        if self.planner.config.weight_rounding == "compensated":
            if self.moments is None:
                self.moments = Moments(x.shape[-1])
            self.moments.update(x, self.entry.qparams, axis)

    def statistics(self, weight: np.ndarray) -> Statistics | None:
        """What rounding of the weights [N, K] may use; None for plain rounding."""
        return self.moments.statistics(weight) if self.moments is not None else None

    def build(self) -> nn.Module:
        """The integer layer. Raises CalibrationError or AccumulatorOverflowError."""
        raise NotImplementedError

    def emit(self, emitter: Emitter, *args: Any) -> fx.Node:
        """A call of the integer layer, built on first use."""
        if self.path is None:
            self.path = emitter.register(self.name, self.build())
        return emitter.graph.call_module(self.path, args)


def float_array(tensor: Tensor) -> np.ndarray:
    """A parameter as float64 NumPy."""
    found: np.ndarray = tensor.detach().double().cpu().numpy()
    return found
