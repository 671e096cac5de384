"""64-bit ARM Linux without the dot-product instructions: Cortex-A53, A57, A72, A73 (Raspberry Pi 3 and 4)."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="arm-a53",
    description="AArch64 Linux without dotprod (Cortex-A53/A72 class)",
    kind="shared",
    # Without the cryptography extension, which the Raspberry Pi does not have.
    tvm={"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "generic", "mattr": ["-aes", "-sha2"]},
    zig_target="aarch64-linux-gnu.2.17",
    zig_flags=("-mcpu=cortex_a53-aes-sha2",),
    emulator=Emulator("user", "qemu-aarch64", ("-cpu", "cortex-a53"), "qemu-user"),
    machines=("aarch64", "arm64"),
    cpuinfo_flags=("asimd",),
    instruction_set="neon",
)
