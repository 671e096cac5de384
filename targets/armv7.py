"""32-bit ARM Linux with NEON, hard-float ABI: Cortex-A7, A15, A17 (Raspberry Pi 2 and later)."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="armv7",
    description="32-bit ARM Linux with NEON (Cortex-A7/A15 class, gnueabihf)",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "armv7a-linux-gnueabihf", "mcpu": "cortex-a7", "mattr": ["+neon"]},
    zig_target="arm-linux-gnueabihf.2.17",
    zig_flags=("-mcpu=cortex_a7",),
    emulator=Emulator("user", "qemu-arm", ("-cpu", "cortex-a7"), "qemu-user"),
    pointer_bits=32,
    machines=("armv7l", "armv8l"),
    cpuinfo_flags=("neon", "idiva"),
    instruction_set="armv7-neon",
)
