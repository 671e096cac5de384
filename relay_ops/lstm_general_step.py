"""The kernel of one irnn.lstm_general step, a unit at a time (formulas: lstm_general_formulas.py).

Stages of each batch row, as far as the variant has them: Mogrifier rounds; products of all gates and their statistics;
gates and cell update of every unit; statistics of the cell and the normalised output; projection. What one stage hands
to the next for all units at once is a scratch parameter of the kernel.
"""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder as T

from . import fixed_point as fp
from . import normalize
from .kernel import MACS_ATTR, kernel
from .lanes import Lanes
from .lstm_general_formulas import Formulas, Terms
from .lstm_general_layout import Variant
from .matvec import dot_rows


def build(v: Variant) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in."""
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
        # Scalars are rescaled in 64 bits, whatever fits.
        self.formulas = Formulas(v, Lanes(), buffers["tables"], False)
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

    def _mogrify(self) -> None:
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
        v, b, number = self.v, self.b, r // 2
        depth, name = (v.width, "r") if r % 2 else (v.state, "q")
        w, bias, mult = (self.buffers[f"{kind}_{name}"] for kind in ("w", "bias", "mult"))
        T.reads(source[b, 0:depth], value[b, unit], w[number, unit, 0:depth], bias[number, unit],
                mult[number, unit], self.formulas.all_tables())  # fmt: skip
        T.writes(out[b, unit])
        acc = T.sblock_alloc_buffer((1,), "int32")
        self.formulas.open()
        dot_rows(f"mogrify{r}", acc, 1, depth, (w, lambda g, c: (number, unit + g, c)),
                 (source, lambda c: (b, c)), (bias, lambda g: (number, unit + g)))  # fmt: skip
        with T.sblock(f"gate_mogrify{r}"):
            T.reads(acc[0], value[b, unit], mult[number, unit], self.formulas.all_tables())
            T.writes(out[b, unit])
            gated = fp.i32(value[b, unit]) - zero
            result = self.formulas.mogrified(r, [(acc[0], mult[number, unit])], gated)
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
        v, b, named = self.v, self.b, self.buffers
        target = named["out_gate"] if v.cell_norm is not None else named["inner" if v.projected else "h_out"]
        c, c_out = named["c"], named["c_out"]
        with T.serial(v.hidden) as j:
            with T.sblock("unit"):
                vj = T.axis.spatial(v.hidden, j)
                first, last = vj * v.gates, vj * v.gates + v.gates
                reads = [c[b, vj], self.formulas.all_tables(), *self._unit_constants(vj, products=False)]
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
                self.formulas.open()
                if cells is None:
                    self._dots(vj, acc_x, acc_h, None)
                with T.sblock("update"):
                    constants = self._unit_constants(vj, products=False)
                    T.reads(*sources, c[b, vj], self.formulas.all_tables(), *constants)
                    T.writes(target[b, vj], c_out[b, vj])

                    def terms(g: int) -> Terms:
                        if cells is not None:
                            return self._normalised(vj, g, cells)
                        return [(acc_x[g], named["mult_ih"][vj, g]), (acc_h[g], named["mult_hh"][vj, g])]

                    self.formulas.update(
                        terms,
                        lambda column: named["mult_peephole"][vj, column],
                        fp.i32(c[b, vj]),
                        lambda cell: T.buffer_store(c_out, cell, [b, vj]),
                    )
                    if v.cell_norm is None:
                        T.buffer_store(target, self.formulas.output(), [b, vj])
                    else:
                        bits, zp = v.get("gate_bits"), v.get("act_zp")[v.gates - 1]
                        T.buffer_store(target, fp.cast(bits, fp.i32(self.formulas.output_gate) + zp), [b, vj])

    def _normalised(self, unit: Any, g: int, cells: tuple[Any, ...]) -> Terms:
        """The terms of gate g: both normalised products and its bias."""
        v, b, named = self.v, self.b, self.buffers
        elements = [fp.i32(named[f"products_{s}"][b, unit * v.gates + g]) for s in "xh"]
        gains = [named[name][unit, g] for name in ("gain_ih", "gain_hh")]
        both = list(zip(cells, elements, gains, strict=True))
        return self.formulas.normalised(both, named["gate_bias"][unit, g])

    def _outputs(self, cells: Any) -> None:
        """o * tanh(normalised cell) of every unit."""
        v, b, named = self.v, self.b, self.buffers
        target = named["inner" if v.projected else "h_out"]
        c, gate, gain, bias = (named[n] for n in ("c_out", "out_gate", "cell_gain", "cell_bias"))
        with T.serial(v.hidden) as j:
            with T.sblock("unit_output"):
                vj = T.axis.spatial(v.hidden, j)
                T.reads(c[b, vj], gate[b, vj], gain[vj], bias[vj], cells[0 : normalize.CELLS],
                        self.formulas.all_tables())  # fmt: skip
                T.writes(target[b, vj])
                self.formulas.open()
                o = fp.i32(gate[b, vj]) - v.get("act_zp")[v.gates - 1]
                value = self.formulas.normalised_output(cells, fp.i32(c[b, vj]), gain[vj], bias[vj], o)
                T.buffer_store(target, value, [b, vj])

    def _project(self) -> None:
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
