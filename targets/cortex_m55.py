"""Cortex-M55: ARMv8.1-M with Helium (MVE, integer part used); emulated on an MPS3 board, image AN547."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m55",
    description="Cortex-M55 firmware (ARMv8.1-M, Helium integer vectors), soft-float ABI",
    kind="archive",
    tvm={
        "kind": "llvm",
        "mtriple": "thumbv8.1m.main-none-eabi",
        "mcpu": "cortex-m55",
        "mattr": ["+mve"],
        "vector-width": 128,
    },
    zig_target="thumb-freestanding-eabi",
    # The soft-float ABI switches Helium off together with the FPU; its integer half is wanted.
    zig_flags=("-mcpu=cortex_m55+mve",),
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps3-an547"), "qemu-system-arm", "mps3_an547"),
    pointer_bits=32,
    integer_only=True,
    instruction_set="helium",
    instruction_set_in_c="helium-rows",
)
