"""64-bit x86 Linux with AVX-512 but without its VNNI: Skylake-X and the Xeons of its time."""

from irnn_tvm.targets.base import X86_64_V4, Emulator, Target

TARGET = Target(
    name="x86-avx512",
    description="x86-64 Linux with AVX-512 (Skylake-X and later)",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v4"},
    zig_target="x86_64-linux-gnu.2.17",
    zig_flags=("-mcpu=x86_64_v4",),
    emulator=Emulator("pc", "bochs", ("corei7_skylake_x",), "bochs"),
    machines=("x86_64", "AMD64"),
    cpuinfo_flags=X86_64_V4,
    instruction_set="avx512",
)
