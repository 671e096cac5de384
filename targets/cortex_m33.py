"""Cortex-M33: ARMv8-M with the DSP extension; emulated on an MPS2 board, image AN505, in the secure state."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m33",
    description="Cortex-M33 firmware (ARMv8-M, DSP instructions), soft-float ABI",
    kind="archive",
    tvm={
        "kind": "llvm",
        "mtriple": "thumbv8m.main-none-eabi",
        "mcpu": "cortex-m33",
        "mattr": ["+dsp"],
        "vector-width": 32,
    },
    zig_target="thumb-freestanding-eabi",
    zig_flags=("-mcpu=cortex_m33",),
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps2-an505"), "qemu-system-arm", "mps2_an505"),
    pointer_bits=32,
    integer_only=True,
    instruction_set="arm-dsp",
)
