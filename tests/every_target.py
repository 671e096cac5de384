"""The targets of tests that go over all of them, and how those run that nothing here can run as they are."""

from __future__ import annotations

from dataclasses import replace

from irnn_tvm.targets import TARGETS, Target

# The kernels of these are those of `host` on some machine, or of x86-avx512-vnni in narrower registers or with other
# products: test_tiles.py has them all, and that is enough. `x86` holds all of them: library/test_x86_variants.py.
TESTED = tuple(name for name in TARGETS if name not in ("x86", "x86-avx2", "x86-avx512", "x86-avx-vnni"))

# These have the kernels of others, as another CPU of their instruction set is to get them: exhaustive tests build all
# of them, and the rest a part.
ALIKE = {"cortex-m3": "c", "cortex-m7": "cortex-m4", "cortex-m33": "cortex-m4", "cortex-m85": "cortex-m55"}
DISTINCT = tuple(name for name in TESTED if name not in ALIKE)


def runnable(name: str) -> Target:
    """The target of this name; no emulator knows AVX-VNNI, whose kernels run in the encoding of AVX-512 instead."""
    target = TARGETS[name]
    if name != "x86-avx-vnni":
        return target
    wide = TARGETS["x86-avx512-vnni"]
    return replace(
        target,
        tvm=wide.tvm,
        zig_flags=wide.zig_flags,
        emulator=wide.emulator,
        cpuinfo_flags=wide.cpuinfo_flags,
    )
