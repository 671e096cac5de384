"""Constants: parameters, buffers and literals that a graph uses as tensors, and what is computed from them
alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.slots import Index, Mask, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class ConstantOp(Op):
    """A parameter or buffer; quantized with gate_bits, or with the parameters of the RNN state that it
    initialises.
    """

    kind = "constant"

    def plan(self) -> Value:
        return self._plan(self.node.meta["value"])

    def _plan(self, value: Any) -> Value:
        if isinstance(value, Tensor) and value.is_floating_point():
            return self.planner.new_slot(
                f"constant {self.node.target}",
                bits=self.config.gate_bits,
                flexible=True,
                constant=value.detach().cpu(),
            )
        if isinstance(value, Tensor) and value.dtype in (torch.int32, torch.int64):
            return Index(self.node.name)
        if isinstance(value, Tensor) and value.dtype == torch.bool:
            return self._mask(value)
        if isinstance(value, tuple | list):
            return type(value)(self._plan(v) for v in value)
        if isinstance(value, bool | int | float):
            return value  # a size
        raise self.refuse(
            f"a constant {getattr(value, 'dtype', type(value).__name__)} has no integer version"
        )

    def _mask(self, value: Tensor) -> Mask:
        """A constant mask: causal ones, or their opposite, are what an integer attention knows."""
        if value.dim() >= 2 and value.shape[-1] == value.shape[-2]:
            causal = torch.ones_like(value).tril()
            for valid, expected in ((True, causal), (False, ~causal)):
                if torch.equal(value, expected):
                    return Mask(causal=True, valid=valid)
        raise self.refuse(
            "a constant mask has an integer version when it is causal (irnn_tvm.nn.causal_mask or its opposite); "
            "for padding use irnn_tvm.nn.lengths_to_mask"
        )

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._simulate(sim, self.value, sim.live(self.node))

    def _simulate(self, sim: Simulation, slot: Value, live: Any) -> Any:
        if isinstance(slot, tuple | list):
            return type(slot)(self._simulate(sim, s, v) for s, v in zip(slot, live, strict=True))
        if not isinstance(slot, Slot):
            return live
        slot.constant = live.detach().cpu()
        slot.forget()
        return sim.quantize(live, slot)

    def emit(self, emitter: Emitter) -> Any:
        return self._emit(emitter, self.value, self.node.meta["value"])

    def _emit(self, emitter: Emitter, slot: Value, value: Any) -> Any:
        if isinstance(slot, tuple | list):
            return type(slot)(self._emit(emitter, s, v) for s, v in zip(slot, value, strict=True))
        if isinstance(slot, Slot):
            return emitter.constant(self.node.name, value, slot.qparams)
        if isinstance(slot, bool | int | float):
            return value
        if isinstance(slot, Mask):
            return emitter.reference  # nothing reads a mask; attention knows what it means
        return emitter.buffer(self.node.name, value)


class FoldedOp(ConstantOp):
    """An operation on constants only: its result is a constant too."""
