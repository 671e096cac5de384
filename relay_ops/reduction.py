"""What operators over one axis share: the axis and the shape without it, and x as [outer, axis, inner]."""

from typing import Any

from tvm import relax, tirx

from .elementwise import product
from .registry import attr, shape_of


def axis_of(call: Any) -> int:
    """The `dim` attribute as a non-negative axis."""
    rank = len(shape_of(call.args[0]))
    return int(attr(call, "dim")) % rank


def without_axis(call: Any) -> list[Any]:
    """Shape of the first argument without axis `dim`."""
    shape, axis = shape_of(call.args[0]), axis_of(call)
    return [*shape[:axis], *shape[axis + 1 :]]


def fold_around(bb: Any, x: Any, axis: int) -> tuple[Any, list[Any]]:
    """x reshaped to [outer, axis, inner], and its three sizes."""
    shape = shape_of(x)
    sizes = [product(shape[:axis]), shape[axis], product(shape[axis + 1 :])]
    return bb.emit(relax.op.reshape(x, relax.ShapeExpr(sizes))), sizes


def size_var(size: Any, name: str) -> Any:
    """A static size, or a variable for one that is known at run time."""
    return int(size) if isinstance(size, int | tirx.IntImm) else tirx.Var(name, "int64")
