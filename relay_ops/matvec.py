"""The int8 dot products inside a kernel: a few weight rows against one activation vector, accumulated in int32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.tirx.script import builder as T

from . import fixed_point as fp

BLOCK_PREFIX = "dot"


def dot_rows(
    name: str,
    acc: Any,
    rows: int,
    depth: int,
    weight: tuple[Any, Callable[[Any, Any], tuple[Any, ...]]],
    vector: tuple[Any, Callable[[Any], tuple[Any, ...]]],
    init: tuple[Any, Callable[[Any], tuple[Any, ...]]] | None,
) -> None:
    """acc[g] = init[g] + sum_k weight[g, k] * vector[k] for g < rows, k < depth, inside the current block.

    weight, vector, init: a buffer and the map from loop indices to its indices; without init sums start at 0.
    The block is called dot_<name>, so that schedules/ finds it.
    """
    w, w_at = weight
    x, x_at = vector
    with T.grid(rows, depth) as (g, k):
        with T.sblock(f"{BLOCK_PREFIX}_{name}"):
            vg, vk = T.axis.spatial(rows, g), T.axis.reduce(depth, k)
            reads = [w[w_at(vg, vk)], x[x_at(vk)]]
            if init is not None:
                reads.append(init[0][init[1](vg)])
            T.reads(*reads)
            T.writes(acc[vg])
            with T.init():
                start = T.int32(0) if init is None else init[0][init[1](vg)]
                T.buffer_store(acc, start, [vg])
            T.buffer_store(acc, acc[vg] + fp.i32(w[w_at(vg, vk)]) * fp.i32(x[x_at(vk)]), [vg])
