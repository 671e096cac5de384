"""Rule for kernels in tiles: the loop over a product's depth is unrolled as far as the instruction set likes it."""

from __future__ import annotations

from typing import Any

from . import instruction_sets
from .dot_rows import block_names

PREFIX, LOOP_PREFIX = "tile_", "tile_loop_"


def apply(func: Any, target: Any) -> Any:
    """Claims every PrimFunc that holds a block named tile_*."""
    from tvm import s_tir

    names = sorted(block_names(func.body, PREFIX))
    isa = instruction_sets.get(target.simd())
    if not names or isa is None:
        return None
    schedule = s_tir.Schedule(func)
    for name in (n for n in names if n.startswith(LOOP_PREFIX)):
        loop = schedule.get_loops(schedule.get_sblock(name))[-1]
        extent = int(schedule.get(loop).extent)
        factor = next(f for f in range(isa.unroll, 0, -1) if extent % f == 0)
        if factor > 1:
            _, inner = schedule.split(loop, [None, factor])
            schedule.unroll(inner)
    return schedule
