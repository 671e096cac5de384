"""irnn_tvm.nn.GrowingMemory: the rows of a memory, and what is appended to it, share their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irnn_tvm.nn.growing_memory import GrowingMemory
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Index, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

NAMES = ("memory", "length", "x")


@Registry.register(modules=(GrowingMemory,))
class GrowingMemoryOp(Op):
    """An input memory takes the parameters of the memory that comes out, so that it can be fed back as it is."""

    kind = "memory"

    def plan(self) -> Value:
        memory, length, x = (self.argument(i, name) for i, name in enumerate(NAMES))
        count = self.planner.value(length)
        if not isinstance(count, Index):
            raise self.refuse("its length is not an integer tensor of the model")
        count.restrict(2 * memory.meta["value"].shape[1])
        self.sources = (self.slot(memory, "state8"), self.slot(x, "state8"))
        slot = self.planner.new_slot(f"{self.label} memory", bits=8)
        slot.watch(self.node, (0,))
        for source in self.sources:
            source.want(slot)
        return slot, Index(self.node.name)

    @property
    def slot_out(self) -> Slot:
        assert isinstance(self.value, tuple)
        found: Slot = self.value[0]
        return found

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        memory, length, x = (args[i] if len(args) > i else kwargs[name] for i, name in enumerate(NAMES))
        old, new = (sim.operand(t, s, self.slot_out) for t, s in zip((memory, x), self.sources, strict=True))
        assert isinstance(self.module, GrowingMemory)
        return self.module(old, length, new)

    def emit(self, emitter: Emitter) -> Any:
        memory, length, x = (emitter.env[self.argument(i, name)] for i, name in enumerate(NAMES))
        old, new = (
            emitter.to(n, s.qparams, self.slot_out, self.label)
            for n, s in zip((memory, x), self.sources, strict=True)
        )
        made = emitter.call("append", old, length, new)
        return emitter.item(made, 0), emitter.item(made, 1)
