"""Rule of last resort: elementwise, copy and convolution kernels keep the loops they were written with, but for how far
the innermost ones are unrolled where that was tuned."""

from __future__ import annotations

from typing import Any

INNER_UNROLL_ATTR = "irnn.inner_unroll"


def apply(func: Any, target: Any) -> Any:
    """Claims everything; LLVM vectorizes these loops where it can."""
    from tvm import s_tir

    del target
    schedule = s_tir.Schedule(func)
    factor = int(func.attrs[INNER_UNROLL_ATTR]) if INNER_UNROLL_ATTR in func.attrs else 1
    if factor > 1:
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            _unroll(schedule, block, factor)
    return schedule


def _unroll(schedule: Any, block: Any, factor: int) -> None:
    """The innermost loop over a block, where there is one that is as long and no longer than known at build time."""
    from tvm import tirx

    loops = schedule.get_loops(block)
    if not loops:
        return
    extent = schedule.get(loops[-1]).extent
    if not isinstance(extent, tirx.IntImm | int) or int(extent) % factor or int(extent) == factor:
        return
    _, inner = schedule.split(loops[-1], [None, factor])
    schedule.unroll(inner)
