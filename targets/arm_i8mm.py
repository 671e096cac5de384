"""64-bit ARM Linux with the matrix instructions for int8: Cortex-A510, A710, X2, Neoverse N2, V1 and later."""

from irnn_tvm.targets.base import Emulator, Target

TARGET = Target(
    name="arm-i8mm",
    description="AArch64 Linux with dotprod and i8mm (Cortex-A710, Neoverse N2 class)",
    kind="shared",
    # Not the name of such a core: most have SVE, too, which LLVM would use and Apple's cores do not have.
    tvm={
        "kind": "llvm",
        "mtriple": "aarch64-linux-gnu",
        "mcpu": "cortex-a76",
        "mattr": ["+dotprod", "+i8mm"],
    },
    zig_target="aarch64-linux-gnu.2.17",
    zig_flags=("-mcpu=cortex_a76+i8mm",),
    # No core of QEMU 7.2 but this one has i8mm; SVE is switched off so that it traps.
    emulator=Emulator("user", "qemu-aarch64", ("-cpu", "max,sve=off"), "qemu-user"),
    machines=("aarch64", "arm64"),
    cpuinfo_flags=("asimd", "asimddp", "i8mm"),
    instruction_set="neon-i8mm",
)
