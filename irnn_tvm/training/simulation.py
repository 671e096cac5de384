"""Simulation: what the rules' `simulate` rounds with. Real-valued tensors in, the same on the integers' grids out.

A forward pass of the twin computes in float32 on values that lie on integer grids, with one rounding wherever the
integer operators round. It follows them to the last bit but for ties that float32 cannot tell apart; evaluation does
not use it, it runs the integer operators themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from irnn_tvm.ops.pwl_fit import PwlTable
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.evaluate import current
from irnn_tvm.quantization.observers import Histogram, Observer
from irnn_tvm.quantization.slots import Slot
from irnn_tvm.quantization.tables import FUNCTIONS, fit_table
from irnn_tvm.training import observers
from irnn_tvm.training.gate_tables import GateTables, Table, join
from irnn_tvm.training.straight_through import look_up, round_rows, round_to_grid

if TYPE_CHECKING:
    from irnn_tvm.quantization.planner import Planner
    from irnn_tvm.training.config import QatConfig

Function = Callable[[np.ndarray], np.ndarray]


class Simulation:
    """One twin's rounding. phase: "observe", "learn" or "frozen" (irnn_tvm.training.QatConfig)."""

    def __init__(self, planner: Planner, config: QatConfig) -> None:
        self.planner = planner
        self.config = config
        self.phase = "observe"
        self.gains: nn.Parameter | None = None
        found = observers.observers(planner)
        self.gain_index = {id(observer): i for i, observer in enumerate(found.values())}
        self.tables: dict[Hashable, Table] = {}
        self._internal: dict[Hashable, QParams] = {}
        self._joined: dict[Hashable, GateTables] = {}

    @property
    def observing(self) -> bool:
        """Whether ranges still move."""
        return self.phase != "frozen"

    def begin(self, phase: str, gains: nn.Parameter | None) -> None:
        """Before each forward pass: ranges that may have moved are resolved again."""
        self.gains = gains
        if self.phase != phase or phase != "frozen":
            self.forget()
        self.phase = phase

    def forget(self) -> None:
        """Takes over learned gains, and resolves every range again."""
        self.take_gains()
        observers.invalidate(self.planner)
        self._internal.clear()

    def take_gains(self) -> None:
        """Copies the learned gains to the observers that they belong to."""
        if self.gains is None:
            return
        values = self.gains.detach().double().exp().cpu().tolist()
        for observer, value in zip(observers.observers(self.planner).values(), values, strict=True):
            observer.gain = value

    def live(self, node: fx.Node) -> Any:
        """The value of a constant node (a parameter, or what is computed from parameters alone) as it is now, not
        rounded, with its gradient."""
        return current(self.planner.captured, node)

    def quantize(self, x: Tensor, slot: Slot) -> Tensor:
        """x rounded to the grid of a slot."""
        return round_to_grid(x, slot.qparams, self.gain(slot))

    def operand(self, x: Tensor, source: Slot, entry: Slot) -> Tensor:
        """x, on the grid of `source`, as an operand with the parameters of `entry`: a requantize where they differ."""
        if source.qparams == entry.qparams:
            return x
        return round_to_grid(x, entry.qparams, self.gain(entry))

    def internal(
        self, x: Tensor, key: Hashable, observer: Observer, resolve: Callable[[], QParams]
    ) -> tuple[Tensor, QParams]:
        """x rounded to the grid that resolve() gives, for a tensor inside of a layer; and that grid. key: its name."""
        q = self.grid(key, resolve)
        return round_to_grid(x, q, self.gain_of(observer)), q

    def grid(self, key: Hashable, resolve: Callable[[], QParams]) -> QParams:
        """resolve(), kept until ranges move."""
        if key not in self._internal:
            self._internal[key] = resolve()
        return self._internal[key]

    def rows(self, weight: Tensor) -> Tensor:
        """Weights [N, ...] on int8 grids with a scale per row."""
        return round_rows(weight)

    def gain(self, slot: Slot) -> Tensor | None:
        """The learned range of a slot, or None where it is not learned."""
        if self.phase != "learn":
            return None
        slot = slot.root
        while slot.parent is not None:
            slot = slot.parent.root
        if slot.merged and len({m.qparams for m in slot.merged}) == 1:
            return self.gain(slot.merged[0])
        if slot.is_constant or slot.is_fixed():
            return None
        return self.gain_of(slot.observer)

    def gain_of(self, observer: Observer) -> Tensor | None:
        """The learned range of what an observer sees, or None where it is not learned."""
        index = self.gain_index.get(id(observer))
        if self.phase != "learn" or self.gains is None or index is None:
            return None
        return self.gains[index]

    def function(
        self,
        x: Tensor,
        fn: str | Function,
        key: Hashable,
        grid: QParams,
        out: QParams,
        seen: Observer | Histogram | None,
    ) -> Tensor:
        """fn(x) on the grid `out`, for x on the grid `grid`; see `table`."""
        table = self.table(fn, key, grid, out, seen, x)
        return look_up(x, grid, table.values, table.slopes)

    def table(
        self,
        fn: str | Function,
        key: Hashable,
        grid: QParams,
        out: QParams,
        seen: Observer | Histogram | None,
        like: Tensor,
    ) -> Table:
        """The function at every integer of `grid`: exact and rounded while ranges move, the fitted table afterwards.

        fn: a name in irnn_tvm.quantization.tables.FUNCTIONS, or a float64 NumPy function. key: its name, unique in the
        model. seen: how often calibration saw each input. like: a tensor of the dtype and device wanted.
        """
        fitted = self.phase == "frozen"
        have = self.tables.get(key)
        wanted = (grid, out, fitted, like.device, like.dtype)
        if (
            have is None
            or (have.grid, have.out, have.fitted, have.values.device, have.values.dtype) != wanted
        ):
            function = FUNCTIONS[fn] if isinstance(fn, str) else fn
            histogram = seen.histogram if isinstance(seen, Observer) else seen
            have = self._make_table(function, grid, out, histogram, fitted, like)
            self.tables[key] = have
        return have

    def gates(
        self,
        key: Hashable,
        functions: Sequence[str],
        grids: Sequence[QParams],
        outs: Sequence[QParams],
        seen: Sequence[Observer],
        hidden: int,
        like: Tensor,
    ) -> GateTables:
        """The tables of several gates of `hidden` units each, side by side; arguments per gate as for `table`."""
        parts = tuple(
            self.table(fn, (key, i), grid, out, observer, like)
            for i, (fn, grid, out, observer) in enumerate(zip(functions, grids, outs, seen, strict=True))
        )
        have = self._joined.get(key)
        if have is None or any(a is not b for a, b in zip(have.parts, parts, strict=True)):
            have = self._joined[key] = join(parts, hidden)
        return have

    def _make_table(
        self,
        fn: Function,
        grid: QParams,
        out: QParams,
        histogram: Histogram | None,
        fitted: bool,
        like: Tensor,
    ) -> Table:
        q = np.arange(grid.qmin, grid.qmax + 1)
        real = grid.dequantize(q)
        with np.errstate(all="ignore"):
            if fitted:
                table = fit_table(fn, self.config.quant.pwl_pieces, grid, out, histogram)
                values = out.dequantize(table.evaluate(q, out.bits))
            else:
                values = out.dequantize(out.quantize(np.nan_to_num(fn(real), posinf=1e30, neginf=-1e30)))
            if fitted and self.config.pwl_gradient == "pwl":
                slopes = _segment_slopes(table, q) * (out.scale / grid.scale)
            else:
                half = grid.scale / 2
                slopes = np.nan_to_num(
                    (fn(real + half) - fn(real - half)) / grid.scale, posinf=0.0, neginf=0.0
                )
        slopes[0] = slopes[-1] = 0.0  # where inputs are clipped
        arrays = (real, values, slopes)
        as_tensor = [torch.from_numpy(a).to(dtype=like.dtype, device=like.device) for a in arrays]
        return Table(grid, out, fitted, *as_tensor)


def _segment_slopes(table: PwlTable, q: np.ndarray) -> np.ndarray:
    """Slope of the segment that each input falls in, in output steps per input step."""
    knots, slopes, _ = table.table.astype(np.float64)
    piece = np.maximum(np.searchsorted(knots, q, side="right") - 1, 0)
    return np.asarray(slopes[piece] / 2.0**table.shift)
