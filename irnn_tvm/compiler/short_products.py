"""Kernels whose loops over the depth of a product end after one round, for measuring what the rest of them takes
(irnn_tvm/profiling/twin.py). They compute nothing of use; no build of a library makes them.

Only how often such a loop runs is changed, and to a number that the code generator cannot know, so that everything
around it stays the code that ships: with a constant it would unroll, hoist and fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from irnn_tvm.compiler.statements import nodes

# Families of kernels with loops that are found: `recurrent_step` and `matvec`, and `matmul` where it prepares inputs.
FAMILIES = ("recurrent_step", "matvec", "matmul")
_SHORT: ContextVar[bool] = ContextVar("short_products", default=False)


@contextmanager
def short_products() -> Iterator[None]:
    """Every kernel that is made inside has short products."""
    token = _SHORT.set(True)
    try:
        yield
    finally:
        _SHORT.reset(token)


def shortened(mod: Any, family: str) -> Any:
    """A lowered kernel (lower_kernel.py), with short products inside `short_products` only."""
    if not _SHORT.get() or family not in FAMILIES:
        return mod
    import tvm

    # The body holds the declarations of the parameters' buffers, too.
    return tvm.IRModule(
        {
            variable.name_hint: func.with_body(_rewritten(func.body))
            for variable, func in mod.functions.items()
        }
    )


def _rewritten(stmt: Any) -> Any:
    """The statement with its product loops shortened."""
    from tvm import tirx

    if isinstance(stmt, tirx.SeqStmt):
        return tirx.SeqStmt([_rewritten(part) for part in stmt.seq])
    if isinstance(stmt, tirx.IfThenElse):
        otherwise = None if stmt.else_case is None else _rewritten(stmt.else_case)
        return tirx.IfThenElse(stmt.condition, _rewritten(stmt.then_case), otherwise)
    if isinstance(stmt, tirx.Evaluate):
        return _short_routine(stmt)
    if isinstance(stmt, tirx.AttrStmt):
        return tirx.AttrStmt(stmt.node, stmt.attr_key, stmt.value, _rewritten(stmt.body))
    if not isinstance(stmt, tirx.For):
        return stmt
    rounds = _rounds(stmt)
    body = _rewritten(stmt.body) if rounds is None else stmt.body
    return tirx.For(
        stmt.loop_var, stmt.min, stmt.extent if rounds is None else rounds, stmt.kind, body,
        stmt.thread_binding, stmt.annotations, stmt.step,
    )  # fmt: skip


def _short_routine(stmt: Any) -> Any:
    """A call of a routine that makes products (`InstructionSet.call_routine`) with one group of activations; any other
    statement as it is."""
    from tvm import tirx
    from tvm.ir import Call
    from tvm.ir.expr import TensorLoad

    call = stmt.value
    name = str(getattr(call.args[0], "value", "")) if isinstance(call, Call) and call.args else ""
    if not name.startswith("irnn_dot_"):
        return stmt
    count = call.args[4]
    loads = [
        node for node in nodes(call) if isinstance(node, TensorLoad) and str(node.source.ty.dtype) == "int8"
    ]
    if not isinstance(count, tirx.IntImm) or int(count) < 2 or not loads:
        return stmt
    rounds = _few(loads[0].source, int(count), "int32")
    return tirx.Evaluate(tirx.call_extern("int32", name, *call.args[1:4], rounds, *call.args[5:]))


def _rounds(loop: Any) -> Any | None:
    """How often a product loop shall run; None for other loops.

    Innermost loops that load int8 elements of two arrays, weights and activations, are product loops.
    """
    from tvm import tirx
    from tvm.ir.expr import TensorLoad

    inside = list(nodes(loop.body))
    buffers = [node.source for node in inside if isinstance(node, TensorLoad)]
    bytes_of = {str(buffer.name): buffer for buffer in buffers if str(buffer.ty.dtype) == "int8"}
    nested = any(isinstance(node, tirx.For) for node in inside)
    if nested or len(bytes_of) < 2 or not isinstance(loop.extent, tirx.IntImm) or int(loop.extent) < 2:
        return None
    return _few(next(iter(bytes_of.values())), int(loop.extent), str(loop.extent.ty.dtype))


def _few(buffer: Any, count: int, dtype: str) -> Any:
    """One round, or all of them where a byte in memory has the lowest value. A code generator that knew of two rounds
    at most would write them out."""
    from tvm import tirx

    byte = tirx.Cast("int32", tirx.BufferLoad(buffer, [tirx.const(0, "int32") for _ in buffer.ty.shape]))
    lowest = tirx.Max(tirx.const(0, "int32") - byte, tirx.const(127, "int32")) - tirx.const(127, "int32")
    return tirx.const(1, dtype) + tirx.Cast(dtype, lowest) * tirx.const(count - 1, dtype)
