"""irnn.pwl: Relax op and TIR lowering (formula: irnn_tvm/ops/pwl.py): a register of elements at a time where there are
vectors, else one after the other."""

from typing import Any

from tvm import relax, tirx
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .elementwise import product
from .kernel import kernel
from .lanes import Lanes
from .piece_tables import pack_table, table_shape
from .registry import attr, constant, define, dtype_bits, shape_of, tensor
from .table_lanes import table_lanes


def infer(call: Any) -> Any:
    return tensor(shape_of(call.args[0]), attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    x, table = call.args
    bits = attr(call, "out_bits")
    size = product(shape_of(x))
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([size])))
    m = size if isinstance(size, int | tirx.IntImm) else tirx.Var("m", "int64")
    lanes = None if bits > 16 or dtype_bits(x) > 16 else table_lanes(constant(table, bb, "irnn.pwl table"))
    if (
        lanes is None
        or lanes.isa is None
        or (isinstance(size, int | tirx.IntImm) and int(size) < lanes.count)
    ):
        func, packed = build(call, m), table
    else:
        values = pack_table(lanes.isa, constant(table, bb, "irnn.pwl table"))
        func, packed = build_lanes(call, m, lanes), relax.const(values, "int16")
    gv = bb.add_func(func, "pwl")
    y = bb.emit(relax.call_tir(gv, [flat, packed], relax.TensorType([size], f"int{bits}")))
    return relax.op.reshape(y, relax.ShapeExpr(shape_of(x)))


def build(call: Any, m: Any) -> Any:
    """PrimFunc x [m], table [3, P] -> y [m]."""
    pieces = int(shape_of(call.args[1])[1])
    with kernel("pwl", "pwl") as k:
        x = k.arg("x", (m,), f"int{dtype_bits(call.args[0])}")
        table = k.arg("table", (3, pieces), "int16")
        y = k.arg("y", (m,), f"int{attr(call, 'out_bits')}")
        _one_by_one(call, x, table, y, 0)
    return k.result


def build_lanes(call: Any, m: Any, lanes: Lanes) -> Any:
    """`build` with as many elements at a time as there are lanes; those that are left, one by one."""
    pieces, count, isa = int(shape_of(call.args[1])[1]), lanes.count, lanes.isa
    assert isa is not None
    bits = attr(call, "out_bits")
    whole = m // count
    with kernel("pwl", "pwl") as k:
        x = k.arg("x", (m,), f"int{dtype_bits(call.args[0])}")
        table = k.arg("table", table_shape(isa, pieces), "int16")
        y = k.arg("y", (m,), f"int{bits}")
        with T.serial(whole) as i:
            with T.sblock("lanes"):
                first = T.axis.spatial(whole, i) * count
                T.reads(x[first : first + count], table[0 : table.shape[0], 0 : table.shape[1]])
                T.writes(y[first : first + count])
                scratch = lanes.scratch()
                value = lanes.activate(
                    scratch, table, None, pieces, attr(call, "shift"), lanes.load(x, first), bits
                )
                lanes.store(y, value, first)
        if not isinstance(m, int | tirx.IntImm) or int(m) % count:
            _one_by_one(call, x, table, y, whole * count)
    return k.result


def _one_by_one(call: Any, x: Any, table: Any, y: Any, begin: Any) -> None:
    """The elements from one on. table: as it is or packed, whose pieces lie the same."""
    pieces, shift, bits = int(shape_of(call.args[1])[1]), attr(call, "shift"), attr(call, "out_bits")
    count = x.shape[0] - begin
    with T.serial(count) as i:
        with T.sblock("pwl"):
            vi = begin + T.axis.spatial(count, i)
            T.reads(x[vi], table[0:3, 0:pieces])
            T.writes(y[vi])
            scratch = T.sblock_alloc_buffer((2,), "int32")
            T.buffer_store(y, fp.pwl(scratch, table, None, pieces, shift, fp.i32(x[vi]), bits), [vi])


define("pwl", ["x", "table"], infer, legalize)
