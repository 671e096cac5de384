"""Pooling over whole axes: mean, sum, max, and the adaptive pools with one output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Index, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

# Leaves room for the shift by log2 of the length, which may be known at run time only.
LARGEST_SHIFT = 40


class _Reduction(Op):
    """axes: those that go, ascending. keepdim: they stay with size 1."""

    axes: list[int]
    keepdim: bool

    def read_axes(self, dim: Any, keepdim: Any) -> None:
        rank = self.argument(0, "input").meta["value"].dim()
        keep = self.plain(keepdim, "keepdim")
        dims = range(rank) if dim is None else dim if isinstance(dim, tuple | list) else (dim,)
        self.axes = sorted(int(self.plain(d, "dim")) % rank for d in dims)
        self.keepdim = bool(keep)

    def reduce(self, emitter: Emitter, name: str, x: fx.Node, *args: Any) -> fx.Node:
        """irnn.<name>(x, dim, *args) over all of `axes` at once."""
        rank = self.argument(0, "input").meta["value"].dim()
        axis = self.axes[0]
        if len(self.axes) > 1:
            rest = [a for a in range(rank) if a not in self.axes]
            axis = len(rest)
            if rest + self.axes != list(range(rank)):
                x = emitter.graph.call_method("permute", (x, *rest, *self.axes))
            x = emitter.graph.call_method("flatten", (x, axis))
        y = emitter.call(name, x, axis, *args)
        for a in self.axes if self.keepdim else ():
            y = emitter.graph.call_method("unsqueeze", (y, a))
        return y


def _one(op: Op, size: Any) -> None:
    """Raises unless an adaptive pool has one output."""
    sizes = size if isinstance(size, tuple | list) else (size,)
    if [op.plain(s, "output_size") for s in sizes] != [1]:
        raise op.refuse(
            f"output_size={size} has no integer version; supported: 1, the pool over the whole axis"
        )


@Registry.register(
    modules=(nn.AdaptiveAvgPool1d,), functions=(torch.mean, F.adaptive_avg_pool1d), methods=("mean",)
)
class MeanOp(_Reduction):
    """Exact sum times one multiplier, which holds 1 / length: by Newton's method where the length is a run-time one."""

    kind = "mean_pool"

    def plan(self) -> Value:
        adaptive = isinstance(self.module, nn.AdaptiveAvgPool1d) or self.node.target is F.adaptive_avg_pool1d
        if adaptive:
            _one(
                self, self.module.output_size if self.module is not None else self.argument(1, "output_size")
            )
            self.read_axes(-1, True)
        else:
            self.read_axes(self.argument(1, "dim"), self.argument(2, "keepdim", False))
        self.source = self.slot(self.argument(0, "input"), "elementwise")
        slot = self.planner.new_slot(f"{self.label} output", flexible=True)
        slot.watch(self.node)
        return slot

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert isinstance(self.value, Slot)
        return sim.quantize(super().simulate(sim, args, kwargs), self.value)

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        x, y = self.source.qparams, self.value.qparams
        (mult,), shift = bounded_multiplier([x.scale / y.scale], [1 << 31], self.label)
        factor, excess = int(mult[0]), max(0, shift - LARGEST_SHIFT)
        if excess:
            factor, shift = max(1, (factor + (1 << (excess - 1))) >> excess), LARGEST_SHIFT
        node = emitter.env[self.argument(0, "input")]
        return self.reduce(emitter, "mean_pool", node, x.zero_point, factor, shift, y.zero_point, y.bits)


@Registry.register(functions=(torch.sum,), methods=("sum",))
class SumOp(_Reduction):
    """Exact sum times one multiplier."""

    kind = "sum_pool"

    def plan(self) -> Value:
        self.read_axes(self.argument(1, "dim"), self.argument(2, "keepdim", False))
        self.source = self.slot(self.argument(0, "input"), "elementwise")
        slot = self.planner.new_slot(f"{self.label} output", flexible=True)
        slot.watch(self.node)
        return slot

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert isinstance(self.value, Slot)
        return sim.quantize(super().simulate(sim, args, kwargs), self.value)

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        x, y = self.source.qparams, self.value.qparams
        (mult,), shift = bounded_multiplier([x.scale / y.scale], [1 << 31], self.label)
        node = emitter.env[self.argument(0, "input")]
        return self.reduce(emitter, "sum_pool", node, x.zero_point, int(mult[0]), shift, y.zero_point, y.bits)


@Registry.register(
    modules=(nn.AdaptiveMaxPool1d,),
    functions=(torch.amax, torch.max, F.adaptive_max_pool1d),
    methods=("amax", "max"),
)
class MaxOp(_Reduction):
    """The largest integer is the largest value: scale and zero point stay. x.max(dim) also gives where it is."""

    kind = "movement"

    def plan(self) -> Value:
        name = self.planner.describe(self.node).removeprefix("Tensor.")
        self.indexed = name == "max" and isinstance(self.node.meta["value"], tuple)
        if self.module is not None or "adaptive" in name:
            if isinstance(self.node.meta["value"], tuple):
                raise self.refuse("return_indices=True has no integer version; use x.max(dim)")
            _one(
                self, self.module.output_size if self.module is not None else self.argument(1, "output_size")
            )
            self.read_axes(-1, True)
        else:
            if (
                name == "max"
                and not self.indexed
                and self.argument(1, "dim", self.argument(1, "other")) is not None
            ):
                raise self.refuse("the larger of two tensors has no integer version; use x.max(dim)")
            self.read_axes(self.argument(1, "dim"), self.argument(2, "keepdim", False))
        slot = self.slot(self.argument(0, "input"), "max")
        slot.uses.discard("max")
        return (slot, Index(self.node.name)) if self.indexed else slot

    def emit(self, emitter: Emitter) -> Any:
        x = emitter.env[self.argument(0, "input")]
        values = self.reduce(emitter, "max_pool", x)
        return (values, self.reduce(emitter, "argmax", x)) if self.indexed else values
