"""One file per target; `get(name)` finds one and `names()` lists them. Imports neither TVM nor PyTorch.

A new target is one file here that defines `TARGET`, and its line in the list below.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from irnn_tvm.errors import UnknownTargetError
from irnn_tvm.targets import (
    arm,
    arm_a53,
    arm_i8mm,
    armv7,
    c,
    cortex_m0plus,
    cortex_m3,
    cortex_m4,
    cortex_m7,
    cortex_m33,
    cortex_m55,
    cortex_m85,
    host,
    riscv32,
    x86,
    x86_avx2,
    x86_avx512,
    x86_avx512_vnni,
    x86_avx_vnni,
)
from irnn_tvm.targets.base import Emulator, Target

_X86 = (x86, x86_avx2, x86_avx512, x86_avx_vnni, x86_avx512_vnni)
_CORTEX_M = (cortex_m0plus, cortex_m3, cortex_m4, cortex_m7, cortex_m33, cortex_m55, cortex_m85)
_MODULES = (host, arm, arm_i8mm, arm_a53, armv7, *_X86, *_CORTEX_M, riscv32, c)

TARGETS: Mapping[str, Target] = MappingProxyType({module.TARGET.name: module.TARGET for module in _MODULES})

__all__ = ["TARGETS", "Emulator", "Target", "get", "names"]


def names() -> tuple[str, ...]:
    """The names of all targets."""
    return tuple(TARGETS)


def get(name: str | Target) -> Target:
    """The target of this name (a Target passes through). UnknownTargetError suggests the nearest name."""
    if isinstance(name, Target):
        return name
    found = TARGETS.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    spelled = str(name).lower().replace("_", "-").replace(" ", "-")
    close = difflib.get_close_matches(spelled, TARGETS, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownTargetError(f"Unknown target {name!r}.{hint} Targets: {', '.join(TARGETS)}.")
