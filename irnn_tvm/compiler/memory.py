"""Budgets of flash and RAM: a library that exceeds one is refused, with what takes how much and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from irnn_tvm.compiler.plan import Plan, expression, most_bytes
from irnn_tvm.errors import MemoryBudgetError
from irnn_tvm.targets import Target

SHOWN = 12  # rows of the table
# The region for RAM in the address map of Cortex-M, and what fits 32-bit offsets and a C99 compiler's objects.
LARGEST_ARENA = {True: 1 << 29, False: (1 << 31) - 1}


@dataclass(frozen=True)
class Memory:
    """What a firmware leaves for a library, in bytes; None: it does not matter.

    flash: for code, weights and tables. ram: for one stream's state, the arena and the stack.
    """

    flash: int | None = None
    ram: int | None = None

    def __post_init__(self) -> None:
        for name in ("flash", "ram"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 0):
                raise MemoryBudgetError(f"{name} must be a number of bytes, not {value!r}")


def check_arena(plan: Plan, steps: int, target: Target) -> None:
    """MemoryBudgetError where no memory of a target can hold the arena, naming its largest tensor.

    steps: the longest sequence of a call.
    """
    limit = LARGEST_ARENA[target.is_bare_metal]
    if plan.arena_bytes <= limit:
        return
    sizes = [
        (most_bytes(v.shape, v.dtype, steps), v, call.kernel)
        for call in plan.calls
        for v in call.values
        if v.kind == "arena"
    ]
    size, tensor, kernel = max(sizes, key=lambda row: row[0])
    shape = ", ".join(str(expression(d)) for d in tensor.shape)
    raise MemoryBudgetError(
        f"sequences of up to T = {steps} steps need an arena of {plan.arena_bytes:,} bytes, more than the {limit:,} "
        f"that target {target.name} can have: a tensor {tensor.dtype} [{shape}] of {kernel} alone has {size:,} bytes. "
        "Give a smaller max_seq_len, or seq_len"
    )


def check(memory: Memory, report: Mapping[str, Any]) -> None:
    """MemoryBudgetError where a library's report says that it needs more."""
    problems = []
    if (
        memory.flash is not None
        and report["flash_bytes"] is not None
        and report["flash_bytes"] > memory.flash
    ):
        problems.append(
            _explain("flash", memory.flash, report["flash_bytes"], _flash_rows(report), _flash_advice(report))
        )
    ram = report["state_bytes"] + report["arena_bytes"] + (report["stack_bytes"] or 0)
    if memory.ram is not None and ram > memory.ram:
        problems.append(_explain("RAM", memory.ram, ram, _ram_rows(report), _ram_advice(report)))
    if problems:
        raise MemoryBudgetError(f"{report['name']} for {report['target']}: " + "\n".join(problems))


def _explain(what: str, limit: int, needed: int, rows: list[tuple[str, int]], advice: str) -> str:
    rows = sorted(rows, key=lambda row: -row[1])
    shown, rest = rows[:SHOWN], rows[SHOWN:]
    if rest:
        shown.append((f"{len(rest)} others", sum(size for _, size in rest)))
    width = max(len(label) for label, _ in shown)
    table = "\n".join(f"  {label:{width}}  {size:>10,}" for label, size in shown)
    more = f"{needed - limit:,} more than the {limit:,} there are"
    return f"it needs {needed:,} bytes of {what}, {more}.\n{table}\n  {advice}"


def _flash_rows(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    rows = [
        (f"constant {number}: {w['dtype']} {'x'.join(str(d) for d in w['shape'])}", int(w["bytes"]))
        for number, w in enumerate(report["weights"])
    ]
    known = [(f"code of {k['name']}", k["flash_bytes"]) for k in report["kernels"] if k["flash_bytes"]]
    rest = report["code_bytes"] - sum(size for _, size in known)
    return [*rows, *known, ("code of the network", rest)]


def _flash_advice(report: Mapping[str, Any]) -> str:
    weights = sum(w["bytes"] for w in report["weights"] if w["dtype"] == "int8")
    return (
        f"What would make it fit: smaller layers (int8 weights take {weights:,} of it, and shrink with the square of "
        "the hidden size), fewer pieces per table, or weights in another memory (placement=)."
    )


def _ram_rows(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    rows = [
        ("state of a stream", int(report["state_bytes"])),
        ("stack (a bound)", int(report["stack_bytes"] or 0)),
    ]
    tensors = sum(report["arena"])
    return [
        *rows,
        ("arena: tensors", tensors),
        ("arena: staging and rounding", report["arena_bytes"] - tensors),
    ]


def _ram_advice(report: Mapping[str, Any]) -> str:
    if report["streamable"]:
        return (
            "What would make it fit: smaller layers, batch=1, or 8-bit gates and cells (QuantConfig.int8())."
        )
    return (
        "What would make it fit: a smaller max_seq_len= (the whole sequence is kept, since a layer needs all of it), "
        "smaller layers, or a model without backward layers, which streams."
    )
