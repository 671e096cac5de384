"""Cortex-M7: ARMv7E-M, dual issue; emulated on an MPS2 board, image AN500."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m7",
    description="Cortex-M7 firmware (ARMv7E-M, DSP instructions), soft-float ABI",
    kind="archive",
    tvm={"kind": "llvm", "mtriple": "thumbv7em-none-eabi", "mcpu": "cortex-m7", "vector-width": 32},
    zig_target="thumb-freestanding-eabi",
    zig_flags=("-mcpu=cortex_m7",),
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps2-an500"), "qemu-system-arm", "mps2_an500"),
    pointer_bits=32,
    integer_only=True,
    instruction_set="arm-dsp",
)
