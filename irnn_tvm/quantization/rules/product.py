"""Products of two activations: torch.matmul, @, bmm."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.linear import LinearOp
from irnn_tvm.quantization.rules.operand import Operand, product_operand
from irnn_tvm.quantization.rules.softmax import WeightsSlot
from irnn_tvm.quantization.slots import Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.quantization.planner import Planner
    from irnn_tvm.training.simulation import Simulation


@Registry.register(
    functions=(torch.matmul, operator.matmul, torch.bmm), methods=("matmul", "bmm", "__matmul__")
)
class ProductOp(Op):
    """a @ b of equal leading sizes. A constant matrix on the right makes it a linear layer instead (LinearOp)."""

    kind = "matmul"

    def __new__(cls, planner: Planner, node: fx.Node) -> Any:
        right = node.args[1] if len(node.args) > 1 else node.kwargs.get("other", node.kwargs.get("mat2"))
        constant = isinstance(right, fx.Node) and planner.is_constant(right)
        return LinearOp(planner, node) if constant else super().__new__(cls)

    def plan(self) -> Value:
        left = self.argument(0, "input")
        right = self.argument(1, "mat2" if self.node.target is torch.bmm else "other")
        shapes = [n.meta["value"].shape for n in (left, right)]
        if min(map(len, shapes)) < 2 or shapes[0][:-2] != shapes[1][:-2]:
            raise self.refuse(
                f"products of activations are supported for tensors of equal leading sizes, not {tuple(shapes[0])} @ "
                f"{tuple(shapes[1])}; expand the smaller one"
            )
        self.left, self.right = (
            self._operand(left, "left factor"),
            product_operand(self, right, "right factor"),
        )
        slot = self.planner.new_slot(self.label, flexible=True)
        slot.watch(self.node)
        return slot

    def _operand(self, argument: fx.Node, what: str) -> Operand:
        source = self.planner.value(argument)
        if isinstance(source, WeightsSlot):
            source.add_use("product")
            return Operand(self.label, argument, source, source)
        return product_operand(self, argument, what)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = [*args, *kwargs.values()]
        a: Tensor = self.left.simulate(sim, values[0])
        b: Tensor = self.right.simulate(sim, values[1])
        assert isinstance(self.value, Slot)
        return sim.quantize(a @ b, self.value)

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        a, b, y = self.left.qparams, self.right.qparams, self.value.qparams
        (mult,), shift = bounded_multiplier([a.scale * b.scale / y.scale], [1 << 31], self.label)
        before = _transposed(self.right.node)
        right = self.right.emit(emitter, None if before is None else emitter.env[before])
        return emitter.call("matmul", self.left.emit(emitter), right, a.zero_point, b.zero_point, int(mult[0]), shift,
                            y.zero_point, y.bits, before is not None)  # fmt: skip


def _transposed(node: fx.Node) -> fx.Node | None:
    """What a node is the transpose of, if it is one: the product reads it in place."""
    if node.target in ("transpose", "swapaxes", "swapdims", torch.transpose, torch.swapaxes):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        rank = source.meta["value"].dim()
        dims = {a % rank for a in node.args[1:] if isinstance(a, int)}
        return source if dims == {rank - 1, rank - 2} else None
    if node.target is getattr and node.args[1] in ("mT", "mH"):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        return source
    return None
