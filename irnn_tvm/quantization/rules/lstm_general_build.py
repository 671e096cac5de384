"""The integers of one direction of an LSTM with variants: weights, multipliers, tables (docs/numerics.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from irnn_tvm.nn.lstm_recurrence import LstmForm, LstmWeights
from irnn_tvm.ops.norm_bounds import CODES, integer_eps, largest_unit
from irnn_tvm.ops.normalize import UNIT_BITS
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.fixed_point import bounded_multiplier, quantize_product
from irnn_tvm.quantization.modules.integer_lstm_general import IntegerLSTMGeneralLayer, LstmGeneralScalars
from irnn_tvm.quantization.rules.layer import float_array
from irnn_tvm.quantization.rules.recurrent import fit_tables, gate_rows, int32
from irnn_tvm.quantization.signed_multiplier import Term, shared_multipliers

if TYPE_CHECKING:
    from irnn_tvm.quantization.rules.lstm_general import LstmGeneralLayer

UNIT = 2.0**-UNIT_BITS


class _Direction:
    """Collects buffers and scalars of one direction."""

    def __init__(self, layer: LstmGeneralLayer, k: int, d: int) -> None:
        self.layer, self.k, self.d = layer, k, d
        self.form: LstmForm = layer.form
        self.w: LstmWeights = layer.weights[k][d]
        self.config = layer.planner.config
        self.name = f"{layer.name} layer {k}{' reverse' if self.w.reverse else ''}"
        self.operands: Mapping[str, QParams] = layer.operand_grids(k, d)
        self.cell = layer.cell.qparams
        self.hidden = layer.hidden[k].qparams
        self.buffers: dict[str, Tensor] = {}
        self.grids = {f"gate {g}": layer.grid(k, d, f"gate {g}") for g in self.form.gates}
        # Largest |activation| and |c|, without their zero points.
        self.act = 1 << (15 if self.config.gate_bits == 16 else 8)
        self.reach = 1 << (15 if self.cell.bits == 16 else 8)
        self.size = layer.module.hidden_size

    def product(
        self, matrix: str, weight: Tensor, target: QParams, *, normalised: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """int8 rows, int32 bias, multipliers and shift of a product without bias that is rounded to `target`.

        normalised: a norm follows, which blows up whatever a product of zeros is not exactly 0 by: the mean error of
        rounded weights is not made up for then.
        """
        array = float_array(weight)
        statistics = self.layer.statistics_for(self.k, self.d, matrix, weight)
        what, x = f"{self.name} {matrix}", self.operands[matrix]
        rows, total = quantize_product(array, np.zeros(array.shape[0]), x, statistics, what)
        if normalised:
            total = -x.zero_point * rows.sums()
        bound = rows.magnitude() + np.abs(total)
        (mult,), shift = bounded_multiplier([rows.effective / target.scale], [bound], what)
        return rows.weight, total, mult, shift

    def bias(self) -> np.ndarray:
        """b_ih + b_hh, real."""
        zeros = np.zeros(self.w.w_ih.shape[0])
        parts = [float_array(b) for b in (self.w.b_ih, self.w.b_hh) if b is not None]
        return zeros if not parts else np.asarray(sum(parts, zeros))

    def peephole_terms(self, gate: str, grid: QParams) -> list[Term]:
        """The cell's term of a gate's sum."""
        if self.w.peephole is None or gate not in self.form.peeping:
            return []
        n = self.form.peeping.index(gate)
        part = float_array(self.w.peephole)[n * self.size : (n + 1) * self.size]
        return [Term(part * self.cell.scale / grid.scale, self.reach)]

    def gate_sums(self) -> list[int]:
        """Buffers of the gates' sums. Returns the shift of every gate."""
        if self.form.norm is not None:
            return self._normalised_sums()
        w, x, h = self.w, self.operands["ih"], self.operands["hh"]
        seen_h = self.layer.statistics_for(self.k, self.d, "hh", w.w_hh)
        seen = (self.layer.statistics_for(self.k, self.d, "ih", w.w_ih), [seen_h] * len(self.form.gates))
        count, bias = len(self.form.gates), self.bias()
        rows = gate_rows(w.w_ih, w.w_hh, bias, 0.0 * bias, x, [h] * count, [True] * count, seen, self.name)
        self.buffers |= {
            "w_ih": torch.from_numpy(rows.ih.weight),
            "w_hh": torch.from_numpy(rows.hh.weight),
            "bias": int32(rows.bias),
        }
        found: dict[str, list[np.ndarray]] = {"mult_ih": [], "mult_hh": [], "mult_peephole": []}
        shifts = []
        for n, gate in enumerate(self.form.gates):
            r, grid = slice(n * self.size, (n + 1) * self.size), self.grids[f"gate {gate}"]
            terms = [
                Term(rows.ih.effective[r] / grid.scale, rows.ih_bound[r], positive=True),
                Term(rows.hh.effective[r] / grid.scale, rows.hh_bound[r], positive=True),
                *self.peephole_terms(gate, grid),
            ]
            mults, shift = shared_multipliers(terms, f"{self.name} gate {gate}")
            for key, mult in zip(found, mults, strict=False):
                found[key].append(mult)
            shifts.append(shift)
        self.buffers |= {key: int32(np.concatenate(parts)) for key, parts in found.items() if parts}
        return shifts

    def _normalised_sums(self) -> list[int]:
        assert self.form.norm is not None
        w = self.w
        assert w.gain_ih is not None
        assert w.gain_hh is not None
        for key, weight, point, bias in (
            ("ih", w.w_ih, "W_ih x", "bias"),
            ("hh", w.w_hh, "W_hh h", "bias_hh"),
        ):
            target = self.layer.grid(self.k, self.d, point)
            rows, total, mult, self.norm_shift[key] = self.product(key, weight, target, normalised=True)
            self.buffers |= {
                f"w_{key}": torch.from_numpy(rows),
                bias: int32(total),
                f"mult_{key}": int32(mult),
            }
            self.norm_eps[key] = integer_eps(
                CODES[self.form.norm], self.form.eps, self.size * len(self.form.gates), target.scale
            )
        unit = largest_unit(CODES[self.form.norm], self.size * len(self.form.gates))
        gains = [float_array(w.gain_ih), float_array(w.gain_hh), self.bias()]
        found: dict[str, list[np.ndarray]] = {
            "gain_ih": [],
            "gain_hh": [],
            "gate_bias": [],
            "mult_peephole": [],
        }
        shifts = []
        for n, gate in enumerate(self.form.gates):
            r, grid = slice(n * self.size, (n + 1) * self.size), self.grids[f"gate {gate}"]
            bounds = (unit, unit, 1 << UNIT_BITS)
            terms = [Term(g[r] / grid.scale * UNIT, bound) for g, bound in zip(gains, bounds, strict=True)]
            terms += self.peephole_terms(gate, grid)
            mults, shift = shared_multipliers(terms, f"{self.name} gate {gate}")
            for key, part in zip(found, mults, strict=False):
                found[key].append(part)
            shifts.append(shift)
        self.buffers |= {key: int32(np.concatenate(parts)) for key, parts in found.items() if parts}
        return shifts

    norm_shift: dict[str, int]
    norm_eps: dict[str, int]

    def cell_norm(self) -> tuple[QParams, int]:
        """Buffers of the cell's norm. Returns the grid of tanh's input and the norm's shift."""
        if self.form.norm_cell is None:
            return self.cell, 1
        assert self.w.gain_cell is not None
        assert self.w.bias_cell is not None
        grid = self.layer.grid(self.k, self.d, "normalised cell")
        unit = largest_unit(CODES[self.form.norm_cell], self.size)
        terms = [
            Term(float_array(self.w.gain_cell) / grid.scale * UNIT, unit),
            Term(float_array(self.w.bias_cell) / grid.scale * UNIT, 1 << UNIT_BITS),
        ]
        (gain, bias), shift = shared_multipliers(terms, f"{self.name} cell norm")
        self.buffers |= {"cell_gain": int32(gain), "cell_bias": int32(bias)}
        return grid, shift

    def projection(self) -> tuple[QParams, int]:
        """Buffers of the projection. Returns the grid of o * tanh(c) and the projection's shift."""
        if self.w.w_hr is None:
            return self.hidden, 1
        rows, total, mult, shift = self.product("hr", self.w.w_hr, self.hidden)
        self.buffers |= {"w_hr": torch.from_numpy(rows), "bias_hr": int32(total), "mult_hr": int32(mult)}
        return self.operands["hr"], shift

    def mogrifier(self) -> dict[str, tuple[int, ...]]:
        """Buffers of the Mogrifier's rounds. Returns its scalars."""
        found: dict[str, list[int]] = {"shift": [], "zp": [], "mult": [], "out_shift": [], "out_zp": []}
        stacks: dict[str, list[np.ndarray]] = {}
        sigma = 2.0**-15 if self.config.gate_bits == 16 else 2.0**-8
        x, h = self.layer.source(self.k).qparams, self.hidden
        for r, weight in enumerate(self.w.mogrifier, start=1):
            pre = self.layer.grid(self.k, self.d, f"mogrifier gate {r}")
            out = self.layer.grid(self.k, self.d, f"mogrified {r}")
            value = x if r % 2 else h
            rows, total, mult, shift = self.product(f"mogrify{r}", weight, pre)
            factor = 2.0 * sigma * value.scale / out.scale
            (out_mult,), out_shift = bounded_multiplier(
                [factor], [self.act * 255], f"{self.name} Mogrifier round {r}"
            )
            letter = "q" if r % 2 else "r"
            for key, array in (("w", rows), ("bias", total), ("mult", mult)):
                stacks.setdefault(f"{key}_{letter}", []).append(array)
            scalars = (shift, pre.zero_point, int(out_mult[0]), out_shift, out.zero_point)
            for key, number in zip(found, scalars, strict=True):
                found[key].append(number)
            x, h = (out, h) if r % 2 else (x, out)
        for key, arrays in stacks.items():
            stacked = np.stack(arrays)
            self.buffers[key] = torch.from_numpy(stacked) if key.startswith("w_") else int32(stacked)
        return {f"mogrifier_{key}": tuple(numbers) for key, numbers in found.items()}

    def tables(self, tanh_grid: QParams) -> tuple[tuple[int, ...], tuple[int, ...], list[float]]:
        """Buffer of all tables. Returns their shifts, zero points and output scales."""
        seen = self.layer.seen[self.k][self.d]
        names = [f"gate {g}" for g in self.form.gates]
        functions = ["tanh" if g == "g" else "sigmoid" for g in self.form.gates] + ["tanh"]
        grids = [self.grids[n] for n in names] + [tanh_grid]
        observers = [seen[n] for n in names]
        cell_observer = self.layer.cell.root.observer
        observers.append(cell_observer if self.form.norm_cell is None else seen["normalised cell"])
        for r in range(1, self.form.rounds + 1):
            functions.append("sigmoid")
            grids.append(self.layer.grid(self.k, self.d, f"mogrifier gate {r}"))
            observers.append(seen[f"mogrifier gate {r}"])
        tables = fit_tables(functions, grids, observers, self.config)
        self.buffers["tables"] = tables.table
        return tuple(tables.shift), tuple(tables.zero_point), tables.scale

    def build(self) -> IntegerLSTMGeneralLayer:
        form, cell, config = self.form, self.cell, self.config
        self.norm_shift, self.norm_eps = {"ih": 1, "hh": 1}, {"ih": 1, "hh": 1}
        mogrifier = self.mogrifier()
        gate_shift = self.gate_sums()
        tanh_grid, cell_norm_shift = self.cell_norm()
        inner, projection_shift = self.projection()
        table_shift, act_zp, scales = self.tables(tanh_grid)
        g, f = len(form.gates) - 2, len(form.gates) - 3
        s_f, s_g, s_o, s_t = scales[f], scales[g], scales[g + 1], scales[g + 2]
        s_i = scales[0]
        one = round(1.0 / s_f) if form.coupled else 0
        (f_mult, i_mult), cell_shift = bounded_multiplier(
            [s_f, s_i * s_g / cell.scale],
            [self.act * self.reach, max(one, self.act) * self.act],
            f"{self.name} cell update",
        )
        (h_mult,), h_shift = bounded_multiplier(
            [s_o * s_t / inner.scale], [self.act**2], f"{self.name} output"
        )
        low, high = cell.qmin, cell.qmax
        if form.cell_clip is not None:
            low, high = (int(cell.quantize(sign * form.cell_clip)) for sign in (-1.0, 1.0))
        scalars = LstmGeneralScalars(
            gate_shift=tuple(gate_shift),
            gate_zp=tuple(q.zero_point for q in self.grids.values()),
            gate_bits=config.gate_bits,
            table_shift=table_shift,
            act_zp=act_zp,
            norm=CODES[form.norm],
            norm_shift=(self.norm_shift["ih"], self.norm_shift["hh"]),
            norm_eps=(self.norm_eps["ih"], self.norm_eps["hh"]),
            one=one,
            f_mult=int(f_mult[0]),
            i_mult=int(i_mult[0]),
            cell_shift=cell_shift,
            cell_zp=cell.zero_point,
            cell_bits=cell.bits,
            cell_low=low,
            cell_high=high,
            cell_norm=CODES[form.norm_cell],
            cell_norm_eps=(
                integer_eps(CODES[form.norm_cell], form.eps, self.size, cell.scale) if form.norm_cell else 1
            ),
            cell_norm_shift=cell_norm_shift,
            cell_norm_zp=tanh_grid.zero_point if form.norm_cell else 0,
            h_mult=int(h_mult[0]),
            h_shift=h_shift,
            h_zp=inner.zero_point,
            projection_shift=projection_shift,
            projection_zp=self.hidden.zero_point,
            x_zp=self.layer.source(self.k).qparams.zero_point,
            **mogrifier,
        )
        return IntegerLSTMGeneralLayer(self.buffers, scalars, self.w.reverse)


def build_direction(layer: LstmGeneralLayer, k: int, d: int) -> IntegerLSTMGeneralLayer:
    """The integer layer of one direction. Raises AccumulatorOverflowError or CalibrationError."""
    return _Direction(layer, k, d).build()
