"""The machine that runs the compiler: a shared library for its own CPU."""

import platform

from irnn_tvm.targets.base import Target, host_triples

_ZIG, _LLVM = host_triples()

TARGET = Target(
    name="host",
    description=f"this machine ({platform.machine()} Linux), its own instruction set",
    kind="shared",
    # "native" is replaced by LLVM's name of this CPU on first use, TVM itself refuses it.
    tvm={"kind": "llvm", "mtriple": _LLVM, "mcpu": "native"},
    zig_target=_ZIG,
    zig_flags=("-mcpu=native",),
    pointer_bits=32 if platform.machine().startswith("armv") else 64,
    machines=(platform.machine(),),
    instruction_set="native",
)
