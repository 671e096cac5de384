"""Kernels over tiles whose work several threads share: each takes a range of the tiles."""

from __future__ import annotations

from typing import Any

# Multiply-accumulates from which on a kernel is worth a microsecond of waking and waiting for threads.
WORTHWHILE = 1 << 19
# As the number of parts: do what comes before all tiles (`Kernel.prepares`), and nothing else.
PREPARE = -1


def split_tiles(func: Any) -> tuple[Any, bool] | None:
    """A scheduled PrimFunc with two more parameters, part and parts (int64), that does one part of the work, and
    whether it has something to prepare.

    Of the outermost loop over tiles a part does its share of the iterations; whatever follows it (a last tile with
    padding) the last part does. What all tiles read comes first, with PREPARE parts. None for kernels whose tiles
    depend on each other, or that are too small.
    """
    from tvm import tirx
    from tvm.s_tir import SBlock, SBlockRealize

    from irnn_tvm.relay_ops.kernel import INDEPENDENT_ATTR, MACS_ATTR, PREPARE_PREFIX
    from irnn_tvm.schedules.dot_rows import block_names

    if INDEPENDENT_ATTR not in func.attrs or int(func.attrs[MACS_ATTR]) < WORTHWHILE:
        return None
    part, parts = tirx.Var("part", "int64"), tirx.Var("parts", "int64")
    root = func.body.block
    stages = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    first = [stage for stage in stages if block_names(stage, PREPARE_PREFIX)]
    loop, *rest = stages[len(first) :]
    if not isinstance(loop, tirx.For) or not isinstance(loop.extent, tirx.IntImm) or int(loop.extent) < 2:
        return None
    dtype, extent = str(loop.loop_var.ty.dtype), tirx.const(int(loop.extent), "int64")

    def bound(number: Any) -> Any:
        return tirx.Cast(dtype, tirx.truncdiv(extent * number, parts))

    begin = bound(part)
    share = tirx.For(
        loop.loop_var,
        begin,
        bound(part + 1) - begin,
        loop.kind,
        loop.body,
        loop.thread_binding,
        loop.annotations,
    )
    last = [tirx.IfThenElse(tirx.EQ(part + 1, parts), stage, None) for stage in rest]
    work = tirx.SeqStmt([share, *last]) if last else share
    if first:
        before = tirx.SeqStmt(first) if len(first) > 1 else first[0]
        work = tirx.IfThenElse(tirx.EQ(parts, tirx.const(PREPARE, "int64")), before, work)
    block = SBlock(
        root.iter_vars, root.reads, root.writes, root.name_hint, work,
        root.init, root.alloc_buffers, root.match_buffers, root.annotations,
    )  # fmt: skip
    body = SBlockRealize(func.body.iter_values, func.body.predicate, block)
    return tirx.PrimFunc([*func.params, part, parts], body, func.ret_type, func.attrs), bool(first)
