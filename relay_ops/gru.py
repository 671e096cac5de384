"""irnn.gru: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/gru.py).

Reset after the product: one pass over packed weights, for a unit or for a tile of units. Reset before it: the r and z
rows of all units first (they need nothing else), then the n rows, whose input r*h needs every r; in tiles in
gru_before_tiles.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tvm import relax
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from . import gru_before_tiles, requantize
from .from_inputs import Ahead
from .input_products import Step, with_inputs
from .lanes import Lanes
from .lstm import pack_gates
from .lstm_general_layout import Shapes
from .matvec import dot_rows
from .planes import Planes
from .products import Product, local_sums, sum_products
from .recurrent_layer import RecurrentLayer
from .registry import attr, constant, define, shape_of, tensor
from .registry import call as irnn_call
from .scan import emit_scan
from .tiles import TileState, Tiling, for_each_tile, products_bound, tiling

GATES = 3
Expr = Any


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    hidden = shape_of(call.args[1])[1]
    return relax.TupleType(
        [tensor([steps, batch, hidden], 8), tensor([batch, hidden], attr(call, "state_bits"))]
    )


def legalize(bb: Any, call: Any) -> Any:
    x, h0 = call.args[:2]
    names = ("w_ih", "w_hh", "bias", "bias_hn", "mult_ih", "mult_hh", "tables")
    arrays = {n: constant(a, bb, f"irnn.gru {n}") for a, n in zip(call.args[2:9], names, strict=True)}
    batch, hidden = (int(d) for d in shape_of(h0))
    layer = Layer(call, batch, int(shape_of(x)[2]), hidden, arrays["tables"].shape[2], fits(call, arrays))
    reset_after = bool(attr(call, "reset_after"))
    weights = arrays["w_ih"], arrays["w_hh"]
    tile = tiling(GATES, hidden, batch, weights, arrays["tables"], reset_after)
    scratch: Shapes = {}
    if tile is None:
        step = Step(build_reset_after(layer) if reset_after else build_reset_before(layer))
        packed = pack_rows(arrays, reset_after)
        if not reset_after:
            scratch = {"rh": ((batch, hidden), "int8"), "z": ((batch, hidden), f"int{layer.bits}")}
    else:
        form = build_tiles if reset_after else gru_before_tiles.build
        parts = None if reset_after else gru_before_tiles.PARTS
        step = with_inputs(
            tile, batch, arrays["w_ih"], arrays["bias"], partial(form, layer, tile), parts=parts
        )
        packed = (pack_tiles if reset_after else gru_before_tiles.pack)(arrays, tile)
        if not reset_after:
            scratch = gru_before_tiles.scratch_shapes(layer, tile)
    scratch_types = [relax.TensorType(list(shape), dtype) for shape, dtype in scratch.values()]
    if tile is not None and reset_after:
        scratch_types += Planes(tile.isa, batch, hidden).types
    # The products see an int8 copy of the state; for the first step it is made here, later it is the last output.
    copy = irnn_call("requantize", [h0], {
        "in_zp": attr(call, "state_zp"), "mult": attr(call, "out_mult"), "shift": attr(call, "out_shift"),
        "out_zp": attr(call, "out_zp"), "out_bits": 8,
    })  # fmt: skip
    h8 = bb.emit(requantize.legalize(bb, bb.normalize(copy)))
    outs = emit_scan(
        bb,
        step.func,
        "gru_step" if reset_after else "gru_before_step",
        x,
        h8,
        [h0],
        [relax.const(a, str(a.dtype)) for a in [*packed, *step.constants]],
        call.ty.fields[0],
        [*scratch_types, *step.scratch],
        last_y=False,
        reverse=bool(attr(call, "reverse")),
        inputs=step.inputs,
    )
    return relax.Tuple(outs)


def fits(call: Any, arrays: dict[str, np.ndarray]) -> bool:
    """Whether every sum that is rescaled fits int32 before it is saturated."""
    bits = attr(call, "gate_bits")
    hidden = arrays["w_hh"].shape[1]
    bias_hn = (
        np.concatenate([np.zeros(2 * hidden, np.int64), arrays["bias_hn"]])
        if attr(call, "reset_after")
        else None
    )
    from_x = products_bound(arrays["w_ih"], arrays["mult_ih"], arrays["bias"]).reshape(GATES, -1).max(axis=1)
    from_h = products_bound(arrays["w_hh"], arrays["mult_hh"], bias_hn).reshape(GATES, -1).max(axis=1)
    worst = [int(x) + int(h) for x, h in zip(from_x, from_h, strict=True)]
    unit, state = 1 << bits, 1 << attr(call, "state_bits")
    checks = []
    if attr(call, "reset_after"):
        checks.append((int(from_h[2]), attr(call, "hn_shift"), 0))
        worst[2] = int(from_x[2]) + unit * unit * attr(call, "rn_mult")
    else:
        checks.append((unit * state * attr(call, "rh_mult"), attr(call, "rh_shift"), attr(call, "rh_zp")))
    checks += list(zip(worst, attr(call, "gate_shift"), attr(call, "gate_zp"), strict=True))
    # z and what is left of it are below 2**17, the state update's products within int32 (verify).
    update = (1 << 31) * (attr(call, "n_mult") + attr(call, "h_mult"))
    checks.append((update, attr(call, "state_shift"), attr(call, "state_zp")))
    checks.append((2 * state * attr(call, "out_mult"), attr(call, "out_shift"), attr(call, "out_zp")))
    return all(fp.within_int32(*check) for check in checks)


def pack_rows(arrays: dict[str, np.ndarray], reset_after: bool) -> list[np.ndarray]:
    """Constants of `build_reset_after` or `build_reset_before` in its order."""
    weights = np.concatenate([pack_gates(arrays[n], GATES) for n in ("w_ih", "w_hh")], axis=2)
    parts = [weights] if reset_after else [weights[:, :2], weights[:, 2]]
    vectors = [pack_gates(arrays[n], GATES) for n in ("bias", "mult_ih", "mult_hh")]
    extra = [arrays["bias_hn"]] if reset_after else []
    return [*(np.ascontiguousarray(w) for w in parts), *vectors, *extra, arrays["tables"]]


def pack_tiles(arrays: dict[str, np.ndarray], tile: Tiling) -> list[np.ndarray]:
    """Constants of `build_tiles` in its order."""
    bias_h = np.concatenate([np.zeros(2 * tile.rows, np.int32), arrays["bias_hn"]])
    multipliers = [tile.pack(arrays[n]) for n in ("mult_ih", "mult_hh")]
    product = [tile.pack_weights(arrays["w_hh"]), tile.pack_start(bias_h)]
    return [*product, *multipliers, tile.pack_table(arrays["tables"])]


class Layer(RecurrentLayer):
    """A call of the op, and the formulas of a step that all its kernels share."""

    @property
    def bits(self) -> int:
        return int(attr(self.call, "gate_bits"))

    @property
    def state_bits(self) -> int:
        return int(attr(self.call, "state_bits"))

    def activate(
        self, lanes: Lanes, scratch: tuple[Any, Any], tables: Any, terms: list[tuple[Expr, Expr]], gate: int
    ) -> Expr:
        """Activation of gate 0 (r), 1 (z) or 2 (n), minus its zero point, as int32. terms: sums and multipliers."""
        call = self.call
        shift, zp = attr(call, "gate_shift")[gate], attr(call, "gate_zp")[gate]
        pre = lanes.rescale(scratch[1], terms, shift, zp, self.bits, self.fits)
        shift, zp = attr(call, "table_shift")[gate], attr(call, "act_zp")[gate]
        value = fp.i32(lanes.activate(scratch[0], tables, gate, self.pieces, shift, pre, self.bits))
        return value - zp if zp else value

    def state(self, lanes: Lanes, scratch: tuple[Any, Any], z: Expr, n: Expr, h_real: Expr) -> Expr:
        """The new state, int{state_bits}. h_real: the old one without its zero point."""
        call = self.call
        n_mult, h_mult = (lanes.wide(T.int32(attr(call, name))) for name in ("n_mult", "h_mult"))
        terms = [((attr(call, "z_one") - z) * n, n_mult), (z * h_real, h_mult)]
        return lanes.rescale(
            scratch[1], terms, attr(call, "state_shift"), attr(call, "state_zp"), self.state_bits, self.fits
        )

    def output(self, lanes: Lanes, scratch: tuple[Any, Any], state: Expr) -> Expr:
        """The int8 copy of a state, int32."""
        call = self.call
        terms = [(state - attr(call, "state_zp"), lanes.wide(T.int32(attr(call, "out_mult"))))]
        return lanes.rescale(scratch[1], terms, attr(call, "out_shift"), attr(call, "out_zp"), 8, self.fits)

    def update_after(
        self,
        lanes: Lanes,
        sums: tuple[Callable[[int], Expr], Callable[[int], Expr]],
        multipliers: tuple[Callable[[int], Expr], Callable[[int], Expr]],
        tables: Any,
        act: Any,
        scratch: tuple[Any, Any],
        h: Expr,
        store: Callable[[Expr, Expr], None],
    ) -> None:
        """All of a step but its products, for units of `lanes`, with r applied to U h.

        sums: gate to the products with x and with h, biases added; multipliers: of them; act: int32 local [4, lanes];
        scratch: what `Lanes.scratch` and `Lanes.sums` made; h: the old state, int32; store: takes the new state and its
        int8 copy.
        """
        call = self.call
        (acc_x, acc_h), (m_ih, m_hh) = sums, multipliers
        for g in range(2):
            terms = [(acc_x(g), m_ih(g)), (acc_h(g), m_hh(g))]
            lanes.store(act, self.activate(lanes, scratch, tables, terms, g), g, 0)
        hn = lanes.rescale(scratch[1], [(acc_h(2), m_hh(2))], attr(call, "hn_shift"), 0, self.bits, self.fits)
        lanes.store(act, fp.i32(hn), 3, 0)
        gated = lanes.load(act, 0, 0) * lanes.load(act, 3, 0), lanes.wide(T.int32(attr(call, "rn_mult")))
        n = self.activate(lanes, scratch, tables, [(acc_x(2), m_ih(2)), gated], 2)
        lanes.store(act, n, 2, 0)
        z, n = lanes.load(act, 1, 0), lanes.load(act, 2, 0)
        lanes.store(act, fp.i32(self.state(lanes, scratch, z, n, h - attr(call, "state_zp"))), 3, 0)
        state = lanes.load(act, 3, 0)
        store(fp.cast(self.state_bits, state), self.output(lanes, scratch, state))


def build_reset_after(layer: Layer) -> Any:
    """PrimFunc of one step, a unit at a time, with r applied to U h (PyTorch's nn.GRU)."""
    batch, width, hidden, pieces = layer.batch, layer.width, layer.hidden, layer.pieces
    depth, lanes = width + hidden, Lanes()
    with layer.open("gru_step", 2, batch * hidden * GATES * depth) as k:
        x = k.arg("x", (batch, width), "int8")
        h8 = k.arg("h8", (batch, hidden), "int8")
        h = k.arg("h", (batch, hidden), f"int{layer.state_bits}")
        w = k.arg("w", (hidden, GATES, depth), "int8")
        bias = k.arg("bias", (hidden, GATES), "int32")
        m_ih = k.arg("mult_ih", (hidden, GATES), "int32")
        m_hh = k.arg("mult_hh", (hidden, GATES), "int32")
        bias_hn = k.arg("bias_hn", (hidden,), "int32")
        tables = k.arg("tables", (GATES, 3, pieces), "int16")
        y = k.arg("y", (batch, hidden), "int8")
        h_out = k.arg("h_out", (batch, hidden), f"int{layer.state_bits}")
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], h8[vb, 0:hidden], h[vb, vj], w[vj, 0:GATES, 0:depth], bias[vj, 0:GATES],
                        bias_hn[vj], m_ih[vj, 0:GATES], m_hh[vj, 0:GATES],
                        tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                T.writes(y[vb, vj], h_out[vb, vj])
                acc_x = T.sblock_alloc_buffer((GATES,), "int32")
                acc_h = T.sblock_alloc_buffer((GATES,), "int32")
                act = T.sblock_alloc_buffer((4, 1), "int32")
                scratch = lanes.scratch(), lanes.sums()
                dot_rows("x", acc_x, GATES, width, (w, lambda g, i: (vj, g, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g)))  # fmt: skip
                dot_rows("h", acc_h, GATES, hidden, (w, lambda g, i: (vj, g, width + i)), (h8, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("update"):
                    T.reads(acc_x[0:GATES], acc_h[0:GATES], h[vb, vj], bias_hn[vj], m_ih[vj, 0:GATES],
                            m_hh[vj, 0:GATES], tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                    T.writes(y[vb, vj], h_out[vb, vj])

                    def store(state: Expr, copy: Expr) -> None:
                        T.buffer_store(h_out, state, [vb, vj])
                        T.buffer_store(y, copy, [vb, vj])

                    layer.update_after(
                        lanes,
                        (lambda g: acc_x[g], lambda g: acc_h[g] + bias_hn[vj] if g == 2 else acc_h[g]),
                        (lambda g: m_ih[vj, g], lambda g: m_hh[vj, g]),
                        tables,
                        act,
                        scratch,
                        fp.i32(h[vb, vj]),
                        store,
                    )
    return k.result


def build_tiles(layer: Layer, tile: Tiling, source: Ahead) -> Any:
    """`build_reset_after` with a tile of units at a time. source: of the products with x."""
    batch, hidden, size = layer.batch, layer.hidden, tile.width
    planes_of_table, row = tile.table_shape(layer.pieces)
    lanes, state_type = Lanes(tile.lanes, tile.isa), f"int{layer.state_bits}"
    planes = Planes(tile.isa, batch, hidden)
    outputs = 2 + len(planes.types) + source.outputs
    macs = batch * hidden * GATES * (hidden + source.depth)
    with layer.open("gru_step", outputs, macs, independent=True) as k:
        source.open(k)
        h8 = k.arg("h8", (batch, hidden), "int8")
        h = k.arg("h", (batch, hidden), state_type)
        w = k.arg("w", tile.weight_shape(hidden), "int8")
        bias_h = k.arg("bias_h", tile.start_shape, "int32")
        m_ih = k.arg("mult_ih", (tile.count, size), "int32")
        m_hh = k.arg("mult_hh", (tile.count, size), "int32")
        tables = k.arg("tables", (GATES, planes_of_table, row), "int16")
        source.open_constants(k)
        y = k.arg("y", (batch, hidden), "int8")
        h_out = k.arg("h_out", (batch, hidden), state_type)
        planes.open(k)
        source.open_scratch(k)
        turn = k.turn()
        product = Product(tile, hidden, w, bias_h)

        def unit(name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
            these = slice(rows[0], rows[0] + len(rows))
            units = tile.units(vj, valid)
            constants = [m_ih[vj, 0:size], m_hh[vj, 0:size], tables[0:GATES, 0:planes_of_table, 0:row]]
            states = [*source.regions(these, vj), h[these, units]]
            T.reads(*planes.regions(h8, these), *states, *product.regions(vj), *constants)
            T.writes(y[these, units], h_out[these, units])
            sums = local_sums(tile, len(rows))
            act = lanes.local(4, "int32")
            scratch = lanes.scratch(), lanes.sums()
            state = TileState(lanes, tile, valid, state_type)
            sums_x = source.sum(name, rows, vj)
            sum_products(f"h{name}", product, vj, planes.vectors(h8, rows), sums)
            for number, (vb, (sums_h, _), (x, outer)) in enumerate(zip(rows, sums, sums_x, strict=True)):
                with T.sblock(f"update{name}_{number}"):
                    T.reads(sums_h[0:size], x[(*outer, slice(0, size))], h[vb, units], *constants)
                    T.writes(y[vb, units], h_out[vb, units])

                    def load(buffer: Any, *outer: Expr) -> Callable[[int], Expr]:
                        return lambda g: lanes.load(buffer, *outer, g * tile.lanes)

                    def store(new: Expr, copy: Expr, vb: Expr = vb) -> None:
                        state.store(new, h_out, vb, vj)
                        state.store(copy, y, vb, vj)

                    sums_of = load(x, *outer), load(sums_h)

                    def update(vb: Expr = vb, sums_of: Any = sums_of, store: Any = store) -> None:
                        old, multipliers = fp.i32(state.load(h, vb, vj)), (load(m_ih, vj), load(m_hh, vj))
                        layer.update_after(lanes, sums_of, multipliers, tables, act, scratch, old, store)

                    lanes.each(valid, update)

        source.prepare()
        planes.prepare(h8)
        for_each_tile(tile, batch, unit, turn=turn)
    return k.result


def build_reset_before(layer: Layer) -> Any:
    """PrimFunc of one step with r applied to h before the product (Keras reset_after=False)."""
    call, batch, width, hidden, pieces = layer.call, layer.batch, layer.width, layer.hidden, layer.pieces
    depth, bits, state_bits = width + hidden, layer.bits, layer.state_bits
    state_zp, lanes = attr(call, "state_zp"), Lanes()
    with layer.open("gru_before_step", 4, batch * hidden * GATES * depth) as k:
        x = k.arg("x", (batch, width), "int8")
        h8 = k.arg("h8", (batch, hidden), "int8")
        h = k.arg("h", (batch, hidden), f"int{state_bits}")
        w_rz = k.arg("w_rz", (hidden, 2, depth), "int8")
        w_n = k.arg("w_n", (hidden, depth), "int8")
        bias = k.arg("bias", (hidden, GATES), "int32")
        m_ih = k.arg("mult_ih", (hidden, GATES), "int32")
        m_hh = k.arg("mult_hh", (hidden, GATES), "int32")
        tables = k.arg("tables", (GATES, 3, pieces), "int16")
        y = k.arg("y", (batch, hidden), "int8")
        h_out = k.arg("h_out", (batch, hidden), f"int{state_bits}")
        rh = k.arg("rh", (batch, hidden), "int8")
        z = k.arg("z", (batch, hidden), f"int{bits}")
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit_rz"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], h8[vb, 0:hidden], h[vb, vj], w_rz[vj, 0:2, 0:depth], bias[vj, 0:2],
                        m_ih[vj, 0:2], m_hh[vj, 0:2], tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                T.writes(rh[vb, vj], z[vb, vj])
                acc_x = T.sblock_alloc_buffer((2,), "int32")
                acc_h = T.sblock_alloc_buffer((2,), "int32")
                act = T.sblock_alloc_buffer((1,), "int32")
                scratch = lanes.scratch(), lanes.sums()
                dot_rows("x_rz", acc_x, 2, width, (w_rz, lambda g, i: (vj, g, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g)))  # fmt: skip
                dot_rows("h_rz", acc_h, 2, hidden, (w_rz, lambda g, i: (vj, g, width + i)), (h8, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("gates_rz"):
                    T.reads(acc_x[0:2], acc_h[0:2], h[vb, vj], m_ih[vj, 0:2], m_hh[vj, 0:2],
                            tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                    T.writes(rh[vb, vj], z[vb, vj])
                    terms = [(acc_x[0], m_ih[vj, 0]), (acc_h[0], m_hh[vj, 0])]
                    T.buffer_store(act, layer.activate(lanes, scratch, tables, terms, 0), [0])
                    product = fp.i64(act[0] * (fp.i32(h[vb, vj]) - state_zp)) * fp.const64(
                        attr(call, "rh_mult")
                    )
                    value = fp.rescale(product, attr(call, "rh_shift"), attr(call, "rh_zp"), 8)
                    T.buffer_store(rh, value, [vb, vj])
                    terms = [(acc_x[1], m_ih[vj, 1]), (acc_h[1], m_hh[vj, 1])]
                    gate = layer.activate(lanes, scratch, tables, terms, 1) + attr(call, "act_zp")[1]
                    T.buffer_store(z, T.Cast(f"int{bits}", gate), [vb, vj])
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit_n"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], rh[vb, 0:hidden], z[vb, vj], h[vb, vj], w_n[vj, 0:depth], bias[vj, 2],
                        m_ih[vj, 2], m_hh[vj, 2], tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                T.writes(y[vb, vj], h_out[vb, vj])
                acc_x = T.sblock_alloc_buffer((1,), "int32")
                acc_h = T.sblock_alloc_buffer((1,), "int32")
                act = T.sblock_alloc_buffer((2,), "int32")
                scratch = lanes.scratch(), lanes.sums()
                dot_rows("x_n", acc_x, 1, width, (w_n, lambda g, i: (vj, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g + 2)))  # fmt: skip
                dot_rows("h_n", acc_h, 1, hidden, (w_n, lambda g, i: (vj, width + i)), (rh, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("update"):
                    T.reads(acc_x[0], acc_h[0], z[vb, vj], h[vb, vj], m_ih[vj, 2], m_hh[vj, 2],
                            tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                    T.writes(y[vb, vj], h_out[vb, vj])
                    terms = [(acc_x[0], m_ih[vj, 2]), (acc_h[0], m_hh[vj, 2])]
                    T.buffer_store(act, layer.activate(lanes, scratch, tables, terms, 2), [0])
                    z_real = fp.i32(z[vb, vj]) - attr(call, "act_zp")[1]
                    state = layer.state(lanes, scratch, z_real, act[0], fp.i32(h[vb, vj]) - state_zp)
                    T.buffer_store(act, fp.i32(state), [1])
                    T.buffer_store(h_out, T.Cast(f"int{state_bits}", act[1]), [vb, vj])
                    T.buffer_store(y, layer.output(lanes, scratch, act[1]), [vb, vj])
    return k.result


define(
    "gru",
    ["x", "h0", "w_ih", "w_hh", "bias", "bias_hn", "mult_ih", "mult_hh", "tables"],
    infer,
    legalize,
)
