"""irnn.append: Relax op and TIR lowering (formula: irnn_tvm/ops/append.py)."""

from typing import Any

from tvm import relax

from . import fixed_point as fp
from .kernel import kernel
from .registry import define, dtype_bits, shape_of, tensor


def infer(call: Any) -> Any:
    memory, length = call.args[:2]
    return relax.TupleType([tensor(shape_of(memory), dtype_bits(memory)), tensor(shape_of(length), 32)])


def legalize(bb: Any, call: Any) -> Any:
    gv = bb.add_func(build(call), "append")
    return relax.call_tir(gv, list(call.args), list(call.ty.fields))


def build(call: Any) -> Any:
    """PrimFunc memory [B, M, D], length [B], x [B, D] -> memory' [B, M, D], length' [B]."""
    from tvm.tirx.script import builder as T

    batch, capacity, width = (int(d) for d in shape_of(call.args[0]))
    dtype = f"int{dtype_bits(call.args[0])}"
    with kernel("append", "copy", outputs=2) as k:
        memory = k.arg("memory", (batch, capacity, width), dtype)
        length = k.arg("length", (batch,), "int32")
        x = k.arg("x", (batch, width), dtype)
        out = k.arg("memory_out", (batch, capacity, width), dtype)
        after = k.arg("length_out", (batch,), "int32")

        def count(b: Any) -> Any:
            return T.max(T.min(length[b], T.int32(2 * capacity - 1)), T.int32(0))

        with T.grid(batch, capacity, width) as (b, m, d):
            with T.sblock("row"):
                vb, vm = T.axis.spatial(batch, b), T.axis.spatial(capacity, m)
                vd = T.axis.spatial(width, d)
                T.reads(memory[vb, vm, vd], length[vb], x[vb, vd])
                T.writes(out[vb, vm, vd])
                row = T.Select(count(vb) < capacity, count(vb), count(vb) - T.int32(capacity))
                T.buffer_store(out, T.Select(row == fp.i32(vm), x[vb, vd], memory[vb, vm, vd]), [vb, vm, vd])
        with T.serial(batch) as b:
            with T.sblock("count"):
                vb = T.axis.spatial(batch, b)
                T.reads(length[vb])
                T.writes(after[vb])
                full = count(vb) == T.int32(2 * capacity - 1)
                T.buffer_store(after, T.Select(full, T.int32(capacity), count(vb) + T.int32(1)), [vb])
    return k.result


define("append", ["memory", "length", "x"], infer, legalize)
