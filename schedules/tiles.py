"""Rule for kernels in tiles: the loop over a product's depth is unrolled as far as its instruction set likes it."""

from __future__ import annotations

from typing import Any

from .dot_rows import block_names

PREFIX, LOOP_PREFIX = "tile_", "tile_loop_"
UNROLL_ATTR = "irnn.unroll"


def apply(func: Any, target: Any) -> Any:
    """Claims every PrimFunc that holds a block named tile_*."""
    from tvm import s_tir

    names = sorted(block_names(func.body, PREFIX))
    del target
    if not names:
        return None
    schedule = s_tir.Schedule(func)
    for name in (n for n in names if n.startswith(LOOP_PREFIX)):
        block = schedule.get_sblock(name)
        loop = schedule.get_loops(block)[-1]
        extent, most = int(schedule.get(loop).extent), int(schedule.get(block).annotations[UNROLL_ATTR])
        schedule.unannotate(block, UNROLL_ATTR)
        factor = next(f for f in range(most, 0, -1) if extent % f == 0)
        if factor > 1:
            _, inner = schedule.split(loop, [None, factor])
            schedule.unroll(inner)
    return schedule
