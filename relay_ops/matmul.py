"""irnn.matmul: Relax op and TIR lowering (formula: irnn_tvm/ops/matmul.py).

Up to four columns share every load of the left operand where their number is known. Sums that int32 provably holds
are kept in it, others in int64 until they saturate.
"""

from typing import Any

from tvm import relax, tirx

from . import fixed_point as fp
from .attention import size
from .elementwise import product
from .kernel import MACS_ATTR, kernel
from .matvec import BLOCK_PREFIX
from .registry import attr, define, dtype_bits, shape_of, tensor


def infer(call: Any) -> Any:
    a, b = shape_of(call.args[0]), shape_of(call.args[1])
    return tensor([*a[:-1], b[-2] if attr(call, "transpose_b") else b[-1]], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    a, b = call.args
    shape_a, shape_b = shape_of(a), shape_of(b)
    batch = product(shape_a[:-2])
    left = bb.emit(relax.op.reshape(a, relax.ShapeExpr([batch, *shape_a[-2:]])))
    right = bb.emit(relax.op.reshape(b, relax.ShapeExpr([batch, *shape_b[-2:]])))
    columns = shape_of(call)[-1]
    gv = bb.add_func(build(call, batch, shape_a[-2], shape_a[-1], columns), "matmul")
    kind = relax.TensorType([batch, shape_a[-2], columns], call.ty.dtype)
    y = bb.emit(relax.call_tir(gv, [left, right], kind))
    return relax.op.reshape(y, relax.ShapeExpr(shape_of(call)))


def holds_int32(call: Any, depth: Any) -> bool:
    """True when no sum of `depth` products can leave int32."""
    if not isinstance(depth, int | tirx.IntImm):
        return False
    total = int(depth)
    for arg, zp in zip(call.args, (attr(call, "a_zp"), attr(call, "b_zp")), strict=True):
        lo, hi = fp.limits(dtype_bits(arg))
        total *= max(hi - zp, zp - lo)
    return total <= fp.limits(32)[1]


def build(call: Any, batch: Any, rows: Any, depth: Any, columns: Any) -> Any:
    """PrimFunc a [G, M, K], b [G, K, N] or [G, N, K] -> y [G, M, N]."""
    from tvm.tirx.script import builder as T

    a_zp, b_zp, mult, shift, out_zp, bits = (
        attr(call, n) for n in ("a_zp", "b_zp", "mult", "shift", "out_zp", "out_bits")
    )
    transposed = bool(attr(call, "transpose_b"))
    narrow = holds_int32(call, depth)
    g, m, k, n = (size(d, name) for d, name in ((batch, "g"), (rows, "m"), (depth, "k"), (columns, "n")))
    width = next(w for w in (4, 3, 2, 1) if n % w == 0) if isinstance(n, int) else 1
    blocks = n // width if isinstance(n, int) else n
    macs = depth * columns if isinstance(depth, int) and isinstance(n, int) else 0
    acc_type = "int32" if narrow else "int64"
    with kernel("matmul", "matmul", {MACS_ATTR: int(macs)}) as kern:
        a = kern.arg("a", (g, m, k), f"int{dtype_bits(call.args[0])}")
        b = kern.arg("b", (g, n, k) if transposed else (g, k, n), f"int{dtype_bits(call.args[1])}")
        y = kern.arg("y", (g, m, n), f"int{bits}")
        with T.grid(g, m, blocks) as (i, j, c):
            with T.sblock("unit"):
                vg, vm = T.axis.spatial(g, i), T.axis.spatial(m, j)
                vc = T.axis.spatial(blocks, c)
                first = vc * width
                cut = b[vg, first : first + width, 0:k] if transposed else b[vg, 0:k, first : first + width]
                T.reads(a[vg, vm, 0:k], cut)
                T.writes(y[vg, vm, first : first + width])
                acc = T.sblock_alloc_buffer((width,), acc_type)
                with T.grid(width, k) as (r, d):
                    with T.sblock(f"{BLOCK_PREFIX}_matmul"):
                        vr, vd = T.axis.spatial(width, r), T.axis.reduce(k, d)
                        at = (vg, first + vr, vd) if transposed else (vg, vd, first + vr)
                        T.reads(a[vg, vm, vd], b[at])
                        T.writes(acc[vr])
                        with T.init():
                            T.buffer_store(acc, T.IntImm(acc_type, 0), [vr])
                        left, right = fp.i32(a[vg, vm, vd]) - T.int32(a_zp), fp.i32(b[at]) - T.int32(b_zp)
                        term = left * right if narrow else fp.i64(left) * fp.i64(right)
                        T.buffer_store(acc, acc[vr] + term, [vr])
                with T.sblock("store"):
                    T.reads(acc[0:width])
                    T.writes(y[vg, vm, first : first + width])
                    lo, hi = (T.int64(v) for v in fp.limits(32))
                    for r in range(width):
                        total = fp.i64(acc[r]) if narrow else T.max(T.min(acc[r], hi), lo)
                        value = fp.rescale(total * fp.const64(mult), shift, out_zp, bits)
                        T.buffer_store(y, value, [vg, vm, first + r])
    return kern.result


define("matmul", ["a", "b"], infer, legalize)
