"""64-bit ARM Linux with the dot-product instructions: Cortex-A55, A75, A76 and later (Raspberry Pi 5)."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="arm",
    description="AArch64 Linux with dotprod (Cortex-A76 class)",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a76", "mattr": ["+dotprod"]},
    zig_target="aarch64-linux-gnu.2.17",
    zig_flags=("-mcpu=cortex_a76",),
    emulator=Emulator("user", "qemu-aarch64", ("-cpu", "cortex-a76"), "qemu-user"),
    machines=("aarch64", "arm64"),
    cpuinfo_flags=("asimd", "asimddp"),
    instruction_set="neon-dotprod",
)
