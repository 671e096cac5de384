"""Sums, differences and products of tensors, numbers and parameters."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Slot, Static, Value, symmetric_qparams

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class _Binary(Op):
    """Reads two operands; a Python number (or a size that never changes) becomes a float.

    through: place of the operand that is the result but for its scale, None when an operator is needed.
    """

    through: int | None

    def operands(self) -> tuple[Any, Any]:
        a, b = self.argument(0, "input"), self.argument(1, "other")
        return self._operand(a), self._operand(b)

    def _operand(self, argument: Any) -> Slot | float:
        if isinstance(argument, fx.Node) and not isinstance(self.planner.values[argument], Static):
            return self.slot(argument, "elementwise")
        value = self.plain(argument, "an operand")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(f"operand {value!r} is not a number")
        return float(value)

    def new_result(self) -> Slot:
        slot = self.planner.new_slot(self.label, flexible=True)
        slot.watch(self.node)
        return slot

    def operand_node(self, emitter: Emitter, position: int, operand: Slot | float) -> tuple[Any, QParams]:
        """The integer node and parameters of an operand; a number becomes a one-element constant, exact but
        for the rounding of its multiplier.
        """
        if isinstance(operand, Slot):
            name = "input" if position == 0 else "other"
            return emitter.env[self.argument(position, name)], operand.qparams
        q = symmetric_qparams(abs(operand), 8)
        return emitter.constant(f"{self.node.name}_number", torch.tensor([operand]), q), q

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = super().simulate(sim, args, kwargs)
        if self.through is not None:
            return result
        assert isinstance(self.value, Slot)
        return sim.quantize(result, self.value)

    def passes(self, position: int) -> fx.Node:
        node = self.argument(position, "input" if position == 0 else "other")
        assert isinstance(node, fx.Node)
        return node


@Registry.register(
    functions=(operator.add, operator.iadd, torch.add, operator.sub, operator.isub, torch.sub, torch.subtract,
               torch.rsub),
    methods=("add", "sub", "subtract", "add_", "sub_"),
)  # fmt: skip
class AddOp(_Binary):
    """a * a_factor + b * b_factor, rounded once."""

    kind = "add"

    def plan(self) -> Value:
        name = self.planner.describe(self.node)
        alpha = float(self.plain(self.argument(2, "alpha", 1), "alpha"))
        minus = any(word in name for word in ("sub",))
        self.factors = (1.0, -alpha if minus else alpha)
        if name == "rsub":
            self.factors = (-alpha, 1.0)
        self.a, self.b = self.operands()
        self.through = None
        for i, (this, other, factor) in enumerate(
            ((self.a, self.b, self.factors[0]), (self.b, self.a, self.factors[1]))
        ):
            if isinstance(this, Slot) and other == 0.0 and factor == 1.0:
                self.through = i
                return this
        return self.new_result()

    def emit(self, emitter: Emitter) -> Any:
        if self.through is not None:
            return emitter.env[self.passes(self.through)]
        assert isinstance(self.value, Slot)
        out = self.value.qparams
        (a, qa), (b, qb) = self.operand_node(emitter, 0, self.a), self.operand_node(emitter, 1, self.b)
        real = [qa.scale * abs(self.factors[0]) / out.scale, qb.scale * abs(self.factors[1]) / out.scale]
        bound = [1 << (qa.bits + (qa.zero_point != 0)), 1 << (qb.bits + (qb.zero_point != 0))]
        mult, shift = bounded_multiplier(real, bound, self.label)
        signs = [1 if f >= 0 else -1 for f in self.factors]
        m_a, m_b = int(mult[0][0]) * signs[0], int(mult[1][0]) * signs[1]
        return emitter.call(
            "add", a, b, qa.zero_point, qb.zero_point, m_a, m_b, shift, out.zero_point, out.bits
        )


@Registry.register(
    functions=(operator.mul, operator.imul, torch.mul, torch.multiply, operator.truediv, operator.itruediv,
               torch.div,
               torch.divide, torch.true_divide, operator.neg, torch.neg),
    methods=("mul", "multiply", "div", "divide", "true_divide", "mul_", "div_", "neg"),
)  # fmt: skip
class MulOp(_Binary):
    """a * b. Times (or divided by) a positive number only the scale changes: no operation at run time."""

    kind = "mul"

    def plan(self) -> Value:
        name = self.planner.describe(self.node).removeprefix("Tensor.")
        self.divides = "div" in name
        if self.argument(2, "rounding_mode") is not None:
            raise self.refuse("division with a rounding mode has no integer version")
        if name.startswith("neg"):
            self.a, self.b = self.slot(self.argument(0, "input"), "elementwise"), -1.0
        else:
            self.a, self.b = self.operands()
        if self.divides:
            if isinstance(self.b, Slot):
                raise self.refuse("division by a tensor has no integer version; divide by a number")
            if self.b == 0.0:
                raise self.refuse("division by 0")
            self.b = 1.0 / self.b
        self.through = None
        for i, (this, other) in enumerate(((self.a, self.b), (self.b, self.a))):
            if isinstance(this, Slot) and isinstance(other, float):
                if other == 0.0:
                    raise self.refuse("a product with 0 has no scale")
                if other > 0.0:
                    self.through = i
                    if other == 1.0:
                        return this
                    this.uses.discard("elementwise")
                    return self.planner.new_slot(self.label, parent=this, factor=other)
        return self.new_result()

    def emit(self, emitter: Emitter) -> Any:
        if self.through is not None:
            return emitter.env[self.passes(self.through)]
        assert isinstance(self.value, Slot)
        out = self.value.qparams
        (a, qa), (b, qb) = self.operand_node(emitter, 0, self.a), self.operand_node(emitter, 1, self.b)
        bound = 1 << (qa.bits + (qa.zero_point != 0) + qb.bits + (qb.zero_point != 0) - 2)
        mult, shift = bounded_multiplier([qa.scale * qb.scale / out.scale], [bound], self.label)
        return emitter.call(
            "mul", a, b, qa.zero_point, qb.zero_point, int(mult[0][0]), shift, out.zero_point, out.bits
        )
