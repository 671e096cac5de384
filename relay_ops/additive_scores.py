"""irnn.additive_scores: Relax op and TIR lowering (formula: irnn_tvm/ops/additive_scores.py)."""

from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .attention import size
from .kernel import MACS_ATTR, kernel
from .lanes import Lanes
from .piece_tables import pack_table, table_shape
from .registry import attr, constant, define, dtype_bits, shape_of, tensor
from .table_lanes import table_lanes


def infer(call: Any) -> Any:
    q, k = shape_of(call.args[0]), shape_of(call.args[1])
    return tensor([q[0], q[1], k[1]], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    table = constant(call.args[3], bb, "irnn.additive_scores table")
    lanes = vectors_for(call, table)
    if lanes is None or lanes.isa is None:
        func, packed = build(call), call.args[3]
    else:
        func, packed = build_lanes(call, lanes), relax.const(pack_table(lanes.isa, table), "int16")
    gv = bb.add_func(func, "additive_scores")
    return relax.call_tir(gv, [*call.args[:3], packed], relax.TensorType(shape_of(call), call.ty.dtype))


def vectors_for(call: Any, table: np.ndarray) -> Lanes | None:
    """A register of elements at a time; None where there are no vectors, or they are inexact or too long."""
    lanes = table_lanes(table)
    if lanes is None:
        return None
    worst = sum(
        (1 << dtype_bits(call.args[n])) * abs(attr(call, f"{name}_mult")) for n, name in enumerate(("q", "k"))
    )
    fits = fp.within_int32(worst, attr(call, "pre_shift"), attr(call, "pre_zp"))
    return lanes if fits and int(shape_of(call.args[0])[2]) >= lanes.count else None


NAMES = (
    *("q_zp", "k_zp", "q_mult", "k_mult", "pre_shift", "pre_zp", "pre_bits"),
    *("table_shift", "mult", "shift", "out_zp"),
)


def _open(call: Any, kern: Any, table: tuple[int, ...]) -> tuple[Any, ...]:
    """Parameters of the kernel: q, k, weight, table and y."""
    (batch, tq, width), tk = shape_of(call.args[0]), shape_of(call.args[1])[1]
    batch, width, tq, tk = int(batch), int(width), size(tq, "tq"), size(tk, "tk")
    q = kern.arg("q", (batch, tq, width), f"int{dtype_bits(call.args[0])}")
    k = kern.arg("k", (batch, tk, width), f"int{dtype_bits(call.args[1])}")
    weight = kern.arg("weight", (width,), "int8")
    tables = kern.arg("table", table, "int16")
    return q, k, weight, tables, kern.arg("y", (batch, tq, tk), f"int{attr(call, 'out_bits')}")


def _macs(call: Any) -> int:
    steps = shape_of(call.args[1])[1]
    rows = int(steps) if isinstance(steps, int | tirx.IntImm) else 1
    return int(shape_of(call.args[0])[0]) * rows * int(shape_of(call.args[0])[2])


def build(call: Any) -> Any:
    """PrimFunc q [B, Tq, H], k [B, Tk, H], weight [H], table [3, P] -> y [B, Tq, Tk]."""
    width, pieces = int(shape_of(call.args[0])[2]), int(shape_of(call.args[3])[1])
    q_zp, k_zp, q_mult, k_mult, pre_shift, pre_zp, pre_bits, table_shift, mult, shift, out_zp = (
        attr(call, n) for n in NAMES
    )
    bits = attr(call, "out_bits")
    with kernel("additive_scores", "attention", {MACS_ATTR: _macs(call)}) as kern:
        q, k, weight, table, y = _open(call, kern, (3, pieces))
        with T.grid(*y.shape) as (b, i, j):
            with T.sblock("score"):
                vb, vi, vj = (T.axis.spatial(d, v) for d, v in zip(y.shape, (b, i, j), strict=True))
                T.reads(q[vb, vi, 0:width], k[vb, vj, 0:width], weight[0:width], table[0:3, 0:pieces])
                T.writes(y[vb, vi, vj])
                acc = T.sblock_alloc_buffer((1,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                T.buffer_store(acc, T.int32(0), [0])
                with T.serial(width) as h:
                    left = fp.i64(fp.i32(q[vb, vi, h]) - T.int32(q_zp)) * fp.const64(q_mult)
                    right = fp.i64(fp.i32(k[vb, vj, h]) - T.int32(k_zp)) * fp.const64(k_mult)
                    pre = fp.i32(fp.rescale(left + right, pre_shift, pre_zp, pre_bits))
                    value = fp.pwl(scratch, table, None, pieces, table_shift, pre, 8)
                    T.buffer_store(acc, acc[0] + fp.i32(weight[h]) * fp.i32(value), [0])
                T.buffer_store(
                    y, fp.rescale(fp.i64(acc[0]) * fp.const64(mult), shift, out_zp, bits), [vb, vi, vj]
                )
    return kern.result


def build_lanes(call: Any, lanes: Lanes) -> Any:
    """`build` with a register of elements at a time; where a row is no multiple of that, the last ones overlap the ones
    before, whose weights then count as 0."""
    isa, width, pieces = lanes.isa, int(shape_of(call.args[0])[2]), int(shape_of(call.args[3])[1])
    assert isa is not None
    q_zp, k_zp, q_mult, k_mult, pre_shift, pre_zp, pre_bits, table_shift, mult, shift, out_zp = (
        attr(call, n) for n in NAMES
    )
    bits, count, words = attr(call, "out_bits"), isa.halves, isa.words
    whole, rest = divmod(width, count)
    with kernel("additive_scores", "attention", {MACS_ATTR: _macs(call)}) as kern:
        q, k, weight, table, y = _open(call, kern, table_shape(isa, pieces))
        with T.grid(*y.shape) as (b, i, j):
            with T.sblock("score"):
                vb, vi, vj = (T.axis.spatial(d, v) for d, v in zip(y.shape, (b, i, j), strict=True))
                T.reads(q[vb, vi, 0:width], k[vb, vj, 0:width], weight[0:width],
                        table[0 : table.shape[0], 0 : table.shape[1]])  # fmt: skip
                T.writes(y[vb, vi, vj])
                sums, factors = (
                    T.sblock_alloc_buffer((words,), "int32"),
                    T.sblock_alloc_buffer((count,), "int16"),
                )
                scratch, wide = lanes.scratch(), lanes.sums()
                at = T.Ramp(0, 1, words)
                T.buffer_store(sums, T.Broadcast(T.int32(0), words), [at])

                def add(first: Any, skipped: int) -> None:
                    part = T.Ramp(first, 1, count)
                    terms = [
                        (fp.i32(q[vb, vi, part]) - T.int32(q_zp), lanes.wide(T.int32(q_mult))),
                        (fp.i32(k[vb, vj, part]) - T.int32(k_zp), lanes.wide(T.int32(k_mult))),
                    ]
                    pre = lanes.rescale(wide, terms, pre_shift, pre_zp, pre_bits, True)
                    value = lanes.activate(scratch, table, None, pieces, table_shift, pre, 8)
                    T.buffer_store(factors, fp.cast(16, weight[part]), [T.Ramp(0, 1, count)])
                    if skipped:
                        T.buffer_store(factors, T.Broadcast(T.int16(0), skipped), [T.Ramp(0, 1, skipped)])
                    # int8 times int8: within int16.
                    products = factors[T.Ramp(0, 1, count)] * fp.cast(16, value)
                    T.buffer_store(sums, isa.add_pairs(sums[at], products), [at])

                with T.serial(whole) as n:
                    add(n * count, 0)
                if rest:
                    add(T.int32(width - count), count - rest)
                total = sums[0]
                for lane in range(1, words):
                    total = total + sums[lane]
                value = fp.rescale(fp.i64(total) * fp.const64(mult), shift, out_zp, bits)
                T.buffer_store(y, value, [vb, vi, vj])
    return kern.result


define("additive_scores", ["q", "k", "weight", "table"], infer, legalize)
