"""64-bit x86 Linux with AVX2: Haswell, Zen and later."""

from irnn_tvm.targets.base import X86_64_V3, Emulator, Target

TARGET = Target(
    name="x86-avx2",
    description="x86-64 Linux with AVX2 (Haswell, Zen and later)",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3"},
    zig_target="x86_64-linux-gnu.2.17",
    zig_flags=("-mcpu=x86_64_v3",),
    emulator=Emulator("pc", "bochs", ("corei7_haswell_4770",), "bochs"),
    machines=("x86_64", "AMD64"),
    cpuinfo_flags=X86_64_V3,
    instruction_set="avx2",
)
