"""Pooling of windows along the last axis: nn.AvgPool1d, nn.MaxPool1d."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class _Windows(Op):
    """kernel, stride, padding of a pool, and x as [B, C, T]."""

    def setting(self, name: str, position: int, default: Any) -> int:
        """An argument of the function, or the layer's attribute, as one integer."""
        value = (
            getattr(self.module, name) if self.module is not None else self.argument(position, name, default)
        )
        if isinstance(value, tuple | list):
            if len(value) != 1:
                raise self.refuse(f"{name}={tuple(value)} has several sizes; one axis is supported")
            value = value[0]
        return int(self.plain(value, name))

    def flag(self, name: str, position: int, default: bool) -> bool:
        value = (
            getattr(self.module, name) if self.module is not None else self.argument(position, name, default)
        )
        return bool(self.plain(value, name))

    def read_windows(self, last: int) -> None:
        """last: position of ceil_mode among the function's arguments."""
        self.kernel = self.setting("kernel_size", 1, None)
        given = self.module.stride if self.module is not None else self.argument(2, "stride")
        empty = given is None or (isinstance(given, tuple | list) and not given)
        self.stride = self.kernel if empty else self.setting("stride", 2, None)
        self.padding = self.setting("padding", 3, 0)
        if self.flag("ceil_mode", last, False):
            raise self.refuse("ceil_mode=True has no integer version; pad the sequence instead")

    def call(self, emitter: Emitter, name: str, *args: Any) -> Any:
        """irnn.<name> on x [B, C, T]; unbatched x gets a batch of 1."""
        x = emitter.env[self.argument(0, "input")]
        batched = self.node.meta["value"].dim() == 3
        if not batched:
            x = emitter.graph.call_method("unsqueeze", (x, 0))
        y = emitter.call(name, x, *args)
        return y if batched else emitter.graph.call_method("squeeze", (y, 0))


@Registry.register(modules=(nn.AvgPool1d,), functions=(F.avg_pool1d,))
class AvgPoolOp(_Windows):
    """Exact sum of a window times one multiplier."""

    kind = "avg_pool1d"

    def plan(self) -> Value:
        self.read_windows(4)
        if self.padding and not self.flag("count_include_pad", 5, True):
            raise self.refuse(
                "count_include_pad=False with padding divides by another number at the ends; only True has an integer "
                "version"
            )
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
        bound = self.kernel << x.bits
        (mult,), shift = bounded_multiplier([x.scale / y.scale / self.kernel], [bound], self.label)
        return self.call(emitter, "avg_pool1d", self.kernel, self.stride, self.padding, x.zero_point, int(mult[0]),
                         shift, y.zero_point, y.bits)  # fmt: skip


@Registry.register(modules=(nn.MaxPool1d,), functions=(F.max_pool1d,))
class MaxPoolOp(_Windows):
    """The largest integer is the largest value: scale and zero point stay."""

    kind = "movement"

    def plan(self) -> Value:
        self.read_windows(5)
        self.dilation = self.setting("dilation", 4, 1)
        if self.flag("return_indices", 6, False):
            raise self.refuse("return_indices=True has no integer version")
        slot = self.slot(self.argument(0, "input"), "max")
        slot.uses.discard("max")
        return slot

    def emit(self, emitter: Emitter) -> Any:
        return self.call(emitter, "max_pool1d", self.kernel, self.stride, self.padding, self.dilation)
