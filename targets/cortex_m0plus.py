"""Cortex-M0+ (and M0): ARMv6-M, no division, no product of more than 32 bits.

QEMU has no board with it and enough memory for a library's tests: they run on a Cortex-M3, which executes ARMv6-M as it
is, and a small model on the BBC micro:bit, a Cortex-M0.
"""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m0plus",
    description="Cortex-M0+ and M0 firmware (ARMv6-M)",
    kind="archive",
    tvm={"kind": "llvm", "mtriple": "thumbv6m-none-eabi", "mcpu": "cortex-m0plus", "vector-width": 32},
    zig_target="thumb-freestanding-eabi",
    zig_flags=("-mcpu=cortex_m0plus",),
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps2-an385"), "qemu-system-arm", "mps2_an386"),
    pointer_bits=32,
    integer_only=True,
    missing_arithmetic="armv6m",
    more_boards=(Emulator("system", "qemu-system-arm", ("-M", "microbit"), "qemu-system-arm", "microbit"),),
)
