"""What the rules of recurrent variants share: observers and grids by name, and the hooks that use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from irnn_tvm.nn.recurrence import Exact, Recorder, over_time
from irnn_tvm.ops.norm_bounds import CODES, eps_unit, integer_eps
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.observers import Observer
from irnn_tvm.quantization.rounding import Moments, Statistics
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.rules.layer import Internal, Layer, float_array
from irnn_tvm.quantization.rules.recurrent import gate_qparams
from irnn_tvm.quantization.slots import Slot, affine_qparams, symmetric_qparams
from irnn_tvm.quantization.tables import FLAT, OUTPUTS
from irnn_tvm.training.gate_tables import GateTables, Table
from irnn_tvm.training.straight_through import look_up

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

# How the grid of a point inside a step comes from what was seen: a function's pre-activation (its name), a 16-bit
# tensor on the way into a norm, or the int8 operand of a product.
WIDE, OPERAND = "wide", "operand"


@dataclass(frozen=True)
class Place:
    """One direction of one layer: its number, its points (name -> kind) and the slots of those points that are seen
    outside of the step."""

    layer: int
    direction: int
    points: Mapping[str, str]
    slots: Mapping[str, Slot]


class VariantLayer(Layer):
    """places: [layer][direction]. seen: an observer per point; statistics: moments of the operand of each matrix."""

    def __init__(self, op: Op, places: list[list[Place]]) -> None:
        super().__init__(op.planner, op.label)
        config = op.config
        self.places = places
        self.seen: list[list[dict[str, Observer]]] = [
            [
                {
                    name: config.observer("hidden" if kind == OPERAND else "gate")
                    for name, kind in p.points.items()
                }
                for p in directions
            ]
            for directions in places
        ]
        self.operand_moments: list[list[dict[str, Moments]]] = [[{} for _ in ds] for ds in places]

    def grid(self, k: int, d: int, name: str) -> QParams:
        """Parameters of a point: its slot's, or from what its observer saw."""
        place = self.places[k][d]
        if name in place.slots:
            return place.slots[name].qparams
        kind, observer, config = place.points[name], self.seen[k][d][name], self.planner.config
        if kind == OPERAND:
            observer.bits, observer.symmetric = 8, False
            low, high = observer.range()
            return affine_qparams(low, high, 8) if max(-low, high) > 1e-30 else symmetric_qparams(1.0, 8)
        if kind == WIDE:
            observer.bits, observer.symmetric = 16, True
            low, high = observer.range()
            amax = max(-low, high, 0.0) * config.headroom
            return symmetric_qparams(amax if amax > 1e-30 else 1.0, 16)
        return gate_qparams(observer, kind, config)

    # What a variant is: subclasses define these.

    state_sizes: tuple[int, ...]  # widths of the states

    def state_slots(self, k: int) -> list[list[Slot]]:
        """For each state of layer k: the slots whose observers see a given initial one."""
        raise NotImplementedError

    def source(self, k: int) -> Slot:
        """The slot of the input of layer k."""
        raise NotImplementedError

    def operand_grids(self, k: int, d: int) -> Mapping[str, QParams]:
        """Parameters of the operand of each matrix."""
        raise NotImplementedError

    def run(
        self, k: int, d: int, x: Tensor, states: list[Tensor], hooks: Exact
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One direction of layer k over x [T, B, ...]. Returns y and the last states."""
        raise NotImplementedError

    def refine(self, x: Tensor, axis: int = 0) -> None:
        """Moments come from `trace_layers`, which sees the operands of every product."""

    def trace_layers(self, x: Tensor, given: Sequence[Tensor | None], refine: bool) -> None:
        """Runs the float layers on time-major x and stacked states. Shows everything to the observers or, when
        refining, the operands of the products to the moments."""
        index = 0
        for k, directions in enumerate(self.places):
            outputs = []
            for d in range(len(directions)):
                recorder = Recorder()
                outputs.append(self.run(k, d, x, self._initial(x, given, index), recorder)[0])
                if self.witness is not None:
                    self.witness(k, d, {name: seen(values) for name, values in recorder.seen.items()})
                elif refine:
                    self.learn(k, d, recorder, self.operand_grids(k, d))
                else:
                    for state, slots in zip(given, self.state_slots(k), strict=True):
                        for slot in slots:
                            if state is not None:
                                slot.root.observer.update(state[index])
                    self.show(k, d, recorder)
                index += 1
            x = torch.cat(outputs, dim=-1)

    def simulate_layers(
        self, sim: Simulation, x: Tensor, given: Sequence[Tensor | None], dropout: float, training: bool
    ) -> tuple[Tensor, ...]:
        """Time-major x and stacked states on their grids -> (y, stacked last states ...)."""
        last: list[tuple[Tensor, ...]] = []
        for k, directions in enumerate(self.places):
            outputs = []
            for d in range(len(directions)):
                y, states = self.run(k, d, x, self._initial(x, given, len(last)), Rounded(sim, self, k, d))
                outputs.append(y)
                last.append(states)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if k + 1 < len(self.places):
                x = F.dropout(x, dropout, training)
        return x, *(torch.stack(states) for states in zip(*last, strict=True))

    def _initial(self, x: Tensor, given: Sequence[Tensor | None], index: int) -> list[Tensor]:
        return [
            state[index] if state is not None else x.new_zeros(x.shape[1], size)
            for state, size in zip(given, self.state_sizes, strict=True)
        ]

    def describe(self, k: int, d: int, last: Sequence[str]) -> None:
        """Rows of the report: all points, then those with a slot named in `last`."""
        names = [*self.places[k][d].points, *last]
        self.internals[k, d] = [self.internal(k, d, name) for name in names]

    def show(self, k: int, d: int, recorder: Recorder) -> None:
        """Shows what a run of the float step recorded to the observers."""
        slots = self.places[k][d].slots
        for name, values in recorder.seen.items():
            observer = slots[name].root.observer if name in slots else self.seen[k][d][name]
            observer.update(over_time(values))

    def learn(self, k: int, d: int, recorder: Recorder, grids: Mapping[str, QParams]) -> None:
        """Shows the operands of products to their moments. grids: parameters of the operand of each matrix."""
        if self.planner.config.weight_rounding != "compensated":
            return
        found = self.operand_moments[k][d]
        for name, values in recorder.operands.items():
            operand = over_time(values)
            if name not in found:
                found[name] = Moments(operand.shape[-1])
            found[name].update(operand, grids[name], 1)

    def statistics_for(self, k: int, d: int, name: str, weight: Tensor) -> Statistics | None:
        """What rounding of the matrix `name` may use."""
        moments = self.operand_moments[k][d].get(name)
        return moments.statistics(float_array(weight)) if moments is not None else None

    def internal(self, k: int, d: int, name: str) -> Internal:
        """A point's row of the report."""
        place = self.places[k][d]
        q = self.grid(k, d, name)
        if name in place.slots:
            observer = place.slots[name].root.observer
            return Internal(name, q, observer.low, observer.high)
        observer = self.seen[k][d][name]
        flat = FLAT.get((place.points[name], q.bits), float("inf"))
        return Internal(name, q, observer.low, observer.high, flat)


def seen(values: Sequence[Tensor]) -> Tensor:
    """`over_time`, which says of itself whether it was made step by step, in the order of computation."""
    found = over_time(values).clone()
    found.stepwise = len(values) > 1 or values[0].dim() < 3  # type: ignore[attr-defined]
    return found


class LookUpGates(torch.autograd.Function):
    """Activations of all gates, each rounded to its grid first; the gradient is the tables' slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tables: GateTables) -> Tensor:
        place = tables.index(x)
        ctx.save_for_backward(place)
        ctx.tables = tables
        return tables.look_up(place)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (place,) = ctx.saved_tensors
        return grads[0] * ctx.tables.derivative(place), None


class Rounded(Exact):
    """Hooks of training: every point on its grid, weights on theirs, functions as their tables."""

    def __init__(self, sim: Simulation, layer: VariantLayer, k: int, d: int) -> None:
        self.sim, self.layer, self.k, self.d = sim, layer, k, d
        self.place = layer.places[k][d]
        self.weights: dict[str, Tensor] = {}
        self.gates: dict[tuple[Any, ...], GateTables] = {}
        self.bits = layer.planner.config.gate_bits

    def _key(self, name: str) -> tuple[Any, ...]:
        return (self.layer.name, self.k, self.d, name)

    def linear(self, name: str, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if name not in self.weights:
            self.weights[name] = self.sim.rows(weight)
        return F.linear(x, self.weights[name], bias)

    def point(self, name: str, x: Tensor) -> Tensor:
        if name in self.place.slots:
            return self.sim.quantize(x, self.place.slots[name])
        return self._rounded(name, x)[0]

    def normalise(
        self, name: str, x: Tensor, kind: str, gain: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        scale, n, code = self.layer.grid(self.k, self.d, name).scale, x.shape[-1], CODES[kind]
        rounded = integer_eps(code, eps, n, scale) * eps_unit(code, n, scale)
        return super().normalise(name, x, kind, gain, bias, rounded)

    def activate(self, name: str, function: str, x: Tensor) -> Tensor:
        return self._activate((name,), (function,), x, [OUTPUTS[function](self.bits)])[0]

    def activate_gates(self, names: Sequence[str], functions: Sequence[str], x: Tensor) -> tuple[Tensor, ...]:
        return self._activate(names, functions, x, [OUTPUTS[function](self.bits) for function in functions])

    def activate_onto(self, name: str, function: str, x: Tensor, target: str) -> Tensor:
        return self._activate((name,), (function,), x, [self.place.slots[target].qparams])[0]

    def _activate(
        self, names: Sequence[str], functions: Sequence[str], x: Tensor, outs: Sequence[QParams]
    ) -> tuple[Tensor, ...]:
        """Functions of the parts of x, each rounded to its grid first, on the grids `outs`."""
        seen = [self.layer.seen[self.k][self.d][name] for name in names]
        if self.sim.phase == "learn":  # ranges of gates have gradients then
            found = []
            for i, (name, part) in enumerate(zip(names, x.chunk(len(names), dim=-1), strict=True)):
                rounded, q = self._rounded(name, part)
                key = (*self._key(name), "table")
                found.append(self.sim.function(rounded, functions[i], key, q, outs[i], seen[i]))
            return tuple(found)
        tables = self.gate_tables(names, functions, x.shape[-1] // len(names), x, outs)
        activated: Tensor = LookUpGates.apply(x, tables)
        return activated.chunk(len(names), dim=-1)

    def gate_tables(
        self,
        names: Sequence[str],
        functions: Sequence[str],
        hidden: int,
        like: Tensor,
        outs: Sequence[QParams] | None = None,
    ) -> GateTables:
        """The tables of the named gates of `hidden` units each; outs: their grids, the functions' own when None."""
        key = (*self._key("gates"), *names)
        if key not in self.gates:
            grids = [self.grid(name) for name in names]
            seen = [self.layer.seen[self.k][self.d][name] for name in names]
            outs = outs or [OUTPUTS[function](self.bits) for function in functions]
            self.gates[key] = self.sim.gates(key, functions, grids, outs, seen, hidden, like)
        return self.gates[key]

    def activate_cell(self, x: Tensor) -> Tensor:
        table = self.cell_table(x)
        return look_up(x, table.grid, table.values, table.slopes)

    def cell_table(self, like: Tensor) -> Table:
        """tanh of the cell state."""
        cell, out = self.place.slots["cell state"], OUTPUTS["tanh"](self.bits)
        key = self._key("tanh of the cell")
        return self.sim.table("tanh", key, cell.qparams, out, cell.root.observer, like)

    def grid(self, name: str) -> QParams:
        """Parameters of a point, kept until ranges move."""
        return self.sim.grid(self._key(name), partial(self.layer.grid, self.k, self.d, name))

    def _rounded(self, name: str, x: Tensor) -> tuple[Tensor, QParams]:
        observer = self.layer.seen[self.k][self.d][name]
        return self.sim.internal(x, self._key(name), observer, partial(self.layer.grid, self.k, self.d, name))
