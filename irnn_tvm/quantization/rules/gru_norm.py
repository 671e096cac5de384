"""irnn_tvm.nn.GRU with LayerNorm or MadNorm of its products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from irnn_tvm.nn.gate_norm import EPS
from irnn_tvm.nn.gru import GRU
from irnn_tvm.nn.gru_recurrence import GruWeights, gru_weights, run_gru
from irnn_tvm.nn.recurrence import Exact
from irnn_tvm.ops.norm_bounds import CODES, integer_eps, largest_unit
from irnn_tvm.ops.normalize import UNIT_BITS
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.fixed_point import bounded_multiplier, quantize_product
from irnn_tvm.quantization.modules.integer_gru import IntegerGRU
from irnn_tvm.quantization.modules.integer_gru_norm import GruNormScalars, IntegerGRUNormLayer
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.rules.gru import GruOp, state_slot
from irnn_tvm.quantization.rules.layer import float_array
from irnn_tvm.quantization.rules.recurrent import fit_tables, int32
from irnn_tvm.quantization.rules.variant_layer import WIDE, Place, VariantLayer
from irnn_tvm.quantization.signed_multiplier import Term, shared_multipliers
from irnn_tvm.quantization.slots import Slot

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

STATE, HIDDEN, RESET = "state", "hidden state", "norm of W_hn h + b_hn"
GATES = ("r", "z", "n")
FUNCTIONS = ("sigmoid", "sigmoid", "tanh")
POINTS = {
    **{f"{product} {part}": WIDE for product in ("W_ih x", "W_hh h") for part in ("r z", "n")},
    **{f"gate {gate}": function for gate, function in zip(GATES, FUNCTIONS, strict=True)},
    RESET: WIDE,
}
UNIT = 2.0**-UNIT_BITS


class GruNormLayer(VariantLayer):
    """output: the int8 copy of the state that products and readers of y see, a slot per layer. state: one for all."""

    def __init__(self, op: Op, module: GRU) -> None:
        assert module.norm is not None
        self.module, self.norm = module, module.norm
        directions = 2 if module.bidirectional else 1
        self.output = [
            op.planner.new_slot(f"{op.label} hidden state of layer {k}", tensor_class="hidden", bits=8)
            for k in range(module.num_layers)
        ]
        self.state = state_slot(op)
        self.state_sizes = (module.hidden_size,)
        super().__init__(
            op,
            [
                [Place(k, d, POINTS, {STATE: self.state, HIDDEN: self.output[k]}) for d in range(directions)]
                for k in range(module.num_layers)
            ],
        )

    @property
    def weights(self) -> list[list[GruWeights]]:
        """[layer][direction], as they are now."""
        module = self.module
        directions = range(2 if module.bidirectional else 1)
        return [[gru_weights(module, k, d) for d in directions] for k in range(module.num_layers)]

    def source(self, k: int) -> Slot:
        return self.entry if k == 0 else self.output[k - 1]

    def state_slots(self, k: int) -> list[list[Slot]]:
        return [[self.output[k], self.state]]

    def operand_grids(self, k: int, d: int) -> Mapping[str, QParams]:
        return {"ih": self.source(k).qparams, "hh": self.output[k].qparams}

    def run(
        self, k: int, d: int, x: Tensor, states: list[Tensor], hooks: Exact
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, h = run_gru(self.norm, self.weights[k][d], x, states[0], hooks)
        return y, (h,)

    def trace(self, x: Tensor, h0: Tensor | None, refine: bool) -> None:
        """`trace_layers` of the state."""
        self.trace_layers(x, (h0,), refine)

    def simulate(self, sim: Simulation, x: Tensor, h0: Tensor | None) -> tuple[Tensor, ...]:
        """`simulate_layers` of the state: (y [T, B, D * H], h_n [L * D, B, H])."""
        return self.simulate_layers(sim, x, (h0,), float(self.module.dropout), self.module.training)

    def build(self) -> nn.Module:
        layers = []
        for k, directions in enumerate(self.weights):
            layers.append([self._direction(k, d) for d in range(len(directions))])
            for d in range(len(directions)):
                self.describe(k, d, (STATE, HIDDEN))
        return IntegerGRU(layers, bool(self.module.batch_first), False, self.states_read)

    def _product(
        self, k: int, d: int, key: str, points: tuple[str, str]
    ) -> tuple[dict[str, Tensor], list[int]]:
        """Buffers of one product on its two 16-bit grids, and the shifts."""
        w = self.weights[k][d]
        weight = w.w_ih if key == "ih" else w.w_hh
        size, name = self.module.hidden_size, f"{self.name} layer {k} {key}"
        x = self.operand_grids(k, d)[key]
        array = float_array(weight)
        statistics = self.statistics_for(k, d, key, weight)
        rows, _ = quantize_product(array, np.zeros(array.shape[0]), x, statistics, name)
        # No correction of the mean error: a norm would blow up whatever a product of zeros is not exactly 0 by.
        total = -x.zero_point * rows.sums()
        bound = rows.magnitude() + np.abs(total)
        mults, shifts = [], []
        for point, part in zip(points, (slice(0, 2 * size), slice(2 * size, 3 * size)), strict=True):
            (mult,), shift = bounded_multiplier(
                [rows.effective[part] / self.grid(k, d, point).scale], [bound[part]], f"{name} {point}"
            )
            mults.append(mult)
            shifts.append(shift)
        buffers = {
            f"w_{key}": torch.from_numpy(rows.weight),
            f"bias_{key}": int32(total),
            f"mult_{key}": int32(np.concatenate(mults)),
        }
        return buffers, shifts

    def _direction(self, k: int, d: int) -> IntegerGRUNormLayer:
        w, config, size = self.weights[k][d], self.planner.config, self.module.hidden_size
        name = f"{self.name} layer {k}{' reverse' if w.reverse else ''}"
        points = [("W_ih x r z", "W_ih x n"), ("W_hh h r z", "W_hh h n")]
        buffers, norm_shift = self._product(k, d, "ih", points[0])
        more, shifts = self._product(k, d, "hh", points[1])
        buffers |= more
        norm_shift += shifts
        widths, code = (2 * size, size), CODES[self.norm]
        norm_eps = [
            integer_eps(code, EPS, n, self.grid(k, d, point).scale)
            for pair in points
            for point, n in zip(pair, widths, strict=True)
        ]
        grids = [self.grid(k, d, f"gate {gate}") for gate in GATES]
        reset, state, h8 = self.grid(k, d, RESET), self.state.qparams, self.output[k].qparams
        observers = [self.seen[k][d][f"gate {gate}"] for gate in GATES]
        tables = fit_tables(FUNCTIONS, grids, observers, config)
        s_r, s_z, s_n = tables.scale
        act = 1 << (15 if config.gate_bits == 16 else 8)
        gains, gate_shift, reset_part = self._gains(w, grids, reset, s_r, act, name)
        buffers |= gains
        z_one = round(1.0 / s_z)
        reach = 1 << (15 if state.bits == 16 else 8)
        (n_mult, h_mult), state_shift = bounded_multiplier(
            [s_z * s_n / state.scale, s_z], [2 * act * act, act * reach], f"{name} state update"
        )
        (out_mult,), out_shift = bounded_multiplier([state.scale / h8.scale], [reach], f"{name} output")
        buffers["tables"] = tables.table
        scalars = GruNormScalars(
            norm=code,
            norm_shift=tuple(norm_shift),
            norm_eps=tuple(norm_eps),
            gate_shift=tuple(gate_shift),
            gate_zp=tuple(g.zero_point for g in grids),
            gate_bits=config.gate_bits,
            table_shift=tuple(tables.shift),
            act_zp=tuple(tables.zero_point),
            reset_shift=reset_part[1],
            rn_mult=reset_part[0],
            z_one=z_one,
            n_mult=int(n_mult[0]),
            h_mult=int(h_mult[0]),
            state_shift=state_shift,
            state_zp=state.zero_point,
            state_bits=state.bits,
            out_mult=int(out_mult[0]),
            out_shift=out_shift,
            out_zp=h8.zero_point,
        )
        return IntegerGRUNormLayer(buffers, scalars, w.reverse)

    def _gains(
        self, w: GruWeights, grids: list[QParams], reset: QParams, s_r: float, act: int, name: str
    ) -> tuple[dict[str, Tensor], list[int], tuple[int, int]]:
        """Buffers of the gates' sums, the shift of every gate, and multiplier and shift of the reset term."""
        size, code = self.module.hidden_size, CODES[self.norm]
        gain_ih, gain_hh = float_array(w.gain_ih), float_array(w.gain_hh)
        zeros = np.zeros(3 * size)
        b_ih, b_hh = (float_array(b) if b is not None else zeros for b in (w.b_ih, w.b_hh))
        found: dict[str, list[np.ndarray]] = {"gain_ih": [], "gain_hh": [], "gate_bias": []}
        shifts = []
        unit, one = largest_unit(code, 2 * size), 1 << UNIT_BITS
        for gate in range(2):
            r, scale = slice(gate * size, (gate + 1) * size), UNIT / grids[gate].scale
            terms = [
                Term(gain_ih[r] * scale, unit),
                Term(gain_hh[r] * scale, unit),
                Term((b_ih + b_hh)[r] * scale, one),
            ]
            mults, shift = shared_multipliers(terms, f"{name} gate {GATES[gate]}")
            for key, mult in zip(found, mults, strict=True):
                found[key].append(mult)
            shifts.append(shift)
        r, unit, scale = slice(2 * size, 3 * size), largest_unit(code, size), UNIT / reset.scale
        (gain, bias), reset_shift = shared_multipliers(
            [Term(gain_hh[r] * scale, unit), Term(b_hh[r] * scale, one)], f"{name} reset term"
        )
        found["gain_hh"].append(gain)
        scale = UNIT / grids[2].scale
        terms = [
            Term(gain_ih[r] * scale, unit),
            Term(b_ih[r] * scale, one),
            Term(np.full(1, s_r * reset.scale / grids[2].scale), act << 15, positive=True),
        ]
        (gain_n, bias_n, rn), shift = shared_multipliers(terms, f"{name} gate n")
        found["gain_ih"].append(gain_n)
        found["gate_bias"].append(bias_n)
        buffers = {key: int32(np.concatenate(parts)) for key, parts in found.items()}
        return buffers | {"reset_bias": int32(bias)}, [*shifts, shift], (int(rn[0]), reset_shift)


class GruNormOp(GruOp):
    """y, h_n = gru(x, h0) with a norm."""

    def make_layer(self, module: Any) -> Any:
        return GruNormLayer(self, module)
