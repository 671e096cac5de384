"""Cortex-M4: ARMv7E-M with the DSP instructions (smlad, sxtb16); emulated on an MPS2 board, image AN386."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="cortex-m4",
    description="Cortex-M4 firmware (ARMv7E-M, DSP instructions), soft-float ABI",
    kind="archive",
    # The code is integer only, so that the soft-float ABI costs nothing and links into any firmware.
    tvm={"kind": "llvm", "mtriple": "thumbv7em-none-eabi", "mcpu": "cortex-m4", "vector-width": 32},
    zig_target="thumb-freestanding-eabi",
    zig_flags=("-mcpu=cortex_m4",),
    emulator=Emulator("system", "qemu-system-arm", ("-M", "mps2-an386"), "qemu-system-arm", "mps2_an386"),
    pointer_bits=32,
    integer_only=True,
    instruction_set="arm-dsp",
)
