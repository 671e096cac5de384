"""Registration of the Relax `irnn.*` operators from Python: signature, purity, type rule and legalization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
from tvm import relax
from tvm.ir import GenericConst, Op, register_op_attr
from tvm.relax.transform.legalize_ops.common import register_legalize

from irnn_tvm.schedules.instruction_set import lowering_of

InferType = Callable[[Any], Any]
Legalize = Callable[[Any, Any], Any]


def define(name: str, tensors: list[str], infer: InferType, legalize: Legalize) -> None:
    """Creates the Relax op `irnn.<name>`.

    tensors: names of the tensor arguments; every other argument of the torch op of the same name is an attribute.
    infer: call -> result type; legalize: (block builder, call) -> expression over lower-level calls.
    """
    full = f"irnn.{name}"
    register_op_attr(full, "FInferType", lambda call, _ctx: infer(call))
    op = Op.get(full)
    op.set_num_inputs(len(tensors))
    for tensor in tensors:
        op.add_argument(tensor, "Tensor", "")
    register_op_attr(full, "FPurity", True)

    def legalize_as_chosen(bb: Any, call: Any) -> Any:
        with lowering_of(call):
            return legalize(bb, call)

    register_legalize(full, legalize_as_chosen)


def call(name: str, args: list[Any], attrs: dict[str, Any]) -> Any:
    """A Relax call of `irnn.<name>`."""
    node = tvm.ir.make_node("ir.DictAttrs", **attrs)
    return relax.Call(Op.get(f"irnn.{name}"), args, node, [])


def attr(call_node: Any, name: str) -> Any:
    """One attribute of an irnn call as a Python int, bool or list of ints."""
    value = call_node.attrs[name]
    if isinstance(value, int | bool):
        return int(value)
    return [int(v) for v in value]


def optional_arguments(
    call_node: Any, required: tuple[str, ...], optional: tuple[str, ...]
) -> dict[str, Any]:
    """Arguments of a call by name, those optional ones that are there among them, in the order of the op."""
    names = [*required, *(name for name in optional if attr(call_node, f"has_{name}"))]
    return dict(zip(names, call_node.args, strict=True))


def tensor(shape: Any, bits: int) -> Any:
    """Type of an integer tensor of `bits` bits."""
    return relax.TensorType(list(shape), f"int{bits}")


def shape_of(expr: Any) -> list[Any]:
    """Dimensions of a Relax tensor expression (int, IntImm or PrimExpr)."""
    return list(expr.ty.shape.values)


def dtype_bits(expr: Any) -> int:
    return int(str(expr.ty.dtype).removeprefix("int"))


def constant(expr: Any, bb: Any, what: str) -> Any:
    """NumPy value of a constant argument. Raises BuildError: weights must be known when a model is built."""
    from irnn_tvm.errors import BuildError

    while isinstance(expr, relax.Var):
        bound = bb.lookup_binding(expr)
        if bound is None:
            break
        expr = bound
    if not isinstance(expr, GenericConst):
        raise BuildError(f"{what} must be a constant of the exported program, but it is computed at run time")
    return expr.value.numpy()


def constant_of(expr: Any, values: Mapping[Any, Any]) -> Any | None:
    """The constant that an expression is, or a variable is bound to; None: there is none. values: of variables."""
    while isinstance(expr, relax.Var) and expr in values:
        expr = values[expr]
    return expr if isinstance(expr, GenericConst) else None
