"""The kernel of one irnn.lstm_general step, stage by stage (formula: irnn_tvm/ops/lstm_general.py).

Stages of each batch row, as far as the variant has them: Mogrifier rounds; products of all gates and their statistics;
gates and cell update of every unit; statistics of the cell and the normalised output; projection. What one stage hands
to the next for all units at once is a scratch parameter of the kernel.
"""

from __future__ import annotations

from typing import Any

from . import fixed_point as fp
from . import normalize
from .kernel import MACS_ATTR, kernel
from .lstm_general_layout import Variant
from .matvec import dot_rows


def build(v: Variant) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in."""
    from tvm.tirx.script import builder as T

    scratch = v.scratch_shapes()
    cell = f"int{v.get('cell_bits')}"
    with kernel("lstm_general_step", "recurrent_step", {MACS_ATTR: v.macs()}, 2 + len(scratch)) as k:
        buffers = {
            "x": k.arg("x", (v.batch, v.width), "int8"),
            "h": k.arg("h", (v.batch, v.state), "int8"),
            "c": k.arg("c", (v.batch, v.hidden), cell),
        }
        buffers |= {name: k.arg(name, shape, dtype) for name, (shape, dtype) in v.constant_shapes().items()}
        buffers["h_out"] = k.arg("h_out", (v.batch, v.state), "int8")
        buffers["c_out"] = k.arg("c_out", (v.batch, v.hidden), cell)
        buffers |= {name: k.arg(name, shape, dtype) for name, (shape, dtype) in scratch.items()}
        with T.serial(v.batch) as b:
            with T.sblock("row"):
                vb = T.axis.spatial(v.batch, b)
                written = ("h_out", "c_out", *scratch)
                T.reads(*(_row(buffers[n], vb) for n in buffers if n not in ("h_out", "c_out")))
                T.writes(*(_row(buffers[n], vb) for n in written))
                _Row(v, buffers, vb).emit()
    return k.result


def _row(buffer: Any, b: Any) -> Any:
    """The part of a buffer that batch row b touches: a row of tensors of the batch, all of a constant."""
    shape = [int(d) for d in buffer.ty.shape]
    if str(buffer.name) in _BATCHED or str(buffer.name).startswith("mogrified"):
        return buffer[b, 0 : shape[1]]
    return buffer[tuple(slice(0, d) for d in shape)]


_BATCHED = frozenset({"x", "h", "c", "h_out", "c_out", "products_x", "products_h", "out_gate", "inner"})


class _Row:
    """Emits the stages of one batch row inside the current block."""

    def __init__(self, v: Variant, buffers: dict[str, Any], b: Any) -> None:
        self.v, self.buffers, self.b = v, buffers, b
        self.bits = v.get("gate_bits")
        self.x, self.h = buffers["x"], buffers["h"]  # as the products see them: after the Mogrifier

    def emit(self) -> None:
        v = self.v
        self._mogrify()
        if v.norm is not None:
            self._products()
            rows = v.hidden * v.gates
            eps = v.get("norm_eps")
            cells = tuple(
                normalize.row_statistics(v.norm, f"norm_{s}", rows, self._reader(f"products_{s}"), eps[i])
                for i, s in enumerate("xh")
            )
            self._gates(cells)
        else:
            self._gates(None)
        if v.cell_norm is not None:
            cells_c = normalize.row_statistics(
                v.cell_norm, "norm_c", v.hidden, self._reader("c_out"), v.get("cell_norm_eps")
            )
            self._outputs(cells_c)
        if v.projected:
            self._project()

    def _reader(self, name: str) -> Any:
        buffer, b = self.buffers[name], self.b
        return lambda i: (buffer, (b, i))

    def _activate(self, scratch: Any, table: int, acc: Any, shift: int, zp: int) -> Any:
        """pwl of a rescaled sum, with its zero point: int{gate_bits}."""
        v = self.v
        pre = fp.rescale(acc, shift, zp, self.bits)
        table_shift = v.get("table_shift")[table]
        return fp.pwl(scratch, self.buffers["tables"], table, v.pieces, table_shift, fp.i32(pre), self.bits)

    def _all_tables(self) -> Any:
        v = self.v
        return self.buffers["tables"][0 : v.tables, 0:3, 0 : v.pieces]

    def _mogrify(self) -> None:
        from tvm.tirx.script import builder as T

        v = self.v
        x_zp, h_zp = v.get("x_zp"), v.get("projection_zp" if v.projected else "h_zp")
        for r in range(v.rounds):
            source, value = (self.x, self.h) if r % 2 else (self.h, self.x)
            rows = v.state if r % 2 else v.width
            out, out_zp = self.buffers[f"mogrified{r}"], v.get("mogrifier_out_zp")[r]
            with T.serial(rows) as i:
                with T.sblock(f"unit_mogrify{r}"):
                    vi = T.axis.spatial(rows, i)
                    self._mogrifier_unit(r, vi, source, value, h_zp if r % 2 else x_zp, out)
            if r % 2:
                self.h, h_zp = out, out_zp
            else:
                self.x, x_zp = out, out_zp

    def _mogrifier_unit(self, r: int, unit: Any, source: Any, value: Any, zero: int, out: Any) -> None:
        """One element of round r, inside its block. zero: zero point of `value`."""
        from tvm.tirx.script import builder as T

        v, b, number, table = self.v, self.b, r // 2, self.v.gates + 1 + r
        depth, name = (v.width, "r") if r % 2 else (v.state, "q")
        w, bias, mult = (self.buffers[f"{kind}_{name}"] for kind in ("w", "bias", "mult"))
        T.reads(source[b, 0:depth], value[b, unit], w[number, unit, 0:depth], bias[number, unit],
                mult[number, unit], self._all_tables())  # fmt: skip
        T.writes(out[b, unit])
        acc = T.sblock_alloc_buffer((1,), "int32")
        scratch = T.sblock_alloc_buffer((2,), "int32")
        dot_rows(f"mogrify{r}", acc, 1, depth, (w, lambda g, c: (number, unit + g, c)),
                 (source, lambda c: (b, c)), (bias, lambda g: (number, unit + g)))  # fmt: skip
        with T.sblock(f"gate_mogrify{r}"):
            T.reads(acc[0], value[b, unit], mult[number, unit], self._all_tables())
            T.writes(out[b, unit])
            wide = fp.i64(acc[0]) * fp.i64(mult[number, unit])
            shift, zp = v.get("mogrifier_shift")[r], v.get("mogrifier_zp")[r]
            gate = fp.i32(self._activate(scratch, table, wide, shift, zp)) - v.get("act_zp")[table]
            product = fp.i64(gate * (fp.i32(value[b, unit]) - zero)) * fp.const64(v.get("mogrifier_mult")[r])
            result = fp.rescale(product, v.get("mogrifier_out_shift")[r], v.get("mogrifier_out_zp")[r], 8)
            T.buffer_store(out, result, [b, unit])

    def _dots(self, unit: Any, acc_x: Any, acc_h: Any, bias_h: Any) -> None:
        """Products of the gates of one unit."""
        v, b = self.v, self.b
        w, bias = self.buffers["w"], self.buffers["bias"]
        init_h = None if bias_h is None else (bias_h, lambda g: (unit, g))
        dot_rows("x", acc_x, v.gates, v.width, (w, lambda g, i: (unit, g, i)), (self.x, lambda i: (b, i)),
                 (bias, lambda g: (unit, g)))  # fmt: skip
        dot_rows("h", acc_h, v.gates, v.state, (w, lambda g, i: (unit, g, v.width + i)),
                 (self.h, lambda i: (b, i)), init_h)  # fmt: skip

    def _products(self) -> None:
        """Both products of all gates on their 16-bit grids, for their statistics."""
        from tvm.tirx.script import builder as T

        v, b, named = self.v, self.b, self.buffers
        outs = [named["products_x"], named["products_h"]]
        with T.serial(v.hidden) as j:
            with T.sblock("unit_products"):
                vj = T.axis.spatial(v.hidden, j)
                first, last = vj * v.gates, vj * v.gates + v.gates
                T.reads(
                    self.x[b, 0 : v.width], self.h[b, 0 : v.state], *self._unit_constants(vj, products=True)
                )
                T.writes(*(out[b, first:last] for out in outs))
                acc_x = T.sblock_alloc_buffer((v.gates,), "int32")
                acc_h = T.sblock_alloc_buffer((v.gates,), "int32")
                self._dots(vj, acc_x, acc_h, named["bias_hh"])
                with T.sblock("rescale_products"):
                    mults = [named["mult_ih"], named["mult_hh"]]
                    T.reads(acc_x[0 : v.gates], acc_h[0 : v.gates], *(m[vj, 0 : v.gates] for m in mults))
                    T.writes(*(out[b, first:last] for out in outs))
                    shifts = v.get("norm_shift")
                    for out, acc, mult, shift in zip(outs, (acc_x, acc_h), mults, shifts, strict=True):
                        for g in range(v.gates):
                            wide = fp.i64(acc[g]) * fp.i64(mult[vj, g])
                            T.buffer_store(out, fp.rescale(wide, shift, 0, 16), [b, vj * v.gates + g])

    def _unit_constants(self, unit: Any, products: bool) -> list[Any]:
        """Regions of the constants that one unit reads in its products or in its gates."""
        v, named = self.v, self.buffers
        first = ["bias", "mult_ih", "mult_hh", "bias_hh"]
        second = ["gain_ih", "gain_hh", "gate_bias"]
        if v.norm is None:
            names = [*first, *second]
        else:
            names = first if products else second
        found = [named[n][unit, 0 : v.gates] for n in names if n in named]
        if products or v.norm is None:
            found.append(named["w"][unit, 0 : v.gates, 0 : v.width + v.state])
        if v.peephole and not products:
            found.append(named["mult_peephole"][unit, 0 : v.gates - 1])
        return found

    def _gates(self, cells: tuple[Any, ...] | None) -> None:
        """Gates, cell update and, unless the cell is normalised, the output of every unit."""
        from tvm.tirx.script import builder as T

        v, b, named = self.v, self.b, self.buffers
        target = named["out_gate"] if v.cell_norm is not None else named["inner" if v.projected else "h_out"]
        c, c_out = named["c"], named["c_out"]
        with T.serial(v.hidden) as j:
            with T.sblock("unit"):
                vj = T.axis.spatial(v.hidden, j)
                first, last = vj * v.gates, vj * v.gates + v.gates
                reads = [c[b, vj], self._all_tables(), *self._unit_constants(vj, products=False)]
                if cells is None:
                    reads += [self.x[b, 0 : v.width], self.h[b, 0 : v.state]]
                    acc_x = T.sblock_alloc_buffer((v.gates,), "int32")
                    acc_h = T.sblock_alloc_buffer((v.gates,), "int32")
                    sources = [acc_x[0 : v.gates], acc_h[0 : v.gates]]
                else:
                    sources = [named[f"products_{s}"][b, first:last] for s in "xh"]
                    sources += [cell[0 : normalize.CELLS] for cell in cells]
                    reads += sources
                T.reads(*reads)
                T.writes(target[b, vj], c_out[b, vj])
                act = T.sblock_alloc_buffer((v.gates + 2,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                if cells is None:
                    self._dots(vj, acc_x, acc_h, None)
                with T.sblock("update"):
                    constants = self._unit_constants(vj, products=False)
                    T.reads(*sources, c[b, vj], self._all_tables(), *constants)
                    T.writes(target[b, vj], c_out[b, vj])

                    def total(g: int) -> Any:
                        if cells is not None:
                            return self._normalised(vj, g, cells)
                        ih, hh = named["mult_ih"], named["mult_hh"]
                        return fp.i64(acc_x[g]) * fp.i64(ih[vj, g]) + fp.i64(acc_h[g]) * fp.i64(hh[vj, g])

                    self._update(vj, total, act, scratch, target)

    def _normalised(self, unit: Any, g: int, cells: tuple[Any, ...]) -> Any:
        """The sum of both normalised products of gate g and its bias, int64."""
        v, b, named = self.v, self.b, self.buffers
        n, at = v.hidden * v.gates, unit * v.gates + g
        units_x, units_h = (
            normalize.unit(cell, fp.i32(named[f"products_{s}"][b, at]), n)
            for cell, s in zip(cells, "xh", strict=True)
        )
        both = normalize.affine(units_x, named["gain_ih"][unit, g], named["gate_bias"][unit, g])
        return both + units_h * fp.i64(named["gain_hh"][unit, g])

    def _update(self, unit: Any, total: Any, act: Any, scratch: Any, target: Any) -> None:
        """From the gates' sums to the new cell and the output. act: a cell per gate, then the cell without its zero
        point, then the new cell."""
        from tvm.tirx.script import builder as T

        v, b = self.v, self.b
        shifts, zps, act_zp = v.get("gate_shift"), v.get("gate_zp"), v.get("act_zp")
        cell_zp, cell_bits = v.get("cell_zp"), v.get("cell_bits")
        old, new = v.gates, v.gates + 1
        o = v.gates - 1
        g, f = o - 1, o - 2
        peeps = {0: 0, f: v.gates - 3, o: v.gates - 2}  # gate -> its column among the peephole weights

        def gate(k: int, cell: Any) -> None:
            acc = total(k)
            if v.peephole and k in peeps:
                acc = acc + fp.i64(cell) * fp.i64(self.buffers["mult_peephole"][unit, peeps[k]])
            value = self._activate(scratch, k, acc, shifts[k], zps[k])
            T.buffer_store(act, fp.i32(value) - act_zp[k], [k])

        T.buffer_store(act, fp.i32(self.buffers["c"][b, unit]) - cell_zp, [old])
        for k in range(o):
            gate(k, act[old])
        one = v.get("one")
        i = T.int32(one) - act[f] if one > 0 else act[0]
        keep = fp.i64(act[f] * act[old]) * fp.const64(v.get("f_mult"))
        fresh = fp.i64(i * act[g]) * fp.const64(v.get("i_mult"))
        cell = fp.i32(fp.rescale(keep + fresh, v.get("cell_shift"), cell_zp, cell_bits))
        low, high = fp.limits(cell_bits)
        if (v.get("cell_low"), v.get("cell_high")) != (low, high):
            cell = T.max(T.min(cell, T.int32(v.get("cell_high"))), T.int32(v.get("cell_low")))
        T.buffer_store(act, cell, [new])
        T.buffer_store(self.buffers["c_out"], T.Cast(f"int{cell_bits}", act[new]), [b, unit])
        gate(o, act[new] - cell_zp)
        if v.cell_norm is not None:
            stored = T.Cast(f"int{self.bits}", act[o] + act_zp[o])
            T.buffer_store(target, stored, [b, unit])
            return
        table, shift = v.gates, v.get("table_shift")[v.gates]
        squashed = fp.pwl(scratch, self.buffers["tables"], table, v.pieces, shift, act[new], self.bits)
        self._store_output(target, unit, act[o], fp.i32(squashed) - act_zp[table])

    def _store_output(self, target: Any, unit: Any, gate: Any, squashed: Any) -> None:
        from tvm.tirx.script import builder as T

        v = self.v
        product = fp.i64(gate * squashed) * fp.const64(v.get("h_mult"))
        T.buffer_store(target, fp.rescale(product, v.get("h_shift"), v.get("h_zp"), 8), [self.b, unit])

    def _outputs(self, cells: Any) -> None:
        """o * tanh(normalised cell) of every unit."""
        from tvm.tirx.script import builder as T

        v, b, named = self.v, self.b, self.buffers
        target = named["inner" if v.projected else "h_out"]
        c, gate, gain, bias = (named[n] for n in ("c_out", "out_gate", "cell_gain", "cell_bias"))
        with T.serial(v.hidden) as j:
            with T.sblock("unit_output"):
                vj = T.axis.spatial(v.hidden, j)
                T.reads(c[b, vj], gate[b, vj], gain[vj], bias[vj], cells[0 : normalize.CELLS],
                        self._all_tables())  # fmt: skip
                T.writes(target[b, vj])
                act = T.sblock_alloc_buffer((2,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                units = normalize.unit(cells, fp.i32(c[b, vj]), v.hidden)
                acc = normalize.affine(units, gain[vj], bias[vj])
                shift, zp = v.get("cell_norm_shift"), v.get("cell_norm_zp")
                squashed = self._activate(scratch, v.gates, acc, shift, zp)
                T.buffer_store(act, fp.i32(squashed) - v.get("act_zp")[v.gates], [0])
                T.buffer_store(act, fp.i32(gate[b, vj]) - v.get("act_zp")[v.gates - 1], [1])
                self._store_output(target, vj, act[1], act[0])

    def _project(self) -> None:
        from tvm.tirx.script import builder as T

        v, b, named = self.v, self.b, self.buffers
        inner, w, bias, mult = (named[n] for n in ("inner", "w_hr", "bias_hr", "mult_hr"))
        with T.serial(v.state) as p:
            with T.sblock("unit_projection"):
                vp = T.axis.spatial(v.state, p)
                T.reads(inner[b, 0 : v.hidden], w[vp, 0 : v.hidden], bias[vp], mult[vp])
                T.writes(named["h_out"][b, vp])
                acc = T.sblock_alloc_buffer((1,), "int32")
                dot_rows("projection", acc, 1, v.hidden, (w, lambda g, i: (vp + g, i)),
                         (inner, lambda i: (b, i)), (bias, lambda g: (vp + g,)))  # fmt: skip
                with T.sblock("store_projection"):
                    T.reads(acc[0], mult[vp])
                    T.writes(named["h_out"][b, vp])
                    wide = fp.i64(acc[0]) * fp.i64(mult[vp])
                    value = fp.rescale(wide, v.get("projection_shift"), v.get("projection_zp"), 8)
                    T.buffer_store(named["h_out"], value, [b, vp])
