"""Shared lowering of elementwise ops: one flat loop when shapes agree, broadcasting loops otherwise."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

from tvm import relax, te, tirx

from .kernel import FAMILY_ATTR, chosen_attrs
from .registry import shape_of


def _same(a: list[Any], b: list[Any]) -> bool:
    from tvm.sym import Analyzer

    analyzer = Analyzer()
    return len(a) == len(b) and all(analyzer.can_prove_equal(x, y) for x, y in zip(a, b, strict=True))


def product(dims: list[Any]) -> Any:
    return reduce(operator.mul, dims, 1)


def emit(bb: Any, call: Any, inputs: list[Any], body: Callable[..., Any], name: str) -> Any:
    """Legalizes `call` to y[i] = body(input values...) with torch's broadcasting."""
    out_shape = list(call.ty.shape.values)
    flat = all(_same(shape_of(x), out_shape) for x in inputs)

    def compute(*tensors: Any) -> Any:
        shape = tensors[0].shape if flat else out_shape

        def element(*index: Any) -> Any:
            values = []
            for t in tensors:
                rank = len(t.shape)
                tail = index[len(index) - rank :]
                at = [
                    tirx.const(0, "int64") if _is_one(d) and not _is_one(o) else i
                    for d, i, o in zip(t.shape, tail, shape[len(shape) - rank :], strict=True)
                ]
                values.append(t(*at))
            return body(*values)

        return te.compute(shape, element, name=name)

    attrs = {FAMILY_ATTR: "elementwise", **chosen_attrs()}
    if not flat:
        return bb.call_te(compute, *inputs, primfunc_name_hint=name, primfunc_attrs=attrs)
    size = relax.ShapeExpr([product(out_shape)])
    rows = [bb.emit(relax.op.reshape(x, size)) for x in inputs]
    result = bb.call_te(compute, *rows, primfunc_name_hint=name, primfunc_attrs=attrs)
    return relax.op.reshape(bb.emit(result), relax.ShapeExpr(out_shape))


def _is_one(dim: Any) -> bool:
    return isinstance(dim, int | tirx.IntImm) and int(dim) == 1
