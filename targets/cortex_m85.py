"""Cortex-M85: ARMv8.1-M with Helium. QEMU knows no Cortex-M85: its code runs on the Cortex-M55 of image AN547."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m85",
    description="Cortex-M85 firmware (ARMv8.1-M, Helium integer vectors), soft-float ABI",
    kind="archive",
    tvm={
        "kind": "llvm",
        "mtriple": "thumbv8.1m.main-none-eabi",
        "mcpu": "cortex-m85",
        "mattr": ["+mve"],
        "vector-width": 128,
    },
    zig_target="thumb-freestanding-eabi",
    zig_flags=("-mcpu=cortex_m85+mve",),
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps3-an547"), "qemu-system-arm", "mps3_an547"),
    pointer_bits=32,
    integer_only=True,
    instruction_set="helium",
    instruction_set_in_c="helium-rows",
)
