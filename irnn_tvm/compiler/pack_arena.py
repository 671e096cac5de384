"""Lays the tensors of the arena out by when they are in use, the largest first.

TVM's plan hands whole storages from one tensor to the next, which wastes memory where their sizes differ. Here a tensor
is a range of bytes between the call that writes it and the last one that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from irnn_tvm.compiler.lower_kernel import output_count
from irnn_tvm.compiler.plan import Call, Plan, aligned, most_bytes
from irnn_tvm.compiler.scan_values import ScanValues


@dataclass
class _Tensor:
    """first, last: times of its first and last use; places: (call, position of the value)."""

    first: int
    last: int
    size: int = 0
    offset: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)


def pack_arena(plan: Plan, mod: Any, steps: int) -> None:
    """Gives every tensor of the arena an offset. mod: of the kernels; steps: most time steps of a call."""
    tensors, sources = _tensors(plan, mod, steps)
    placed: list[_Tensor] = []
    for tensor in sorted(tensors, key=lambda t: (-t.size, t.first)):
        for other in sorted((t for t in placed if _meet(t, tensor)), key=lambda t: t.offset):
            if tensor.offset + tensor.size <= other.offset:
                break
            tensor.offset = max(tensor.offset, other.offset + other.size)
        placed.append(tensor)
    calls = [list(call.values) for call in plan.calls]
    for tensor in tensors:
        for number, position in tensor.places:
            calls[number][position] = replace(calls[number][position], index=tensor.offset)
    plan.calls = [replace(call, values=tuple(values)) for call, values in zip(plan.calls, calls, strict=True)]
    plan.copies = [
        (target, source if tensor is None else replace(source, index=tensor.offset))
        for (target, source), tensor in zip(plan.copies, sources, strict=True)
    ]
    plan.arena_bytes = max((t.offset + t.size for t in tensors), default=0)
    plan.storages = [plan.arena_bytes] if plan.arena_bytes else []
    times = {t.first for t in tensors}
    plan.arena_minimum = max(
        (sum(t.size for t in tensors if t.first <= now <= t.last) for now in times), default=0
    )


def _meet(a: _Tensor, b: _Tensor) -> bool:
    """Whether both are in use at some time."""
    return a.first <= b.last and b.first <= a.last


def _tensors(plan: Plan, mod: Any, steps: int) -> tuple[list[_Tensor], list[_Tensor | None]]:
    """All tensors of the arena, and those that are copied at the end."""
    tensors: list[_Tensor] = []
    current: dict[int, _Tensor] = {}
    time = 0
    for number, call in enumerate(plan.calls):
        # Two calls that may change places have one time: nothing of one may take the place of anything of the other.
        time += not (number and plan.calls[number - 1].any_order)
        written = _written(call, mod)
        for fresh in (False, True):
            for position, value in enumerate(call.values):
                if value.kind != "arena" or (position in written) != fresh:
                    continue
                if fresh or value.index not in current:
                    current[value.index] = _Tensor(time, time)
                    tensors.append(current[value.index])
                tensor = current[value.index]
                tensor.last = time
                tensor.size = max(tensor.size, aligned(most_bytes(value.shape, value.dtype, steps)))
                tensor.places.append((number, position))
    sources: list[_Tensor | None] = []
    for _, source in plan.copies:
        copied = current[source.index] if source.kind == "arena" else None
        if copied is not None:
            copied.last = time + 1
        sources.append(copied)
    return tensors, sources


def _written(call: Call, mod: Any) -> set[int]:
    """Positions of the values that a call writes."""
    if call.scan is not None:
        values = ScanValues.of(call)
        read = 2 + len(values.carries) + len(values.constants) + len(values.input_constants)
        return set(range(read, len(call.values)))
    return set(range(len(call.values) - output_count(mod[call.kernel]), len(call.values)))
