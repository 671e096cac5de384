"""The formulas of irnn_tvm/ops/lstm_general.py for a unit and for the lanes of a tile, from sums of products on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from irnn_tvm.ops.normalize import UNIT_BITS, largest_unit

from . import fixed_point as fp
from . import normalize_lanes
from .lanes import Lanes
from .lstm_general_layout import Variant
from .tiles import magnitude, products_bound

Expr = Any
Terms = list[tuple[Expr, Expr]]


def fits(v: Variant, arrays: dict[str, np.ndarray]) -> bool:
    """Whether every sum that is rescaled fits int32 before it is saturated."""
    unit, cell = 1 << v.get("gate_bits"), 1 << v.get("cell_bits")
    products = [
        products_bound(arrays[w], arrays[m], arrays.get(bias)).reshape(v.gates, -1).max(axis=1).tolist()
        for w, m, bias in (("w_ih", "mult_ih", "bias"), ("w_hh", "mult_hh", "bias_hh"))
    ]
    checks: list[tuple[int, int, int]] = []
    if v.norm is None:
        sums = [x + h for x, h in zip(*products, strict=True)]
    else:
        checks += [(max(p), shift, 0) for p, shift in zip(products, v.get("norm_shift"), strict=True)]
        largest = largest_unit(v.norm, v.gates * v.hidden)
        gains = magnitude(arrays["gain_ih"]) + magnitude(arrays["gain_hh"])
        sums = [largest * gains + (magnitude(arrays["gate_bias"]) << UNIT_BITS)] * v.gates
    if v.peephole:
        sums = [total + cell * magnitude(arrays["mult_peephole"]) for total in sums]
    checks += zip(sums, v.get("gate_shift"), v.get("gate_zp"), strict=True)
    update = unit * cell * v.get("f_mult") + (unit + v.get("one")) * unit * v.get("i_mult")
    checks.append((update, v.get("cell_shift"), v.get("cell_zp")))
    if v.cell_norm is not None:
        normalised = largest_unit(v.cell_norm, v.hidden) * magnitude(arrays["cell_gain"])
        normalised += magnitude(arrays["cell_bias"]) << UNIT_BITS
        checks.append((normalised, v.get("cell_norm_shift"), v.get("cell_norm_zp")))
    checks.append((unit * unit * v.get("h_mult"), v.get("h_shift"), v.get("h_zp")))
    if v.projected:
        bound = products_bound(arrays["w_hr"], arrays["mult_hr"], arrays["bias_hr"])
        checks.append((int(bound.max()), v.get("projection_shift"), v.get("projection_zp")))
    for r in range(v.rounds):
        w, bias, mult = (arrays[f"{kind}_{'r' if r % 2 else 'q'}"][r // 2] for kind in ("w", "bias", "mult"))
        gate = int(products_bound(w, mult, bias).max())
        checks.append((gate, v.get("mogrifier_shift")[r], v.get("mogrifier_zp")[r]))
        product = unit * 256 * v.get("mogrifier_mult")[r]
        checks.append((product, v.get("mogrifier_out_shift")[r], v.get("mogrifier_out_zp")[r]))
    return all(fp.within_int32(*check) for check in checks)


class Formulas:
    """What a step computes for the units of `lanes`, from sums of products on."""

    def __init__(self, v: Variant, lanes: Lanes, tables: Any, fits: bool) -> None:
        """tables: the buffer of all tables; fits: see the function of this name."""
        self.v, self.lanes, self.tables, self.fits = v, lanes, tables, fits
        self.bits = v.get("gate_bits")

    def open(self) -> None:
        """Allocates in the current block what the formulas below work in."""
        # A row per gate, then the old cell, then the new one, all without their zero points but the last.
        self.act = self.lanes.local(self.v.gates + 2, "int16")
        self.units = self.lanes.local(2, "int32")
        self.search, self.wide = self.lanes.scratch(), self.lanes.sums()

    def all_tables(self) -> Any:
        return self.tables[tuple(slice(0, int(d)) for d in self.tables.ty.shape)]

    def rescale(self, terms: Terms, shift: int, zero_point: int, bits: int) -> Expr:
        return self.lanes.rescale(self.wide, terms, shift, zero_point, bits, self.fits)

    def constant(self, name: str) -> Expr:
        """A scalar attribute in all lanes."""
        return self.lanes.wide(T.int32(self.v.get(name)))

    def activate(self, table: int, terms: Terms, shift: int, zero_point: int) -> Expr:
        """pwl of a rescaled sum minus its zero point, int32."""
        pre = self.rescale(terms, shift, zero_point, self.bits)
        return self.look_up(table, pre)

    def look_up(self, table: int, q: Expr) -> Expr:
        """pwl of q minus its zero point, int32."""
        v = self.v
        shift, zp = v.get("table_shift")[table], v.get("act_zp")[table]
        value = self.lanes.activate(self.search, self.tables, table, v.pieces, shift, q, self.bits)
        return fp.i32(value) - zp if zp else fp.i32(value)

    def mogrified(self, r: int, terms: Terms, value: Expr) -> Expr:
        """Round r: int8. terms: of its gate; value: what is gated, without its zero point, int32."""
        v = self.v
        gate = self.activate(v.gates + 1 + r, terms, v.get("mogrifier_shift")[r], v.get("mogrifier_zp")[r])
        terms = [(gate * value, self.lanes.wide(T.int32(v.get("mogrifier_mult")[r])))]
        return self.rescale(terms, v.get("mogrifier_out_shift")[r], v.get("mogrifier_out_zp")[r], 8)

    def normalised(self, products: list[tuple[Any, Expr, Expr]], bias: Expr) -> Terms:
        """Terms of a gate. products: for x and h the statistics, elements (int32) and gains."""
        v, terms = self.v, []
        for at, (cells, value, gain) in enumerate(products):
            units = normalize_lanes.units(self.lanes, self.units, at, cells, value, v.gates * v.hidden)
            terms.append((units, gain))
        return [*terms, normalize_lanes.bias_term(self.lanes, bias)]

    def update(
        self,
        terms: Callable[[int], Terms],
        peephole: Callable[[int], Expr],
        c: Expr,
        store: Callable[[Expr], None],
    ) -> None:
        """From the gates' sums to the new cell and, in the row of `act`, the output gate.

        terms: of the sum of a gate, without peepholes; peephole: column to multipliers; c: the old cell, int32;
        store: takes the new cell, int{cell_bits}.
        """
        v, lanes, act = self.v, self.lanes, self.act
        cell_zp, cell_bits = v.get("cell_zp"), v.get("cell_bits")
        o = v.gates - 1
        g, f, old, new = o - 1, o - 2, v.gates, v.gates + 1
        columns = {0: 0, f: v.gates - 3, o: v.gates - 2}  # gate -> its column among the peephole weights

        def gate(k: int, cell: Callable[[], Expr]) -> None:
            found = terms(k)
            if v.peephole and k in columns:
                found = [*found, (cell(), peephole(columns[k]))]
            value = self.activate(k, found, v.get("gate_shift")[k], v.get("gate_zp")[k])
            lanes.store(act, fp.cast(16, value), k, 0)

        def load(row: int) -> Expr:
            return fp.i32(lanes.load(act, row, 0))

        lanes.store(act, fp.cast(16, c - cell_zp if cell_zp else c), old, 0)
        for k in range(o):
            gate(k, lambda: load(old))
        one = v.get("one")
        i = lanes.wide(T.int32(one)) - load(f) if one > 0 else load(0)
        mixed = [(load(f) * load(old), self.constant("f_mult")), (i * load(g), self.constant("i_mult"))]
        cell = self.rescale(mixed, v.get("cell_shift"), cell_zp, cell_bits)
        low, high = v.get("cell_low"), v.get("cell_high")
        if (low, high) != fp.limits(cell_bits):
            dtype = f"int{cell_bits}"
            cell = T.max(T.min(cell, T.IntImm(dtype, high)), T.IntImm(dtype, low))
        lanes.store(act, fp.cast(16, cell), new, 0)
        store(fp.cast(cell_bits, lanes.load(act, new, 0)))
        gate(o, lambda: load(new) - cell_zp if cell_zp else load(new))

    @property
    def output_gate(self) -> Expr:
        """The output gate of `update` without its zero point, int16."""
        return self.lanes.load(self.act, self.v.gates - 1, 0)

    def output(self) -> Expr:
        """o * tanh(cell) after `update`, int8."""
        squashed = self.look_up(self.v.gates, self.lanes.load(self.act, self.v.gates + 1, 0))
        return self._gated(fp.i32(self.output_gate), squashed)

    def normalised_output(self, cells: Any, c: Expr, gain: Expr, bias: Expr, gate: Expr) -> Expr:
        """o * tanh(normalised cell), int8. cells: the cell's statistics; gate: without its zero point, int32."""
        v = self.v
        units = normalize_lanes.units(self.lanes, self.units, 0, cells, c, v.hidden)
        terms = [(units, gain), normalize_lanes.bias_term(self.lanes, bias)]
        squashed = self.activate(v.gates, terms, v.get("cell_norm_shift"), v.get("cell_norm_zp"))
        return self._gated(gate, squashed)

    def _gated(self, gate: Expr, squashed: Expr) -> Expr:
        v = self.v
        return self.rescale([(gate * squashed, self.constant("h_mult"))], v.get("h_shift"), v.get("h_zp"), 8)
