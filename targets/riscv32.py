"""32-bit RISC-V microcontrollers with products and compressed instructions (RV32IMC); emulated on QEMU's `virt`."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="riscv32",
    description="RV32IMC firmware (ESP32-C3, GD32V and the like), ilp32 ABI",
    kind="archive",
    tvm={
        "kind": "llvm",
        "mtriple": "riscv32-unknown-elf",
        "mcpu": "generic-rv32",
        "mattr": ["+m", "+c"],
        "mabi": "ilp32",
        "vector-width": 32,
    },
    zig_target="riscv32-freestanding-none",
    zig_flags=("-mcpu=generic_rv32+m+c-d-f", "-mabi=ilp32"),
    emulator=Emulator(
        "system", "qemu-system-riscv32", ("-M", "virt", "-bios", "none"), "qemu-system-misc", "riscv_virt"
    ),
    pointer_bits=32,
    integer_only=True,
)
