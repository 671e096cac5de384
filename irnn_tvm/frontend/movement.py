"""Conversion of the many names of data movement: all of them become slices, permutations, reshapes and copies.

Sizes come from the shapes that the export knows of every result, so that parts of a run-time size are right too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from irnn_tvm.frontend.converters import dims_of, emit, move, reshape

Converter = Callable[[Any, Any], Any]


def movement_converters() -> dict[str, Converter]:
    """Names of exported operations -> their conversion."""
    table: dict[str, Converter] = {}
    for name in ("movedim.int", "movedim.intlist", "moveaxis.int", "moveaxis.intlist"):
        table[name] = _move_axes
    for name in ("swapaxes.default", "swapdims.default", "mT.default", "numpy_T.default"):
        table[name] = _swap_axes
    for name in ("view_as.default", "reshape_as.default", "ravel.default"):
        table[name] = reshape
    for name in ("expand_as.default", "broadcast_to.default"):
        table[name] = _expand
    for name in ("tensor_split.sections", "tensor_split.indices", "chunk.default", "split.Tensor", "split.sizes",
                 "split_with_sizes.default"):  # fmt: skip
        table[name] = _parts
    table["unbind.int"] = _unbind
    table["narrow.default"] = _narrow
    return table


def _argument(node: Any, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _rank(node: Any) -> int:
    return len(node.args[0].meta["val"].shape)


def _move_axes(node: Any, importer: Any) -> Any:
    rank = _rank(node)
    source, destination = (
        [a % rank for a in ([axes] if isinstance(axes, int) else axes)]
        for axes in (_argument(node, 1, "source", None), _argument(node, 2, "destination", None))
    )
    rest = iter(a for a in range(rank) if a not in source)
    moved = dict(zip(destination, source, strict=True))
    return move(node, importer, [moved[a] if a in moved else next(rest) for a in range(rank)])


def _swap_axes(node: Any, importer: Any) -> Any:
    rank = _rank(node)
    axes = list(range(rank))
    if "numpy_T" in str(node.target):
        return move(node, importer, axes[::-1])
    a, b = (-1, -2) if "mT" in str(node.target) else (node.args[1], node.args[2])
    axes[a], axes[b] = axes[b], axes[a]
    return move(node, importer, axes)


def _expand(node: Any, importer: Any) -> Any:
    from tvm import relax

    shape = relax.ShapeExpr(dims_of(node, importer))
    return emit(importer, relax.op.broadcast_to(importer.env[node.args[0]], shape))


def _read(node: Any) -> set[Any]:
    """Which of a tuple's elements something reads: the others, which may be empty, are not made."""
    return {user.args[1] for user in node.users if user.users}


def _parts(node: Any, importer: Any) -> list[Any]:
    """chunk, split and tensor_split: one slice after the other, of the sizes that the results have; None for parts that
    nothing reads."""
    from tvm import relax

    axis = _argument(node, 2, "dim", 0) % _rank(node)
    x = importer.env[node.args[0]]
    parts: list[Any] = []
    start: Any = 0
    for index, value in enumerate(node.meta["val"]):
        end = start + dims_of(node, importer, value)[axis]
        part = relax.op.strided_slice(x, [axis], [start], [end], assume_inbound=True)
        parts.append(emit(importer, part) if index in _read(node) else None)
        start = end
    return parts


def _unbind(node: Any, importer: Any) -> list[Any]:
    from tvm import relax

    axis = _argument(node, 1, "dim", 0) % _rank(node)
    x = importer.env[node.args[0]]
    parts: list[Any] = []
    for index, value in enumerate(node.meta["val"]):
        if index not in _read(node):
            parts.append(None)
            continue
        part = emit(importer, relax.op.strided_slice(x, [axis], [index], [index + 1], assume_inbound=True))
        parts.append(emit(importer, relax.op.reshape(part, relax.ShapeExpr(dims_of(node, importer, value)))))
    return parts


def _narrow(node: Any, importer: Any) -> Any:
    from tvm import relax

    axis = node.args[1] % _rank(node)
    x, start = importer.env[node.args[0]], importer.env.get(node.args[2], node.args[2])
    if isinstance(start, int) and start < 0:
        start = x.ty.shape.values[axis] + start
    end = start + dims_of(node, importer)[axis]
    return emit(importer, relax.op.strided_slice(x, [axis], [start], [end], assume_inbound=True))
