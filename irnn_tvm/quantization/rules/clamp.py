"""Piecewise clamps: relu, relu6, hardtanh, clamp. On the quantized grid they are a minimum and a maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


@Registry.register(
    modules=(nn.ReLU, nn.ReLU6, nn.Hardtanh),
    functions=(F.relu, F.relu_, torch.relu, torch.relu_, F.relu6, F.hardtanh, F.hardtanh_, torch.clamp,
               torch.clip,
               torch.clamp_min, torch.clamp_max),
    methods=("relu", "clamp", "clip", "clamp_min", "clamp_max"),
)  # fmt: skip
class ClampOp(Op):
    """Keeps the slot of its input. Directly after an operator that rescales, the observed range is the
    clamped one, so that the operator's own saturation does (most of) the work.
    """

    kind = "clamp"

    def plan(self) -> Value:
        self.low, self.high = self._bounds()
        slot = self.slot(self.argument(0, "input"), "clamp")
        slot.uses.discard("clamp")
        source = self.node.all_input_nodes[0]
        movable = slot.tail is source and len(source.users) == 1 and len(slot.watched) == 1
        if movable and slot.tensor_class == "activation" and not slot.is_constant:
            slot.watched = []
            slot.watch(self.node)
            slot.clamped = (self.low is not None, self.high is not None)
        return slot

    def _bounds(self) -> tuple[float | None, float | None]:
        if isinstance(self.module, nn.Hardtanh):  # ReLU6 is one
            return float(self.module.min_val), float(self.module.max_val)
        if isinstance(self.module, nn.ReLU):
            return 0.0, None
        name = self.planner.describe(self.node).removeprefix("Tensor.").rstrip("_")
        if name in ("clamp", "clip"):
            low, high = self.argument(1, "min"), self.argument(2, "max")
        elif name == "clamp_min":
            low, high = self.argument(1, "min"), None
        elif name == "clamp_max":
            low, high = None, self.argument(1, "max")
        elif name == "hardtanh":
            low, high = self.argument(1, "min_val", -1.0), self.argument(2, "max_val", 1.0)
        else:
            low, high = 0.0, 6.0 if name == "relu6" else None
        return self._number(low), self._number(high)

    def _number(self, bound: Any) -> float | None:
        if bound is None:
            return None
        value = self.plain(bound, "a clamp bound")
        if not isinstance(value, int | float):
            raise self.refuse("clamp bounds must be numbers")
        return float(value)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert isinstance(self.value, Slot)
        q = self.value.qparams
        low, high = (None if b is None else float(q.dequantize(q.quantize(b))) for b in (self.low, self.high))
        return torch.clamp(args[0] if args else kwargs["input"], low, high)

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        q = self.value.qparams
        low = q.qmin if self.low is None else int(q.quantize(self.low))
        high = q.qmax if self.high is None else int(q.quantize(self.high))
        x = emitter.env[self.argument(0, "input")]
        if low <= q.qmin and high >= q.qmax:
            return x
        return emitter.call("clamp", x, low, high)
