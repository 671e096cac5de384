"""Rule for kernels with int8 dot products (linear, conv1d, recurrent steps): rows share every activation load.

The reduction goes outside and the rows inside, unrolled, so that each row's accumulator lives in a register. In that
form LLVM's vectorizer reaches the dot-product instructions of each instruction set: sdot (AArch64 with dotprod),
vmlava (Helium), smlabb (ARMv7E-M), vpdpbusd or vpmaddwd (x86), vmlal (NEON without dotprod).
"""

from __future__ import annotations

from typing import Any

PREFIX = "dot_"


def apply(func: Any, target: Any) -> Any:
    """Claims every PrimFunc that holds a block named dot_*."""
    from tvm import s_tir

    del target  # one form serves all: the code generator picks the instruction
    names = sorted(block_names(func.body, PREFIX))
    if not names:
        return None
    schedule = s_tir.Schedule(func)
    for name in names:
        block = schedule.get_sblock(name)
        axes = len(schedule.get(block).iter_vars)
        row, *depth = schedule.get_loops(block)[-axes:]
        schedule.reorder(*depth, row)
        init = schedule.decompose_reduction(block, depth[0])
        schedule.unroll(row)
        schedule.unroll(schedule.get_loops(init)[-1])
    return schedule


def block_names(stmt: Any, prefix: str) -> set[str]:
    """Names of the blocks in a statement that start with `prefix`."""
    kind = type(stmt).__name__
    if kind == "SBlockRealize":
        name = str(stmt.block.name_hint)
        inside = block_names(stmt.block.body, prefix)
        return inside | {name} if name.startswith(prefix) else inside
    if kind == "SeqStmt":
        return set().union(*(block_names(s, prefix) for s in stmt.seq))
    return block_names(stmt.body, prefix) if hasattr(stmt, "body") else set()
