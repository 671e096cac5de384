"""What layer_norm and mad_norm share: the type rule and the kernels of one row after the other, a register of elements
at a time where there are vectors."""

from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from irnn_tvm.ops.normalize import UNIT_BITS, largest_unit
from irnn_tvm.schedules.instruction_set import current
from irnn_tvm.schedules.vector_set import VectorSet

from . import fixed_point as fp
from . import normalize_lanes
from .elementwise import product
from .kernel import kernel
from .lanes import Lanes
from .normalize import CELLS, affine, row_statistics, unit
from .registry import attr, constant, dtype_bits, shape_of, tensor
from .tiles import magnitude

TENSORS = ["x", "gamma", "beta"]


def infer(call: Any) -> Any:
    return tensor(shape_of(call.args[0]), attr(call, "out_bits"))


def legalize_rows(bb: Any, call: Any, kind: str) -> Any:
    """kind: "layer" or "mad". All axes but the last are rows."""
    x, gamma, beta = call.args
    n = int(shape_of(x)[-1])
    size = product(shape_of(x)[:-1])
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([size, n])))
    m = size if isinstance(size, int | tirx.IntImm) else tirx.Var("m", "int64")
    bits = attr(call, "out_bits")
    arrays = [constant(v, bb, f"irnn.{kind}_norm {name}") for v, name in ((gamma, "gamma"), (beta, "beta"))]
    func = build(call, kind, m, n, dtype_bits(x), _lanes(call, kind, n, *arrays))
    gv = bb.add_func(func, f"{kind}_norm")
    y = bb.emit(relax.call_tir(gv, [flat, gamma, beta], relax.TensorType([size, n], f"int{bits}")))
    return relax.op.reshape(y, relax.ShapeExpr(shape_of(x)))


def _lanes(call: Any, kind: str, n: int, gamma: np.ndarray, beta: np.ndarray) -> Lanes | None:
    """Lanes of a register of int16; None where there are no vectors, rows are shorter, or results may leave int32."""
    isa = current()
    if not isinstance(isa, VectorSet) or n < isa.halves:
        return None
    largest = largest_unit(kind, n) * magnitude(gamma) + (magnitude(beta) << UNIT_BITS)
    fits = fp.within_int32(largest, attr(call, "shift"), attr(call, "out_zp"))
    return Lanes(isa.halves, isa) if fits else None


def build(call: Any, kind: str, m: Any, n: int, in_bits: int, lanes: Lanes | None) -> Any:
    """PrimFunc x [m, n], gamma [n], beta [n] -> y [m, n]."""
    bits, eps = attr(call, "out_bits"), attr(call, "eps")
    whole = 0 if lanes is None else n // lanes.count * lanes.count
    with kernel(f"{kind}_norm", "norm") as k:
        x = k.arg("x", (m, n), f"int{in_bits}")
        gamma = k.arg("gamma", (n,), "int32")
        beta = k.arg("beta", (n,), "int32")
        y = k.arg("y", (m, n), f"int{bits}")
        with T.serial(m) as i:
            with T.sblock("row"):
                vi = T.axis.spatial(m, i)
                T.reads(x[vi, 0:n], gamma[0:n], beta[0:n])
                T.writes(y[vi, 0:n])
                if lanes is None or lanes.isa is None:
                    cells = row_statistics(kind, "row", n, lambda c: (x, (vi, c)), eps)
                else:
                    cells = normalize_lanes.row_statistics(lanes.isa, kind, "row", n, (x, (vi,)), eps)
                    _in_lanes(call, lanes, cells, x, gamma, beta, y, vi)
                if whole < n:
                    _one_by_one(call, cells, x, gamma, beta, y, vi, whole)
    return k.result


def _in_lanes(call: Any, lanes: Lanes, cells: Any, x: Any, gamma: Any, beta: Any, y: Any, row: Any) -> None:
    """Elements of a row, but for those that fill no register."""
    shift, out_zp, bits = (attr(call, name) for name in ("shift", "out_zp", "out_bits"))
    n, count = int(x.shape[1]), lanes.count
    with T.serial(n // count) as j:
        with T.sblock("lanes"):
            first = T.axis.spatial(n // count, j) * count
            end = first + count
            T.reads(x[row, first:end], gamma[first:end], beta[first:end], cells[0:CELLS])
            T.writes(y[row, first:end])
            scratch, wide = lanes.local(1, "int32"), lanes.sums()
            value = fp.i32(lanes.load(x, row, first))
            units = normalize_lanes.units(lanes, scratch, 0, cells, value, n)
            bias = normalize_lanes.bias_term(lanes, lanes.load(beta, first))
            terms = [(units, lanes.load(gamma, first)), bias]
            lanes.store(y, lanes.rescale(wide, terms, shift, out_zp, bits, True), row, first)


def _one_by_one(call: Any, cells: Any, x: Any, gamma: Any, beta: Any, y: Any, row: Any, begin: int) -> None:
    """The elements of a row from one on."""
    shift, out_zp, bits = (attr(call, name) for name in ("shift", "out_zp", "out_bits"))
    n = int(x.shape[1])
    with T.serial(n - begin) as j:
        with T.sblock("element"):
            vj = begin + T.axis.spatial(n - begin, j)
            T.reads(x[row, vj], gamma[vj], beta[vj], cells[0:CELLS])
            T.writes(y[row, vj])
            total = affine(unit(cells, fp.i32(x[row, vj]), n), gamma[vj], beta[vj])
            T.buffer_store(y, fp.rescale(total, shift, out_zp, bits), [row, vj])
