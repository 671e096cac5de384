"""Where constants lie: sections of a firmware's linker script, and weights that are fetched before they are read.

A fetched constant is nowhere read but through `NAME_fetch`, a tile of rows at a time, so that it may lie where the
processor cannot read: in a serial flash, or behind an address that the firmware translates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from irnn_tvm.compiler.kernels import Kernel
from irnn_tvm.compiler.plan import Plan
from irnn_tvm.errors import BuildError
from irnn_tvm.targets import Target

EVERYTHING = "*"
_SECTION = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_.]*\Z")


@dataclass(frozen=True)
class Placement:
    """sections: of constants by number, those that are not named lie where read-only data does; fetch_bytes: the most
    that is fetched at a time, 0: nothing is."""

    sections: Mapping[int, str] = field(default_factory=dict)
    fetch_bytes: int = 0


def check_names(
    target: Target, placement: Mapping[str, str] | str | None, stream_weights: str | None
) -> None:
    """BuildError for a section that cannot be one, and where there is no linker script to name it."""
    wanted = [placement] if isinstance(placement, str) else [*(placement or {}).values()]
    wanted += [] if stream_weights is None else [stream_weights]
    for section in wanted:
        if not isinstance(section, str) or not _SECTION.match(section):
            raise BuildError(f"{section!r} is no name of a section; an example is '.ext_flash'")
    if wanted and not (target.is_bare_metal or target.kind == "sources"):
        raise BuildError(f"placement is for microcontrollers and C sources, not for {target.name}")
    if stream_weights is not None:
        from irnn_tvm.schedules import instruction_sets

        isa = instruction_sets.get(target.simd())
        if isa is None or not isa.routine_rows:
            raise BuildError(
                f"stream_weights needs kernels that read weights in tiles, which {target.name} has not: "
                "cortex-m4, m7, m33, m55 and m85 have them"
            )


def place(
    plan: Plan,
    kernels: Mapping[str, Kernel],
    placement: Mapping[str, str] | str | None,
    stream_weights: str | None,
) -> Placement:
    """placement: a section for all constants, or sections by the kernel that reads them ("lstm_step"), by number of a
    constant ("3"), and for all others ("*"); the most particular one counts. stream_weights: the section of what is
    fetched. BuildError for a name that is none of these."""
    sections: dict[int, str] = {}
    chosen = {EVERYTHING: placement} if isinstance(placement, str) else dict(placement or {})
    readers: dict[str, set[int]] = {}
    for call in plan.calls:
        constants = {v.index for v in call.values if v.kind == "weight"}
        for kernel in call.kernels:
            readers.setdefault(kernel, set()).update(constants)
    for name in chosen:
        if (
            name != EVERYTHING
            and name not in readers
            and not (name.isdigit() and int(name) < len(plan.weights))
        ):
            raise BuildError(
                f"placement names {name!r}; there are {', '.join(readers)}, constants 0 to {len(plan.weights) - 1}, "
                f"and {EVERYTHING!r}"
            )
    if EVERYTHING in chosen:
        sections = dict.fromkeys(range(len(plan.weights)), chosen[EVERYTHING])
    for name, section in chosen.items():
        sections |= dict.fromkeys(readers.get(name, ()), section)
    sections |= {int(name): section for name, section in chosen.items() if name.isdigit()}
    fetched, most = _fetched(plan, kernels)
    if stream_weights is not None:
        sections |= dict.fromkeys(fetched, stream_weights)
    return Placement(sections, most)


def _fetched(plan: Plan, kernels: Mapping[str, Kernel]) -> tuple[set[int], int]:
    """Constants that are read in no other way, and the most bytes of them at a time."""
    fetched: set[int] = set()
    read: set[int] = set()
    most = 0
    for call in plan.calls:
        kernel = kernels[call.kernel]
        most = max([most, *kernel.fetches.values()])
        for position, value in enumerate(call.values):
            if value.kind == "weight":
                (fetched if position in kernel.fetches else read).add(value.index)
    return fetched - read, most
