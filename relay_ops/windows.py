"""What operators over windows of the last axis share: the type rule and x as [rows, steps]."""

from typing import Any

from tvm import relax, tirx
from tvm.sym import Analyzer

from .elementwise import product
from .reduction import size_var
from .registry import attr, shape_of, tensor


def window_type(call: Any, dilation: int, bits: int) -> Any:
    """x [B, C, T] -> [B, C, T'] as torch.nn's pools, without ceil_mode."""
    batch, channels, length = shape_of(call.args[0])
    padded = length + 2 * attr(call, "padding") - (dilation * (attr(call, "kernel") - 1) + 1)
    stride = attr(call, "stride")
    steps = tirx.floordiv(padded, stride) + 1 if stride > 1 else padded + 1
    if not isinstance(steps, int):  # "same" padding then shows as the input's own length
        steps = Analyzer().simplify(steps)
    return tensor([batch, channels, steps], bits)


def call_rows(bb: Any, call: Any, build: Any, name: str) -> Any:
    """Calls build(rows, t_in, t_out) on x as [rows, t_in]; all three may be run-time sizes."""
    x, shape = call.args[0], shape_of(call)
    rows, t_in, t_out = product(shape_of(x)[:-1]), shape_of(x)[-1], shape[-1]
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([rows, t_in])))
    gv = bb.add_func(build(size_var(rows, "rows"), size_var(t_in, "t_in"), size_var(t_out, "t_out")), name)
    y = bb.emit(relax.call_tir(gv, [flat], relax.TensorType([rows, t_out], call.ty.dtype)))
    return relax.op.reshape(y, relax.ShapeExpr(shape))
