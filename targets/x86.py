"""64-bit x86 Linux, whatever the CPU has: one library with the kernels of several targets chooses at run time."""

from irnn_tvm.targets.base import X86_64_V3, Emulator, Target

TARGET = Target(
    name="x86",
    description="x86-64 Linux with AVX2 or more: chooses its kernels at run time",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64"},
    zig_target="x86_64-linux-gnu.2.17",
    zig_flags=("-mcpu=x86_64",),
    emulator=Emulator("pc", "bochs", ("tigerlake",), "bochs"),
    machines=("x86_64", "AMD64"),
    cpuinfo_flags=X86_64_V3,
    # The best first.
    variants=("x86-avx512-vnni", "x86-avx512", "x86-avx-vnni", "x86-avx2"),
)
