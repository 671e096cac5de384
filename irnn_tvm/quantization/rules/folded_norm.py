"""A BatchNorm1d whose arithmetic went into the layer before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.slots import Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class FoldedNormOp(Op):
    """Nothing is left to do."""

    kind = "folded"

    def plan(self) -> Value:
        return self.planner.values[self.planner.folded.norms[self.node]]

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0] if args else kwargs["input"]

    def emit(self, emitter: Emitter) -> Any:
        return emitter.env[self.planner.folded.norms[self.node]]
