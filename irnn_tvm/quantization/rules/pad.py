"""Zero padding in forward, as causal convolutions use it: a concatenation with the quantized 0."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Slot, Value

LAYERS = (nn.ConstantPad1d, nn.ZeroPad1d)


@Registry.register(modules=LAYERS, functions=(F.pad,))
class PadOp(Op):
    """F.pad(x, (left, right, ...)) with zeros, amounts >= 0 and constant."""

    kind = "movement"

    def plan(self) -> Value:
        if isinstance(self.module, LAYERS):
            amounts: Any = self.module.padding
            value: Any = self.module.value
        else:
            if self.argument(2, "mode", "constant") != "constant":
                raise self.refuse("only padding with zeros has an integer version")
            amounts, value = self.argument(1, "pad"), self.argument(3, "value")
        self.amounts = [int(self.plain(a, "a padding")) for a in amounts]
        if value not in (None, 0, 0.0) or min(self.amounts) < 0:
            raise self.refuse("only padding with zeros by amounts >= 0 has an integer version")
        slot = self.slot(self.argument(0, "input"), "pad")
        slot.uses.discard("pad")
        return slot

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        q = self.value.qparams
        rank = self.node.meta["value"].dim()
        x = emitter.env[self.argument(0, "input")]
        for i in range(0, len(self.amounts), 2):
            axis = rank - 1 - i // 2
            parts = []
            for amount in self.amounts[i : i + 2]:
                sizes = [amount if d == axis else emitter.size(x, d) for d in range(rank)]
                parts.append(emitter.full(sizes, q.zero_point, f"int{q.bits}") if amount else None)
            if parts != [None, None]:
                x = emitter.call("concat", [p for p in (parts[0], x, parts[1]) if p is not None], axis)
        return x
