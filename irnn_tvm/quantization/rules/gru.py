"""nn.GRU, nn.GRUCell and irnn_tvm.nn.GRU (reset gate after or before the product)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.nn.gru import GRU
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier, check_accumulators
from irnn_tvm.quantization.float_gru import GruTrace, trace_gru
from irnn_tvm.quantization.modules.integer_gru import GruScalars, IntegerGRU, IntegerGRULayer
from irnn_tvm.quantization.rounding import Moments
from irnn_tvm.quantization.rules.base import Op, Registry, concrete
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
    reads,
    statistics_of,
    time_major,
    wide_qparams,
)
from irnn_tvm.quantization.slots import Slot, Value, affine_qparams, symmetric_qparams
from irnn_tvm.quantization.tables import FLAT, OUTPUTS
from irnn_tvm.training.gru_sequence import GruGrids, gru_sequence, gru_sequence_reset_before
from irnn_tvm.training.sequence import states_before

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

GATES = ("r", "z", "n")
FUNCTIONS = ("sigmoid", "sigmoid", "tanh")


def _state_grid(bits: int) -> QParams:
    return QParams(2.0**-15, 0, 16)


def state_slot(op: Op) -> Slot:
    """The slot of a GRU's state, one for all of its layers."""
    bits = op.config.gru_state_bits
    fixed = _state_grid if bits == 16 else None
    return op.planner.new_slot(
        f"{op.label} state", tensor_class="hidden", bits=bits, fixed=fixed, fixed_until=1.0
    )


class GruLayer(Layer):
    """output: the int8 copy of the state that products and readers of y see, a slot per layer. state: one for
    all. gates: an observer per layer, direction and gate; inner: of W_hn h + b_hn (reset after) or r * h
    (before).
    """

    def __init__(self, op: Op, module: nn.GRU | nn.GRUCell) -> None:
        super().__init__(op.planner, op.label)
        self.module = module
        self.reset_after = bool(getattr(module, "reset_after", True))
        config = op.config
        new = op.planner.new_slot
        self.output = [
            new(f"{op.label} hidden state of layer {k}", tensor_class="hidden", bits=8)
            for k in range(len(self.weights))
        ]
        self.state = state_slot(op)
        compensated = config.weight_rounding == "compensated"
        size = module.hidden_size
        # Of the int8 state and of r * h in each direction, and of the input of layers after the first.
        self.seen_h = [[Moments(size) if compensated else None for _ in ds] for ds in self.weights]
        self.seen_inner = [[Moments(size) if compensated else None for _ in ds] for ds in self.weights]
        self.seen_x = [Moments(size * len(self.weights[0])) if compensated else None for _ in self.weights]
        self.gates = [
            [[config.observer("gate") for _ in GATES] for _ in directions] for directions in self.weights
        ]
        inner_class = "gate" if self.reset_after else "hidden"
        self.inner = [[config.observer(inner_class) for _ in directions] for directions in self.weights]

    @property
    def weights(self) -> list[list[DirectionWeights]]:
        """[layer][direction], as they are now."""
        return direction_weights(self.module)

    def trace(self, x: Tensor, h0: Tensor | None, refine: bool) -> None:
        """Runs the float layer on time-major x and stacked states. Shows everything to the observers or, when
        refining, the operands of the products to the moments."""
        index = 0
        for k, directions in enumerate(self.weights):
            outputs = []
            if refine and k > 0 and (moments := self.seen_x[k]) is not None:
                moments.update(x, self.output[k - 1].qparams, 1)
            for d, w in enumerate(directions):
                h = h0[index] if h0 is not None else x.new_zeros(x.shape[1], self.module.hidden_size)
                found = trace_gru(x, h, w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.reverse, self.reset_after)
                if refine:
                    self._refine(k, d, found, states_before(found.hidden, h, w.reverse))
                else:
                    self._show(k, d, found, h if h0 is not None else None)
                outputs.append(found.hidden)
                index += 1
            x = torch.cat(outputs, dim=-1)

    def _show(self, k: int, d: int, found: GruTrace, h: Tensor | None) -> None:
        if self.witness is not None:
            gates = dict(zip((f"gate {n}" for n in GATES), found.gates.chunk(3, dim=-1), strict=True))
            inner = "W_hn h + b_hn" if self.reset_after else "r * h"
            self.witness(
                k, d, gates | {inner: found.inner, "state": found.hidden, "hidden state": found.hidden}
            )
            return
        for observer, gate in zip(self.gates[k][d], found.gates.chunk(3, dim=-1), strict=True):
            observer.update(gate)
        self.inner[k][d].update(found.inner)
        for observer in (self.output[k].root.observer, self.state.root.observer):
            if h is not None:
                observer.update(h)
            observer.update(found.hidden)

    def _refine(self, k: int, d: int, found: GruTrace, read: Tensor) -> None:
        state, inner = self.seen_h[k][d], self.seen_inner[k][d]
        if state is not None:
            state.update(read, self.output[k].qparams, 1)
        if inner is not None and not self.reset_after:
            inner.update(found.inner, self._inner(k, d), 1)

    def simulate(self, sim: Simulation, x: Tensor, h0: Tensor | None) -> tuple[Tensor, Tensor]:
        """Time-major x and stacked states on their grids -> (y [T, B, D * H], h_n [L * D, B, H])."""
        size = self.module.hidden_size
        last: list[Tensor] = []
        for k, directions in enumerate(self.weights):
            outputs = []
            for d, w in enumerate(directions):
                h = h0[len(last)] if h0 is not None else x.new_zeros(x.shape[1], size)
                zeros = w.w_hh.new_zeros(3 * size)
                b_ih, b_hh = (b if b is not None else zeros for b in (w.b_ih, w.b_hh))
                grids = self._grids(sim, k, d, x)
                w_hh = sim.rows(w.w_hh)
                if self.reset_after:
                    bias = b_ih + torch.cat((b_hh[: 2 * size], zeros[:size]))
                    from_x = F.linear(x, sim.rows(w.w_ih), bias)
                    gains = sim.gain(self.state), sim.gain(self.output[k])
                    y, h = gru_sequence(from_x, h, w_hh, b_hh[2 * size :], grids, w.reverse, gains)
                else:
                    from_x = F.linear(x, sim.rows(w.w_ih), b_ih + b_hh)
                    y, h = gru_sequence_reset_before(from_x, h, w_hh, grids, w.reverse)
                outputs.append(y)
                last.append(h)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if k + 1 < len(self.weights):
                x = F.dropout(x, float(getattr(self.module, "dropout", 0.0)), self.module.training)
        return x, torch.stack(last)

    def _grids(self, sim: Simulation, k: int, d: int, like: Tensor) -> GruGrids:
        config, seen, key, size = (
            self.planner.config,
            self.gates[k][d],
            (self.name, k, d),
            self.module.hidden_size,
        )
        grids = [
            sim.grid((*key, gate), partial(gate_qparams, o, f, config))
            for gate, o, f in zip(GATES, seen, FUNCTIONS, strict=True)
        ]
        outs = [OUTPUTS[f](config.gate_bits) for f in FUNCTIONS]
        return GruGrids(
            sim.gates((*key, "rz"), FUNCTIONS[:2], grids[:2], outs[:2], seen[:2], size, like),
            sim.gates((*key, "n"), FUNCTIONS[2:], grids[2:], outs[2:], seen[2:], size, like),
            sim.grid((*key, "inner"), lambda: self._inner(k, d)),
            self.state.qparams,
            self.output[k].qparams,
        )

    def build(self) -> nn.Module:
        layers = []
        for k, directions in enumerate(self.weights):
            source = self.entry if k == 0 else self.output[k - 1]
            layers.append([self._direction(source, k, d, w) for d, w in enumerate(directions)])
        cell = isinstance(self.module, nn.GRUCell)
        return IntegerGRU(layers, not cell and bool(self.module.batch_first), cell, self.states_read)

    def _direction(self, source: Slot, k: int, d: int, w: DirectionWeights) -> IntegerGRULayer:
        config = self.planner.config
        name = f"{self.name} layer {k}{' reverse' if w.reverse else ''}"
        x, h8, state = source.qparams, self.output[k].qparams, self.state.qparams
        size = self.module.hidden_size
        n_rows = slice(2 * size, 3 * size)
        b_ih, b_hh = joint_bias(w)
        inner = self._inner(k, d)
        recurrent = [h8, h8, h8 if self.reset_after else inner]
        own_bias = np.zeros_like(b_hh)
        if self.reset_after:
            own_bias[n_rows] = b_hh[n_rows]
        fold = [True, True, not self.reset_after]
        seen_h = statistics_of(self.seen_h[k][d], w.w_hh if self.reset_after else w.w_hh[: 2 * size])
        seen_n = seen_h if self.reset_after else statistics_of(self.seen_inner[k][d], w.w_hh[2 * size :])
        seen = (statistics_of(self.moments if k == 0 else self.seen_x[k], w.w_ih), [seen_h, seen_h, seen_n])
        rows = gate_rows(w.w_ih, w.w_hh, b_ih + b_hh - own_bias, own_bias, x, recurrent, fold, seen, name)
        grids = [gate_qparams(o, f, config) for o, f in zip(self.gates[k][d], FUNCTIONS, strict=True)]
        observer, kept, out = self.inner[k][d], self.state.root.observer, self.output[k].root.observer
        self.internals[k, d] = [
            *(
                Internal(f"gate {n}", q, o.low, o.high, FLAT[f, q.bits])
                for n, q, o, f in zip(GATES, grids, self.gates[k][d], FUNCTIONS, strict=True)
            ),
            Internal("W_hn h + b_hn" if self.reset_after else "r * h", inner, observer.low, observer.high),
            Internal("state", state, kept.low, kept.high),
            Internal("hidden state", h8, out.low, out.high),
        ]
        tables = fit_tables(FUNCTIONS, grids, self.gates[k][d], config)
        s_r, s_z, s_n = tables.scale
        unit = 1 << (config.gate_bits if config.gate_bits == 8 else 15)  # largest sigmoid value
        mult_ih, mult_hh, gate_shift = [], [], []
        for gate in range(2 if self.reset_after else 3):
            r = slice(gate * size, (gate + 1) * size)
            real = [rows.ih.effective[r] / grids[gate].scale, rows.hh.effective[r] / grids[gate].scale]
            (m_ih, m_hh), shift = bounded_multiplier(
                real, [rows.ih_bound[r], rows.hh_bound[r]], f"{name} {GATES[gate]}"
            )
            mult_ih.append(torch.from_numpy(m_ih))
            mult_hh.append(torch.from_numpy(m_hh))
            gate_shift.append(shift)
        hn_shift, rn_mult, rh_mult, rh_shift, rh_zp = 1, 1, 1, 1, 0
        bias_hn = torch.zeros(size, dtype=torch.int32)
        if self.reset_after:
            units = rows.hh.effective[n_rows]
            sums = rows.hh.sums()[n_rows]
            hn_bias = np.floor(rows.own_bias[n_rows] / units + 0.5).astype(np.int64) - h8.zero_point * sums
            check_accumulators(rows.hh.magnitude()[n_rows], hn_bias, f"{name} (recurrent weights of n)")
            bias_hn = int32(hn_bias)
            bound = rows.hh.magnitude()[n_rows] + np.abs(hn_bias)
            (m_hh,), hn_shift = bounded_multiplier([units / inner.scale], [bound], f"{name} hn")
            rn = np.atleast_1d(s_r * inner.scale / grids[2].scale)
            real = [rows.ih.effective[n_rows] / grids[2].scale, rn]
            (m_ih, m_rn), shift = bounded_multiplier(
                real, [rows.ih_bound[n_rows], unit << (config.gate_bits - 1)], f"{name} n"
            )
            rn_mult = int(m_rn[0])
            mult_ih.append(torch.from_numpy(m_ih))
            mult_hh.append(torch.from_numpy(m_hh))
            gate_shift.append(shift)
        else:
            (m_rh,), rh_shift = bounded_multiplier(
                [s_r * state.scale / inner.scale], [unit << state.bits], f"{name} reset state"
            )
            rh_mult, rh_zp = int(m_rh[0]), inner.zero_point
        (n_mult, h_mult), state_shift = bounded_multiplier(
            [s_z * s_n / state.scale, s_z],
            [unit << (config.gate_bits - 1), unit << state.bits],
            f"{name} state update",
        )
        (out_mult,), out_shift = bounded_multiplier(
            [state.scale / h8.scale], [1 << (state.bits + 1)], f"{name} output"
        )
        buffers = {
            "w_ih": torch.from_numpy(rows.ih.weight),
            "w_hh": torch.from_numpy(rows.hh.weight),
            "bias": int32(rows.bias),
            "bias_hn": bias_hn,
            "mult_ih": torch.cat(mult_ih).int(),
            "mult_hh": torch.cat(mult_hh).int(),
            "tables": tables.table,
        }
        scalars = GruScalars(
            gate_shift=tuple(gate_shift),
            gate_zp=tuple(g.zero_point for g in grids),
            gate_bits=config.gate_bits,
            table_shift=tuple(tables.shift),
            act_zp=tuple(tables.zero_point),
            hn_shift=hn_shift,
            rn_mult=rn_mult,
            rh_mult=rh_mult,
            rh_shift=rh_shift,
            rh_zp=rh_zp,
            z_one=round(1.0 / s_z),
            n_mult=int(n_mult[0]),
            h_mult=int(h_mult[0]),
            state_shift=state_shift,
            state_zp=state.zero_point,
            state_bits=state.bits,
            out_mult=int(out_mult[0]),
            out_shift=out_shift,
            out_zp=h8.zero_point,
            reset_after=self.reset_after,
        )
        return IntegerGRULayer(buffers, scalars, w.reverse)

    def _inner(self, k: int, d: int) -> QParams:
        """Grid of W_hn h + b_hn (gate_bits, symmetric) or of r * h (the int8 operand of a product)."""
        observer = self.inner[k][d]
        if self.reset_after:
            return wide_qparams(observer, self.planner.config)
        observer.bits, observer.symmetric = 8, False
        low, high = observer.range()
        return affine_qparams(low, high, 8) if max(-low, high) > 1e-30 else symmetric_qparams(1.0, 8)


@Registry.register(modules=(nn.GRU, nn.GRUCell, GRU))
class GruOp(Op):
    """y, h_n = gru(x, h0); h = cell(x, h)."""

    kind = "gru"

    @classmethod
    def for_variant(cls, module: nn.Module) -> type[Op]:
        """A GRU with a norm is another operator."""
        from irnn_tvm.quantization.rules.gru_norm import GruNormOp  # it builds on this module

        return GruOp if getattr(module, "norm", None) is None else GruNormOp

    def make_layer(self, module: nn.GRU | nn.GRUCell) -> Any:
        """The integer layer in the making, shared by all calls of the module."""
        return GruLayer(self, module)

    def plan(self) -> Value:
        module = self.module
        assert isinstance(module, nn.GRU | nn.GRUCell)
        self.is_cell = isinstance(module, nn.GRUCell)
        if module not in self.planner.layers:
            self.planner.layers[module] = self.make_layer(module)
        self.layer: GruLayer = self.planner.layers[module]
        self.layer.call(self.slot(self.argument(0, "input"), "product"))
        self.layer.states_read |= self.is_cell or reads(self.node, (1,))
        self.state: Slot | None = None
        given = self.planner.value(self.argument(1, "hx"))
        if given is not None:
            if not isinstance(given, Slot):
                raise self.refuse("its state is not a float tensor")
            if not (given.is_constant and given.is_zero()):
                given.add_use("state16" if self.layer.state.bits == 16 else "state8")
                given.want(self.layer.state)
                self.state = given
        return self.layer.state if self.is_cell else (self.layer.output[-1], self.layer.state)

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
        h0 = layered_state(self.module, hx) if hx is not None and self.state is not None else None
        self.layer.trace(time_major(self.module, x), h0, refine)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.planner.values[self.argument(0, "input")]
        x = sim.operand(args[0] if args else kwargs["input"], source, self.layer.entry)
        hx = args[1] if len(args) > 1 else kwargs.get("hx")
        h0 = None
        if self.state is not None:
            h0 = sim.operand(layered_state(self.module, concrete(hx)), self.state, self.layer.state)
        y, h = self.layer.simulate(sim, time_major(self.module, x), h0)
        if self.is_cell:
            return h[0] if x.dim() == 2 else h[0, 0]
        return as_called(self.module, x, y, h)

    def emit(self, emitter: Emitter) -> Any:
        x = self.argument(0, "input")
        source: Slot = self.planner.values[x]
        args = [emitter.to(emitter.env[x], source.qparams, self.layer.entry, self.layer.name), None]
        if self.state is not None:
            given = emitter.env[self.argument(1, "hx")]
            args[1] = emitter.to(given, self.state.qparams, self.layer.state, self.layer.name)
        call = self.layer.emit(emitter, *args)
        y, h = emitter.item(call, 0), emitter.item(call, 1)
        return h if self.is_cell else (y, h)
