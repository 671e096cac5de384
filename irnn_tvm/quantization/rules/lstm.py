"""nn.LSTM and nn.LSTMCell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.float_lstm import LstmTrace, trace_lstm
from irnn_tvm.quantization.modules.integer_lstm import IntegerLSTM, IntegerLSTMLayer, LstmScalars
from irnn_tvm.quantization.rounding import Moments
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.layer import Internal, Layer
from irnn_tvm.quantization.rules.recurrent import (
    DirectionWeights,
    as_called,
    direction_weights,
    fit_tables,
    gate_qparams,
    gate_rows,
    int32,
    joint_bias,
    layered_state,
    only_indexed,
    reads,
    statistics_of,
    time_major,
)
from irnn_tvm.quantization.slots import Slot, Value
from irnn_tvm.quantization.tables import FLAT, OUTPUTS
from irnn_tvm.training.lstm_sequence import LstmGrids, lstm_sequence
from irnn_tvm.training.sequence import states_before

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

GATES = ("i", "f", "g", "o")
FUNCTIONS = ("sigmoid", "sigmoid", "tanh", "sigmoid", "tanh")


class LstmLayer(Layer):
    """hidden: a slot per layer, one for all when stacked states enter or leave the layer. cell: one for all.
    gates: an observer per layer, direction and gate."""

    def __init__(self, op: Op, module: nn.LSTM | nn.LSTMCell) -> None:
        super().__init__(op.planner, op.label)
        self.module = module
        config = op.config
        new = op.planner.new_slot
        self.hidden = [
            new(f"{op.label} hidden state of layer {k}", tensor_class="hidden", bits=8)
            for k in range(len(self.weights))
        ]
        self.cell = new(f"{op.label} cell state", tensor_class="cell", bits=config.cell_bits, symmetric=True)
        compensated = config.weight_rounding == "compensated"
        size = module.hidden_size
        # Of the state in each direction, and of the input of layers after the first.
        self.seen_h = [[Moments(size) if compensated else None for _ in ds] for ds in self.weights]
        self.seen_x = [Moments(size * len(self.weights[0])) if compensated else None for _ in self.weights]
        self.gates = [
            [[config.observer("gate") for _ in GATES] for _ in directions] for directions in self.weights
        ]

    @property
    def weights(self) -> list[list[DirectionWeights]]:
        """[layer][direction], as they are now."""
        return direction_weights(self.module)

    def share_hidden(self) -> None:
        """Stacked hidden states are one tensor, so all layers get the same parameters."""
        for slot in self.hidden[1:]:
            slot.follow(self.hidden[0])

    def trace(self, x: Tensor, h0: Tensor | None, c0: Tensor | None, refine: bool) -> None:
        """Runs the float layer on time-major x and stacked states. Shows everything to the observers or, when
        refining, the operands of the products to the moments."""
        index = 0
        size = self.module.hidden_size
        for k, directions in enumerate(self.weights):
            outputs = []
            if refine and k > 0 and (moments := self.seen_x[k]) is not None:
                moments.update(x, self.hidden[k - 1].qparams, 1)
            for d, w in enumerate(directions):
                h = h0[index] if h0 is not None else x.new_zeros(x.shape[1], size)
                c = c0[index] if c0 is not None else x.new_zeros(x.shape[1], size)
                found = trace_lstm(x, h, c, w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.reverse)
                if not refine:
                    self._show(k, d, found, h if h0 is not None else None, c if c0 is not None else None)
                elif (moments := self.seen_h[k][d]) is not None:
                    moments.update(states_before(found.hidden, h, w.reverse), self.hidden[k].qparams, 1)
                outputs.append(found.hidden)
                index += 1
            x = torch.cat(outputs, dim=-1)

    def _show(self, k: int, d: int, found: LstmTrace, h: Tensor | None, c: Tensor | None) -> None:
        if self.witness is not None:
            gates = dict(zip((f"gate {n}" for n in GATES), found.gates.chunk(4, dim=-1), strict=True))
            self.witness(k, d, gates | {"cell state": found.cell, "hidden state": found.hidden})
            return
        hidden, cell = self.hidden[k].root.observer, self.cell.root.observer
        for observer, first, rest in ((hidden, h, found.hidden), (cell, c, found.cell)):
            if first is not None:
                observer.update(first)
            observer.update(rest)
        for observer, gate in zip(self.gates[k][d], found.gates.chunk(4, dim=-1), strict=True):
            observer.update(gate)

    def simulate(
        self, sim: Simulation, x: Tensor, h0: Tensor | None, c0: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Time-major x and stacked states on their grids -> (y [T, B, D * H], h_n, c_n [L * D, B, H])."""
        size = self.module.hidden_size
        hs: list[Tensor] = []
        cs: list[Tensor] = []
        for k, directions in enumerate(self.weights):
            outputs = []
            for d, w in enumerate(directions):
                h = h0[len(hs)] if h0 is not None else x.new_zeros(x.shape[1], size)
                c = c0[len(cs)] if c0 is not None else x.new_zeros(x.shape[1], size)
                bias = w.b_ih + w.b_hh if w.b_ih is not None and w.b_hh is not None else None
                from_x = F.linear(x, sim.rows(w.w_ih), bias)
                gains = sim.gain(self.cell), sim.gain(self.hidden[k]), None
                grids = self._grids(sim, k, d, x)
                y, last = lstm_sequence(from_x, h, c, sim.rows(w.w_hh), grids, w.reverse, gains)
                outputs.append(y)
                hs.append(y[0] if w.reverse else y[-1])
                cs.append(last)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if k + 1 < len(self.weights):
                x = F.dropout(x, float(getattr(self.module, "dropout", 0.0)), self.module.training)
        return x, torch.stack(hs), torch.stack(cs)

    def _grids(self, sim: Simulation, k: int, d: int, like: Tensor) -> LstmGrids:
        config, seen, key = self.planner.config, self.gates[k][d], (self.name, k, d)
        functions = FUNCTIONS[:4]
        grids = [
            sim.grid((*key, gate), partial(gate_qparams, o, f, config))
            for gate, o, f in zip(GATES, seen, functions, strict=True)
        ]
        outs = [OUTPUTS[f](config.gate_bits) for f in FUNCTIONS]
        gates = sim.gates(key, functions, grids, outs[:4], seen, self.module.hidden_size, like)
        cell = self.cell.qparams
        tanh = sim.table("tanh", (*key, "tanh"), cell, outs[4], self.cell.root.observer, like)
        return LstmGrids(gates, tanh, self.hidden[k].qparams)

    def build(self) -> nn.Module:
        layers = []
        for k, directions in enumerate(self.weights):
            source = self.entry if k == 0 else self.hidden[k - 1]
            layers.append([self._direction(source, k, d, w) for d, w in enumerate(directions)])
        cell = isinstance(self.module, nn.LSTMCell)
        return IntegerLSTM(layers, not cell and bool(self.module.batch_first), cell, self.states_read)

    def _direction(self, source: Slot, k: int, d: int, w: DirectionWeights) -> IntegerLSTMLayer:
        config = self.planner.config
        name = f"{self.name} layer {k}{' reverse' if w.reverse else ''}"
        x, h, c = source.qparams, self.hidden[k].qparams, self.cell.qparams
        b_ih, b_hh = joint_bias(w)
        seen_h = statistics_of(self.seen_h[k][d], w.w_hh)
        seen = (statistics_of(self.moments if k == 0 else self.seen_x[k], w.w_ih), [seen_h] * 4)
        rows = gate_rows(w.w_ih, w.w_hh, b_ih + b_hh, 0.0 * b_hh, x, [h] * 4, [True] * 4, seen, name)
        observers = self.gates[k][d]
        grids = [gate_qparams(o, f, config) for o, f in zip(observers, FUNCTIONS, strict=False)]
        mult_ih, mult_hh, gate_shift = [], [], []
        size = self.module.hidden_size
        for gate, grid in enumerate(grids):
            r = slice(gate * size, (gate + 1) * size)
            real = [rows.ih.effective[r] / grid.scale, rows.hh.effective[r] / grid.scale]
            (m_ih, m_hh), shift = bounded_multiplier(
                real, [rows.ih_bound[r], rows.hh_bound[r]], f"{name} {GATES[gate]}"
            )
            mult_ih.append(torch.from_numpy(m_ih))
            mult_hh.append(torch.from_numpy(m_hh))
            gate_shift.append(shift)
        self.internals[k, d] = [
            *(
                Internal(f"gate {n}", q, o.low, o.high, FLAT[f, q.bits])
                for n, q, o, f in zip(GATES, grids, observers, FUNCTIONS, strict=False)
            ),
            Internal("cell state", c, self.cell.root.observer.low, self.cell.root.observer.high),
            Internal("hidden state", h, self.hidden[k].root.observer.low, self.hidden[k].root.observer.high),
        ]
        tables = fit_tables(FUNCTIONS, [*grids, c], [*observers, self.cell.root.observer], config)
        s_i, s_f, s_g, s_o, s_t = tables.scale
        unit = 1 << config.gate_bits
        (f_mult, i_mult), cell_shift = bounded_multiplier(
            [s_f, s_i * s_g / c.scale], [unit << (c.bits - 1), unit * unit >> 1], f"{name} cell update"
        )
        (h_mult,), h_shift = bounded_multiplier([s_o * s_t / h.scale], [unit * unit >> 1], f"{name} output")
        buffers = {
            "w_ih": torch.from_numpy(rows.ih.weight),
            "w_hh": torch.from_numpy(rows.hh.weight),
            "bias": int32(rows.bias),
            "mult_ih": torch.cat(mult_ih).int(),
            "mult_hh": torch.cat(mult_hh).int(),
            "tables": tables.table,
        }
        scalars = LstmScalars(
            gate_shift=tuple(gate_shift),
            gate_zp=tuple(g.zero_point for g in grids),
            gate_bits=config.gate_bits,
            table_shift=tuple(tables.shift),
            act_zp=tuple(tables.zero_point),
            f_mult=int(f_mult[0]),
            i_mult=int(i_mult[0]),
            cell_shift=cell_shift,
            cell_zp=c.zero_point,
            cell_bits=c.bits,
            h_mult=int(h_mult[0]),
            h_shift=h_shift,
            h_zp=h.zero_point,
        )
        return IntegerLSTMLayer(buffers, scalars, w.reverse)


@Registry.register(modules=(nn.LSTM, nn.LSTMCell))
class LstmOp(Op):
    """y, (h_n, c_n) = lstm(x, (h0, c0)); h, c = cell(x, (h, c))."""

    kind = "lstm"

    @classmethod
    def for_variant(cls, module: nn.Module) -> type[Op]:
        """Projections and the variants of irnn_tvm.nn.LSTM are another operator."""
        from irnn_tvm.quantization.rules.lstm_general import LstmGeneralOp  # it builds on this module

        plain = not getattr(module, "proj_size", 0) and getattr(module, "is_plain", True)
        return LstmOp if plain else LstmGeneralOp

    def make_layer(self, module: nn.LSTM | nn.LSTMCell) -> Any:
        """The integer layer in the making, shared by all calls of the module."""
        return LstmLayer(self, module)

    def plan(self) -> Value:
        module = self.module
        assert isinstance(module, nn.LSTM | nn.LSTMCell)
        self.is_cell = isinstance(module, nn.LSTMCell)
        if module not in self.planner.layers:
            self.planner.layers[module] = self.make_layer(module)
        self.layer: LstmLayer = self.planner.layers[module]
        self.layer.call(self.slot(self.argument(0, "input"), "product"))
        self.states = self._states()
        self.stack = True
        self.layer.states_read |= self.is_cell or reads(self.node, (1,))
        if self.is_cell:
            return self.layer.hidden[0], self.layer.cell
        if any(state is not None for state in self.states) or not only_indexed(self.node, (1, 0)):
            if reads(self.node, (1, 0)) or self.states[0] is not None:
                self.layer.share_hidden()
            return self.layer.hidden[-1], (self.layer.hidden[0], self.layer.cell)
        # h_n[-1] and the like: every layer keeps its own parameters, h_n is a tuple of states.
        self.stack = False
        states = tuple(
            slot for slot, ds in zip(self.layer.hidden, self.layer.weights, strict=True) for _ in ds
        )
        return self.layer.hidden[-1], (states, self.layer.cell)

    def _states(self) -> tuple[Slot | None, Slot | None]:
        given = self.planner.value(self.argument(1, "hx"))
        if given is None:
            return None, None
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise self.refuse("its state must be a pair (h, c)")
        found: list[Slot | None] = []
        for state, slot in zip(given, (self.layer.hidden[0], self.layer.cell), strict=True):
            if not isinstance(state, Slot):
                raise self.refuse("its state is not a pair of float tensors")
            if state.is_constant and state.is_zero():
                found.append(None)
                continue
            state.add_use("state16" if slot.bits == 16 else "state8")
            state.want(slot)
            found.append(state)
        return found[0], found[1]

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._trace(args, kwargs, False)

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._trace(args, kwargs, True)

    def _trace(self, args: tuple[Any, ...], kwargs: dict[str, Any], refine: bool) -> None:
        x = args[0] if args else kwargs["input"]
        if refine:
            self.layer.refine(time_major(self.module, x), 1)
        else:
            self.layer.observe(x)
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        given = [None, None] if hx is None else [layered_state(self.module, s) for s in hx]
        h0, c0 = (g if s is not None else None for g, s in zip(given, self.states, strict=True))
        self.layer.trace(time_major(self.module, x), h0, c0, refine)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.planner.values[self.argument(0, "input")]
        x = sim.operand(args[0] if args else kwargs["input"], source, self.layer.entry)
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        given = [
            sim.operand(layered_state(self.module, state), slot, own) if slot is not None else None
            for state, slot, own in zip(
                hx or (None, None), self.states, (self.layer.hidden[0], self.layer.cell), strict=True
            )
        ]
        y, h, c = self.layer.simulate(sim, time_major(self.module, x), *given)
        if self.is_cell:
            return (h[0], c[0]) if x.dim() == 2 else (h[0, 0], c[0, 0])
        y, h, c = as_called(self.module, x, y, h, c)
        return y, (h, c)

    def emit(self, emitter: Emitter) -> Any:
        x = self.argument(0, "input")
        node = emitter.to(emitter.env[x], self.planner.values[x].qparams, self.layer.entry, self.layer.name)
        given = emitter.map(self.argument(1, "hx")) or (None, None)
        states = [
            emitter.to(n, s.qparams, own, self.layer.name) if s is not None else None
            for n, s, own in zip(given, self.states, (self.layer.hidden[0], self.layer.cell), strict=True)
        ]
        call = self.layer.emit(emitter, node, *states)
        y, h, c = (emitter.item(call, i) for i in range(3))
        if self.is_cell:
            return h, c
        if not self.stack:
            _, (states, _) = self.value
            return y, (tuple(emitter.item(h, i) for i in range(len(states))), c)
        return y, (h, c)
