"""irnn.requantize: Relax op and TIR lowering (formula: irnn_tvm/ops/requantize.py)."""

from typing import Any

from . import fixed_point as fp
from .elementwise import emit
from .registry import attr, define, shape_of, tensor


def infer(call: Any) -> Any:
    return tensor(shape_of(call.args[0]), attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    in_zp, mult, shift = attr(call, "in_zp"), attr(call, "mult"), attr(call, "shift")
    out_zp, bits = attr(call, "out_zp"), attr(call, "out_bits")

    def body(x: Any) -> Any:
        return fp.rescale((fp.i64(x) - in_zp) * fp.const64(mult), shift, out_zp, bits)

    return emit(bb, call, [call.args[0]], body, "requantize")


define("requantize", ["x"], infer, legalize)
