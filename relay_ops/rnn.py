"""irnn.rnn: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/rnn.py).

Units share each activation load: a tile of them where there is an instruction set to do it with, else four, with
weights packed [H][X + H].
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .from_inputs import Ahead
from .input_products import Step, with_inputs
from .kernel import INDEPENDENT_ATTR, MACS_ATTR, kernel
from .lanes import Lanes
from .matvec import dot_rows
from .planes import Planes
from .products import Product, local_sums, sum_products
from .registry import attr, constant, define, optional_arguments, shape_of, tensor
from .scan import emit_scan
from .tiles import TileState, Tiling, for_each_tile, products_bound, tiling

REQUIRED = ("x", "h0", "w_ih", "w_hh", "bias", "mult_ih", "mult_hh")
OPTIONAL = ("table",)
UNITS = 4


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    hidden = shape_of(call.args[1])[1]
    return relax.TupleType([tensor([steps, batch, hidden], 8), tensor([batch, hidden], 8)])


def legalize(bb: Any, call: Any) -> Any:
    present = optional_arguments(call, REQUIRED, OPTIONAL)
    x, h0 = present["x"], present["h0"]
    arrays = {n: constant(e, bb, f"irnn.rnn {n}") for n, e in present.items() if n not in ("x", "h0")}
    batch, hidden = (int(d) for d in shape_of(h0))
    width, table = int(shape_of(x)[2]), arrays.get("table")
    pieces = 0 if table is None else int(table.shape[1])
    tile = tiling(1, hidden, batch, (arrays["w_ih"], arrays["w_hh"]), table, True)
    if tile is None:
        step = Step(build(call, batch, width, hidden, pieces))
        weights = np.ascontiguousarray(np.concatenate([arrays["w_ih"], arrays["w_hh"]], axis=1))
        packed = [weights, *(arrays[name] for name in ("bias", "mult_ih", "mult_hh"))]
    else:
        worst = products_bound(arrays["w_ih"], arrays["mult_ih"], arrays["bias"])
        worst = worst + products_bound(arrays["w_hh"], arrays["mult_hh"], None)
        fits = fp.within_int32(int(worst.max()), attr(call, "shift"), attr(call, "zp"))
        form = partial(build_tiles, call, tile, batch, pieces, fits)
        step = with_inputs(tile, batch, arrays["w_ih"], arrays["bias"], form)
        packed = [tile.pack_weights(arrays["w_hh"]), *(tile.pack(arrays[n]) for n in ("mult_ih", "mult_hh"))]
    if table is not None:
        packed.append(table if tile is None else tile.pack_table(table))
    outs = emit_scan(
        bb,
        step.func,
        "rnn_step",
        x,
        h0,
        [],
        [relax.const(a, str(a.dtype)) for a in [*packed, *step.constants]],
        call.ty.fields[0],
        [*([] if tile is None else Planes(tile.isa, batch, hidden).types), *step.scratch],
        last_y=True,
        reverse=bool(attr(call, "reverse")),
        inputs=step.inputs,
    )
    return relax.Tuple(outs)


def build_tiles(call: Any, tile: Tiling, batch: int, pieces: int, fits: bool, source: Ahead) -> Any:
    """`build` with a tile of units at a time. fits: see `within_int32`; source: of the products with x."""
    shift, zp, bits = attr(call, "shift"), attr(call, "zp"), attr(call, "gate_bits")
    hidden, size, lanes = tile.rows, tile.lanes, Lanes(tile.lanes, tile.isa)
    planes = Planes(tile.isa, batch, hidden)
    attrs = {MACS_ATTR: batch * hidden * (hidden + source.depth), INDEPENDENT_ATTR: 1}
    with kernel("rnn_step", "recurrent_step", attrs, 1 + len(planes.types) + source.outputs) as k:
        source.open(k)
        h = k.arg("h", (batch, hidden), "int8")
        w = k.arg("w", tile.weight_shape(hidden), "int8")
        m_ih, m_hh = (k.arg(n, (tile.count, size), "int32") for n in ("mult_ih", "mult_hh"))
        table: Any = k.arg("table", tile.table_shape(pieces), "int16") if pieces else None
        source.open_constants(k)
        y = k.arg("y", (batch, hidden), "int8")
        planes.open(k)
        source.open_scratch(k)
        turn = k.turn()
        product = Product(tile, hidden, w)

        def unit(name: str, rows: list[Any], vj: Any, valid: Any) -> None:
            these = slice(rows[0], rows[0] + len(rows))
            units = tile.units(vj, valid)
            constants = [m[vj, 0:size] for m in (m_ih, m_hh)]
            constants += [table[0 : table.shape[0], 0 : table.shape[1]]] if pieces else []
            T.reads(*planes.regions(h, these), *source.regions(these, vj), *product.regions(vj), *constants)
            T.writes(y[these, units])
            sums = local_sums(tile, len(rows))
            scratch, wide = lanes.scratch(), lanes.sums()
            state = TileState(lanes, tile, valid)
            sums_x = source.sum(name, rows, vj)
            sum_products(f"h{name}", product, vj, planes.vectors(h, rows), sums)
            for number, (vb, (sums_h, _), (x, outer)) in enumerate(zip(rows, sums, sums_x, strict=True)):
                with T.sblock(f"update{name}_{number}"):
                    T.reads(sums_h[0:size], x[(*outer, slice(0, size))], *constants)
                    T.writes(y[vb, units])

                    def update(vb: Any = vb, x: Any = x, outer: Any = outer, sums_h: Any = sums_h) -> None:
                        from_x = lanes.load(x, *outer, 0), lanes.load(m_ih, vj, 0)
                        terms = [from_x, (lanes.load(sums_h, 0), lanes.load(m_hh, vj, 0))]
                        pre = lanes.rescale(wide, terms, shift, zp, bits if pieces else 8, fits)
                        value = T.max(pre, T.int8(zp))
                        if pieces:
                            table_shift = attr(call, "table_shift")
                            value = lanes.activate(scratch, table, None, pieces, table_shift, pre, 8)
                        state.store(value, y, vb, vj)

                    lanes.each(valid, update)

        source.prepare()
        planes.prepare(h)
        for_each_tile(tile, batch, unit, turn=turn)
    return k.result


def build(call: Any, batch: int, width: int, hidden: int, pieces: int) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in. pieces: of the table, 0 for relu."""
    depth, shift, zp, bits = width + hidden, attr(call, "shift"), attr(call, "zp"), attr(call, "gate_bits")
    with kernel("rnn_step", "recurrent_step", {MACS_ATTR: batch * hidden * depth}, 1) as k:
        x = k.arg("x", (batch, width), "int8")
        h = k.arg("h", (batch, hidden), "int8")
        w = k.arg("w", (hidden, depth), "int8")
        bias, m_ih, m_hh = (k.arg(name, (hidden,), "int32") for name in ("bias", "mult_ih", "mult_hh"))
        table: Any = k.arg("table", (3, pieces), "int16") if pieces else None
        y = k.arg("y", (batch, hidden), "int8")
        table_region = [table[0:3, 0:pieces]] if pieces else []

        def units(vb: Any, first: Any, rows: int, name: str) -> None:
            acc_x = T.sblock_alloc_buffer((rows,), "int32")
            acc_h = T.sblock_alloc_buffer((rows,), "int32")
            scratch = T.sblock_alloc_buffer((2,), "int32")
            dot_rows(f"x_{name}", acc_x, rows, width, (w, lambda g, i: (first + g, i)), (x, lambda i: (vb, i)),
                     (bias, lambda g: (first + g,)))  # fmt: skip
            dot_rows(f"h_{name}", acc_h, rows, hidden, (w, lambda g, i: (first + g, width + i)),
                     (h, lambda i: (vb, i)), None)  # fmt: skip
            with T.sblock(f"update_{name}"):
                mults = (m[first : first + rows] for m in (m_ih, m_hh))
                T.reads(acc_x[0:rows], acc_h[0:rows], *mults, *table_region)
                T.writes(y[vb, first : first + rows])
                for g in range(rows):
                    at = first + g
                    acc = fp.i64(acc_x[g]) * fp.i64(m_ih[at]) + fp.i64(acc_h[g]) * fp.i64(m_hh[at])
                    if pieces:
                        pre = fp.i32(fp.rescale(acc, shift, zp, bits))
                        value = fp.pwl(scratch, table, None, pieces, attr(call, "table_shift"), pre, 8)
                    else:
                        value = T.max(fp.rescale(acc, shift, zp, 8), T.int8(zp))
                    T.buffer_store(y, value, [vb, at])

        blocks, rest = divmod(hidden, UNITS)

        def regions(vb: Any, first: Any, rows: int) -> None:
            vectors = (v[first : first + rows] for v in (bias, m_ih, m_hh))
            weights = w[first : first + rows, 0:depth]
            T.reads(x[vb, 0:width], h[vb, 0:hidden], weights, *vectors, *table_region)
            T.writes(y[vb, first : first + rows])

        if blocks:
            with T.grid(batch, blocks) as (b, j):
                with T.sblock("unit"):
                    vb, vj = T.axis.spatial(batch, b), T.axis.spatial(blocks, j)
                    regions(vb, vj * UNITS, UNITS)
                    units(vb, vj * UNITS, UNITS, "rows")
        if rest:
            with T.serial(batch) as b:
                with T.sblock("unit_rest"):
                    vb = T.axis.spatial(batch, b)
                    regions(vb, blocks * UNITS, rest)
                    units(vb, blocks * UNITS, rest, "rest")
    return k.result


define("rnn", [*REQUIRED, *OPTIONAL], infer, legalize)
