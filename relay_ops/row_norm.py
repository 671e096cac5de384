"""What layer_norm and mad_norm share: the type rule and the kernel of one row after the other."""

from typing import Any

from tvm import relax, tirx

from . import fixed_point as fp
from .elementwise import product
from .kernel import kernel
from .normalize import CELLS, affine, row_statistics, unit
from .registry import attr, dtype_bits, shape_of, tensor

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
    gv = bb.add_func(build(call, kind, m, n, dtype_bits(x)), f"{kind}_norm")
    y = bb.emit(relax.call_tir(gv, [flat, gamma, beta], relax.TensorType([size, n], f"int{bits}")))
    return relax.op.reshape(y, relax.ShapeExpr(shape_of(x)))


def build(call: Any, kind: str, m: Any, n: int, in_bits: int) -> Any:
    """PrimFunc x [m, n], gamma [n], beta [n] -> y [m, n]."""
    from tvm.tirx.script import builder as T

    shift, out_zp, bits = (attr(call, name) for name in ("shift", "out_zp", "out_bits"))
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
                cells = row_statistics(kind, "row", n, lambda c: (x, (vi, c)), attr(call, "eps"))
                with T.serial(n) as j:
                    with T.sblock("element"):
                        vj = T.axis.spatial(n, j)
                        T.reads(x[vi, vj], gamma[vj], beta[vj], cells[0:CELLS])
                        T.writes(y[vi, vj])
                        total = affine(unit(cells, fp.i32(x[vi, vj]), n), gamma[vj], beta[vj])
                        T.buffer_store(y, fp.rescale(total, shift, out_zp, bits), [vi, vj])
    return k.result
