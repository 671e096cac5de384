"""irnn.add: Relax op and TIR lowering (formula: irnn_tvm/ops/add.py)."""

from typing import Any

from . import fixed_point as fp
from .broadcast import infer_broadcast
from .elementwise import emit
from .registry import attr, define


def legalize(bb: Any, call: Any) -> Any:
    a_zp, b_zp = attr(call, "a_zp"), attr(call, "b_zp")
    a_mult, b_mult, shift = attr(call, "a_mult"), attr(call, "b_mult"), attr(call, "shift")
    out_zp, bits = attr(call, "out_zp"), attr(call, "out_bits")

    def body(a: Any, b: Any) -> Any:
        total = fp.i64(fp.i32(a) - a_zp) * fp.const64(a_mult) + fp.i64(fp.i32(b) - b_zp) * fp.const64(b_mult)
        return fp.rescale(total, shift, out_zp, bits)

    return emit(bb, call, list(call.args), body, "add")


define("add", ["a", "b"], infer_broadcast, legalize)
