"""Recurrent calls that may change places: the two directions of a layer, for instance, when a call has a single step.

Which of them runs first then depends on whose weights were used last (time_loop.py). Neither reads what the other
writes, but the memory plan may have put what the second leaves behind where the first had its scratch: such scratch
gets memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from irnn_tvm.compiler.plan import Plan, Value, aligned, most_bytes
from irnn_tvm.compiler.scan_values import ScanValues


def loosen(plan: Plan, steps: int) -> None:
    """Finds such pairs of neighbours and marks them (`Call.any_order`). steps: most time steps of a call."""
    for number, (first, second) in enumerate(zip(plan.calls, plan.calls[1:], strict=False)):
        if first.single is None or second.single is None or first.any_order:
            continue
        later = _later(plan, number + 2)
        a, b = ScanValues.of(first), ScanValues.of(second)
        kept = [v for v in b.kept if v.kind != "arena" or _meet([v], later, steps)]
        moved = [v for v in a.temporary if _meet([v], kept, steps)]
        fixed = [v for v in first.values if v not in moved]
        if _meet(a.kept, second.values, steps) or _meet(kept, fixed, steps):
            continue
        for value in moved:
            new = replace(value, index=_reserve(plan, most_bytes(value.shape, value.dtype, steps)))
            first = replace(first, values=tuple(new if v == value else v for v in first.values))
        plan.calls[number] = replace(first, any_order=True)


def _later(plan: Plan, number: int) -> list[Value]:
    """What calls from `number` on have to do with."""
    return [v for call in plan.calls[number:] for v in call.values] + [
        v for pair in plan.copies for v in pair
    ]


def _reserve(plan: Plan, size: int) -> int:
    offset = plan.arena_bytes
    plan.arena_bytes = offset + aligned(size)
    plan.storages.append(size)
    return offset


def _meet(some: Iterable[Value], others: Iterable[Value], steps: int) -> bool:
    """Whether tensors share memory."""
    others = list(others)
    return any(_overlap(x, y, steps) for x in some for y in others)


def _overlap(x: Value, y: Value, steps: int) -> bool:
    if x.kind != y.kind or x.kind in ("weight", "input"):
        return False
    if x.kind != "arena":
        return x.index == y.index
    (low, size), (high, _) = sorted((v.index, most_bytes(v.shape, v.dtype, steps)) for v in (x, y))
    return low + size > high
