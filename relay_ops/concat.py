"""irnn.concat: Relax op and TIR lowering (a copy; irnn_tvm/ops/concat.py)."""

from typing import Any

from tvm import relax, te, tirx

from .kernel import FAMILY_ATTR, chosen_attrs
from .registry import attr, define, dtype_bits, shape_of, tensor


def _axis(call: Any) -> int:
    dim, rank = attr(call, "dim"), len(shape_of(call.args[0]))
    return dim + rank if dim < 0 else dim


def infer(call: Any) -> Any:
    shape, axis = shape_of(call.args[0]), _axis(call)
    total = shape[axis]
    for other in call.args[1:]:
        total = total + shape_of(other)[axis]
    shape[axis] = total
    return tensor(shape, dtype_bits(call.args[0]))


def legalize(bb: Any, call: Any) -> Any:
    """Folds all axes before `dim` to rows and all after it into `dim`: [rows, width_i] -> [rows, sum of widths]."""
    from .elementwise import product

    axis = _axis(call)
    shapes = [shape_of(x) for x in call.args]
    rows = product(shapes[0][:axis])
    flat = [
        bb.emit(relax.op.reshape(x, relax.ShapeExpr([rows, product(s[axis:])])))
        for x, s in zip(call.args, shapes, strict=True)
    ]

    def compute(*tensors: Any) -> Any:
        widths = [t.shape[1] for t in tensors]
        total = widths[0]
        for w in widths[1:]:
            total = total + w

        def element(r: Any, i: Any) -> Any:
            value = tensors[-1](r, i - (total - widths[-1]))
            start = total - widths[-1]
            for t, w in zip(reversed(tensors[:-1]), reversed(widths[:-1]), strict=True):
                start = start - w
                value = tirx.if_then_else(i < start + w, t(r, i - start), value)
            return value

        return te.compute((tensors[0].shape[0], total), element, name="concat")

    result = bb.call_te(
        compute, *flat, primfunc_name_hint="concat", primfunc_attrs={FAMILY_ATTR: "copy", **chosen_attrs()}
    )
    return relax.op.reshape(bb.emit(result), relax.ShapeExpr(list(call.ty.shape.values)))


define("concat", ["tensors"], infer, legalize)
