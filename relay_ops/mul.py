"""irnn.mul: Relax op and TIR lowering (formula: irnn_tvm/ops/mul.py)."""

from typing import Any

from . import fixed_point as fp
from .broadcast import infer_broadcast
from .elementwise import emit
from .registry import attr, define


def legalize(bb: Any, call: Any) -> Any:
    a_zp, b_zp, mult, shift = (attr(call, name) for name in ("a_zp", "b_zp", "mult", "shift"))
    out_zp, bits = attr(call, "out_zp"), attr(call, "out_bits")

    def body(a: Any, b: Any) -> Any:
        product = fp.i64(fp.i32(a) - a_zp) * fp.i64(fp.i32(b) - b_zp)
        return fp.rescale(product * fp.const64(mult), shift, out_zp, bits)

    return emit(bb, call, list(call.args), body, "mul")


define("mul", ["a", "b"], infer_broadcast, legalize)
