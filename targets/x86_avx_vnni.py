"""64-bit x86 Linux with AVX2 and AVX-VNNI: Alder Lake, Sierra Forest, Zen 5 and later."""

from irnn_tvm.targets.base import X86_64_V3, Target

TARGET = Target(
    name="x86-avx-vnni",
    description="x86-64 Linux with AVX-VNNI (Alder Lake, Zen 5 and later)",
    kind="shared",
    tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3", "mattr": ["+avxvnni"]},
    zig_target="x86_64-linux-gnu.2.17",
    zig_flags=("-mcpu=x86_64_v3+avxvnni",),
    machines=("x86_64", "AMD64"),
    cpuinfo_flags=(*X86_64_V3, "avx_vnni"),
    instruction_set="avx-vnni",
)
