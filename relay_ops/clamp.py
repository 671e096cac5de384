"""irnn.clamp: Relax op and TIR lowering (formula: irnn_tvm/ops/clamp.py)."""

from typing import Any

from tvm import tirx

from .elementwise import emit
from .registry import attr, define, dtype_bits, shape_of, tensor


def infer(call: Any) -> Any:
    return tensor(shape_of(call.args[0]), dtype_bits(call.args[0]))


def legalize(bb: Any, call: Any) -> Any:
    lo, hi = attr(call, "lo"), attr(call, "hi")
    dtype = f"int{dtype_bits(call.args[0])}"

    def body(x: Any) -> Any:
        return tirx.max(tirx.min(x, tirx.const(hi, dtype)), tirx.const(lo, dtype))

    return emit(bb, call, [call.args[0]], body, "clamp")


define("clamp", ["x"], infer, legalize)
