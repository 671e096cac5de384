"""Cortex-M3: ARMv7-M without the DSP instructions; emulated on an MPS2 board, image AN385."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m3",
    description="Cortex-M3 firmware (ARMv7-M)",
    kind="archive",
    tvm={"kind": "llvm", "mtriple": "thumbv7m-none-eabi", "mcpu": "cortex-m3", "vector-width": 32},
    zig_target="thumb-freestanding-eabi",
    zig_flags=("-mcpu=cortex_m3",),
    # Its memory is that of image AN386.
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps2-an385"), "qemu-system-arm", "mps2_an386"),
    pointer_bits=32,
    integer_only=True,
)
