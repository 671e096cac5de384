"""Conversion of single exported nodes to Relax, for what TVM's importer does not know or would make slow.

Every irnn op becomes the Relax op of the same name: tensors as arguments, all other values as attributes. An optional
tensor leaves an attribute has_<name> and is left out of the arguments when it is None. Views that do not move data in
memory become `reshape`, which costs nothing in a built library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.frontend.exporting import STATE_ARGS


def converters() -> dict[str, Callable[[Any, Any], Any]]:
    """custom_convert_map of relax.frontend.torch.from_exported_program."""
    import torch

    import irnn_tvm.ops  # noqa: F401  registers torch.ops.irnn
    from irnn_tvm.frontend.movement import movement_converters
    from irnn_tvm.relay_ops.register import OPERATORS

    table: dict[str, Callable[[Any, Any], Any]] = {}
    for name in OPERATORS:
        schema = getattr(torch.ops.irnn, name).default._schema
        table[f"irnn.{name}.default"] = table[f"{name}.default"] = _irnn(name, schema)
    table["permute.default"] = _permute
    table["transpose.int"] = _transpose
    table["t.default"] = _transpose
    table["select.int"] = _select
    table["slice.Tensor"] = _slice
    for op in ("view.default", "reshape.default", "_unsafe_view.default", "unsqueeze.default", "squeeze.dim",
               "squeeze.dims", "squeeze.default", "flatten.using_ints", "unflatten.int"):  # fmt: skip
        table[op] = reshape
    for op in ("full.default", "new_full.default", "zeros.default", "new_zeros.default"):
        table[op] = _full
    for op in ("clone.default", "alias.default", "contiguous.default", "detach.default", "detach_.default",
               "lift_fresh_copy.default", "_to_copy.default"):  # fmt: skip
        table[op] = _identity
    table["cat.default"] = _cat
    return table | movement_converters()


def emit(importer: Any, expr: Any) -> Any:
    return importer.block_builder.emit(expr)


def _irnn(name: str, schema: Any) -> Callable[[Any, Any], Any]:
    def convert(node: Any, importer: Any) -> Any:
        import torch

        from irnn_tvm.relay_ops.registry import call

        values = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
        tensors: list[Any] = []
        attrs: dict[str, Any] = {}
        for arg in schema.arguments:
            value = values.get(arg.name, arg.default_value)
            if str(arg.type).startswith("Optional[Tensor]"):
                attrs[f"has_{arg.name}"] = int(value is not None)
            if value is None:
                continue  # an optional tensor that is not there
            if isinstance(value, torch.fx.Node):
                tensors.append(importer.env[value])
            elif isinstance(value, list | tuple) and value and isinstance(value[0], torch.fx.Node):
                tensors.extend(importer.env[v] for v in value)
            else:
                attrs[arg.name] = list(value) if isinstance(value, list | tuple) else int(value)
        if f"irnn.{name}" in STATE_ARGS:
            tensors[0] = _of_width(tensors[0], tensors[len(STATE_ARGS[f"irnn.{name}"]) + 1], importer)
        return emit(importer, call(name, tensors, attrs))

    return convert


def _of_width(x: Any, weights: Any, importer: Any) -> Any:
    """x [T, B, X] whose X is an expression of T, as wide as the weights; which lengths that fits is checked later."""
    from tvm import relax, tirx

    shape = list(x.ty.shape.values)
    if isinstance(shape[2], int | tirx.IntImm):
        return x
    return emit(importer, relax.op.reshape(x, relax.ShapeExpr([*shape[:2], weights.ty.shape.values[1]])))


def dims_of(node: Any, importer: Any, value: Any = None) -> list[Any]:
    """The shape of the node's result, or of one of its results; symbolic sizes as the importer's variables."""
    dims: list[Any] = []
    for d in (node.meta["val"] if value is None else value).shape:
        if isinstance(d, int):
            dims.append(d)
        else:
            dims.append(_expression(d, importer))
    return dims


def _expression(size: Any, importer: Any) -> Any:
    """A symbolic size as a TIR expression of the importer's variables."""
    from tvm import tirx

    return _symbol(size.node.expr, importer, tirx)


def _symbol(expr: Any, importer: Any, tirx: Any) -> Any:
    """sympy expression over input sizes -> TIR expression."""
    import sympy

    if isinstance(expr, sympy.Integer):
        return int(expr)
    if isinstance(expr, sympy.Symbol):
        for var in _symbols(importer):
            if var.name == str(expr):
                return var
        raise UnsupportedModuleError(f"size {expr} does not come from an input's shape")
    args = [_symbol(a, importer, tirx) for a in expr.args]
    if isinstance(expr, sympy.Add):
        return sum(args[1:], args[0])
    if isinstance(expr, sympy.Mul):
        out = args[0]
        for a in args[1:]:
            out = out * a
        return out
    if type(expr).__name__ in ("FloorDiv", "CleanDiv"):
        return tirx.floordiv(args[0], args[1])
    raise UnsupportedModuleError(f"size expression {expr} is not supported; supported: + * // of input sizes")


def _symbols(importer: Any) -> list[Any]:
    """Size variables of the inputs, in the order in which they appear."""
    from tvm import relax, tirx

    found: list[Any] = []
    for value in importer.env.values():
        if not isinstance(getattr(value, "ty", None), relax.TensorType) or value.ty.shape is None:
            continue
        for dim in value.ty.shape.values:
            if isinstance(dim, tirx.Var) and not any(dim.same_as(f) for f in found):
                found.append(dim)
    return found


def reshape(node: Any, importer: Any) -> Any:
    from tvm import relax

    x = importer.env[node.args[0]]
    dims = dims_of(node, importer)
    if str(node.target).endswith((".view.default", ".reshape.default")):
        # What the model says is plainer than what torch found: 8, not 4 * (T // (T // 2)).
        said = list(node.args[1])
        dims = [s if isinstance(s, int) and s >= 0 else d for s, d in zip(said, dims, strict=True)]
    return emit(importer, relax.op.reshape(x, relax.ShapeExpr(dims)))


def move(node: Any, importer: Any, axes: list[int]) -> Any:
    """Permutation; a reshape when only axes of size 1 change place."""
    from tvm import relax

    x = importer.env[node.args[0]]
    shape = list(x.ty.shape.values)
    kept = [a for a in axes if not (isinstance(node.args[0].meta["val"].shape[a], int)
                                    and node.args[0].meta["val"].shape[a] == 1)]  # fmt: skip
    if kept == sorted(kept):
        return emit(importer, relax.op.reshape(x, relax.ShapeExpr([shape[a] for a in axes])))
    return emit(importer, relax.op.permute_dims(x, axes))


def _permute(node: Any, importer: Any) -> Any:
    rank = len(node.args[0].meta["val"].shape)
    return move(node, importer, [a % rank for a in node.args[1]])


def _transpose(node: Any, importer: Any) -> Any:
    rank = len(node.args[0].meta["val"].shape)
    axes = list(range(rank))
    a, b = (node.args[1] % rank, node.args[2] % rank) if len(node.args) > 2 else (0, rank - 1)
    axes[a], axes[b] = axes[b], axes[a]
    return move(node, importer, axes)


def _select(node: Any, importer: Any) -> Any:
    """x[..., index, ...] as a slice of length 1 and a reshape; negative indices count from the run-time end."""
    from tvm import relax

    x = importer.env[node.args[0]]
    shape = list(x.ty.shape.values)
    axis = node.args[1] % len(shape)
    index = importer.env.get(node.args[2], node.args[2])
    start = shape[axis] + index if isinstance(index, int) and index < 0 else index
    if isinstance(node.args[0].meta["val"].shape[axis], int) and node.args[0].meta["val"].shape[axis] == 1:
        part = x
    else:
        part = emit(importer, relax.op.strided_slice(x, [axis], [start], [start + 1], assume_inbound=True))
    dims = shape[:axis] + shape[axis + 1 :]
    return emit(importer, relax.op.reshape(part, relax.ShapeExpr(dims)))


def _slice(node: Any, importer: Any) -> Any:
    """x[..., start:end:step, ...]; the result's size is the exported one, so open ends need no minimum."""
    from tvm import relax

    x = importer.env[node.args[0]]
    shape, dims = list(x.ty.shape.values), dims_of(node, importer)
    axis = (node.args[1] if len(node.args) > 1 else 0) % len(shape)
    first = (node.args[2] if len(node.args) > 2 else 0) or 0
    step = node.args[4] if len(node.args) > 4 else 1
    start = importer.env.get(first, first)
    if isinstance(start, int) and start < 0:
        # Before the first element counts as the first; which it is holds for all sizes that the export's guards allow.
        size = node.args[0].meta["val"].shape[axis]
        example = size if isinstance(size, int) else size.node.hint
        start = 0 if example + start < 0 else shape[axis] + start
    whole = isinstance(start, int) and start == 0 and step == 1
    if whole and str(node.args[0].meta["val"].shape[axis]) == str(node.meta["val"].shape[axis]):
        return x
    end = start + (dims[axis] - 1) * step + 1
    return emit(importer, relax.op.strided_slice(x, [axis], [start], [end], [step], assume_inbound=True))


def _full(node: Any, importer: Any) -> Any:
    """A tensor of one value: a constant (initial states), or of a run-time size (zeros beside a sequence)."""
    from tvm import relax

    value = node.meta["val"]
    target = str(node.target)
    position = 2 if "new_full" in target else 1
    fill = 0 if "zeros" in target else int(node.args[position])
    dtype = str(value.dtype).removeprefix("torch.")
    shape = dims_of(node, importer)
    if all(isinstance(d, int) for d in shape):
        return relax.const(np.full(shape, fill, dtype), dtype)
    one = relax.const(np.full([1] * len(shape), fill, dtype), dtype)
    return emit(importer, relax.op.broadcast_to(one, relax.ShapeExpr(shape)))


def _identity(node: Any, importer: Any) -> Any:
    source, result = node.args[0].meta["val"], node.meta["val"]
    if source.dtype != result.dtype:
        raise UnsupportedModuleError(
            f"{node.name}: conversion {source.dtype} -> {result.dtype} inside the graph"
        )
    return importer.env[node.args[0]]


def _cat(node: Any, importer: Any) -> Any:
    from irnn_tvm.relay_ops.registry import call

    dim = node.args[1] if len(node.args) > 1 else 0
    return emit(importer, call("concat", [importer.env[n] for n in node.args[0]], {"dim": dim}))
