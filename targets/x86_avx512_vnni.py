"""64-bit x86 Linux with AVX-512 and its VNNI: Cascade Lake, Ice Lake, Zen 4 and later."""

from irnn_tvm.targets.base import X86_64_V4, Emulator, Target

TARGET = Target(
    name="x86-avx512-vnni",
    description="x86-64 Linux with AVX-512 VNNI (Cascade Lake, Ice Lake, Zen 4 and later)",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v4", "mattr": ["+avx512vnni"]},
    zig_target="x86_64-linux-gnu.2.17",
    zig_flags=("-mcpu=x86_64_v4+avx512vnni",),
    emulator=Emulator("pc", "bochs", ("tigerlake",), "bochs"),
    machines=("x86_64", "AMD64"),
    cpuinfo_flags=(*X86_64_V4, "avx512_vnni"),
    instruction_set="avx512-vnni",
)
