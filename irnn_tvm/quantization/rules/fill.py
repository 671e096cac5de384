"""Tensors created in forward with one value: torch.zeros(...), x.new_zeros(...), torch.full_like(...)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Index, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

METHODS = ("new_zeros", "new_ones", "new_full")


@Registry.register(
    functions=(torch.zeros, torch.ones, torch.full, torch.zeros_like, torch.ones_like, torch.full_like),
    methods=METHODS,
)
class FillOp(Op):
    """A zero tensor given to an RNN as its state costs nothing; elsewhere it is created with the quantized
    value.
    """

    kind = "fill"

    def plan(self) -> Value:
        example: Tensor = self.node.meta["value"]
        self.fill = float(example.flatten()[0])
        if example.dtype in (torch.int32, torch.int64):
            return Index(self.node.name)
        if not example.is_floating_point():
            raise self.refuse(f"{example.dtype} tensors have no integer version")
        return self.planner.new_slot(
            f"constant {self.label}", bits=self.config.gate_bits, flexible=True, fill=self.fill
        )

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = super().simulate(sim, args, kwargs)
        return sim.quantize(made, self.value) if isinstance(self.value, Slot) else made

    def emit(self, emitter: Emitter) -> Any:
        if isinstance(self.value, Slot):
            q = self.value.qparams
            return emitter.full(self._sizes(emitter), int(q.quantize(self.fill)), f"int{q.bits}")
        dtype = str(self.node.meta["value"].dtype).removeprefix("torch.")
        return emitter.full(self._sizes(emitter), int(self.fill), dtype)

    def _sizes(self, emitter: Emitter) -> list[Any]:
        rank = self.node.meta["value"].dim()
        name = self.planner.describe(self.node)
        if name.endswith("_like"):
            source = emitter.env[self.argument(0, "input")]
            return [emitter.size(source, d) for d in range(rank)]
        args = list(self.node.args[1:] if self.node.op == "call_method" else self.node.args)
        given: Any = args if args else self.node.kwargs["size"]
        if len(args) and isinstance(args[0], tuple | list):
            given = args[0]
        sizes = emitter.map(given)
        if isinstance(sizes, list | tuple) and len(sizes) >= rank:
            return list(sizes[:rank])
        # A torch.Size value: torch.zeros(x.shape).
        whole = sizes[0] if isinstance(sizes, list | tuple) else sizes
        return [emitter.item(whole, d) for d in range(rank)]
