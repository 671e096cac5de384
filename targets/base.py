"""What a target is: settings of the code generator, triple of the linker, and how to run it elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["shared", "archive", "sources"]

# SIMD flags of /proc/cpuinfo that code generated for this machine may rely on. A library that was built where
# one of them is present is refused where it is absent, instead of dying with an illegal instruction.
_HOST_SIMD_FLAGS = frozenset(
    {"sse4_1", "sse4_2", "avx", "f16c", "fma", "bmi1", "bmi2", "avx2", "avx_vnni", "avx_vnni_int8"}
    | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx512_vbmi", "avx512_vbmi2"}
    | {"avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_bitalg", "avx512_vpopcntdq"}
    | {"amx_tile", "amx_int8", "asimd", "asimddp", "i8mm", "sve", "sve2", "atomics"}
)

# Flags of what compilers call x86-64-v3 and x86-64-v4: all of it, since a compiler may use all of it. Where `abm` is
# missing, its lzcnt is no illegal instruction but another one.
X86_64_V3 = (
    *("abm", "avx", "avx2", "bmi1", "bmi2", "cx16", "f16c", "fma", "lahf_lm", "movbe"),
    *("pni", "popcnt", "sse4_1", "sse4_2", "ssse3"),
)
X86_64_V4 = (*X86_64_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")

# What `native` stands for: the first whose flags this machine has. LLVM is told of them, since it may not know the CPU.
_HOST_SIMD = (
    ("avx512-vnni", frozenset({"avx512_vnni", "avx512bw", "avx512vl", "avx512dq"})),
    ("avx-vnni", frozenset({"avx_vnni", "avx2"})),
    ("avx512", frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"})),
    ("avx2", frozenset({"avx2"})),
    ("neon-i8mm", frozenset({"asimd", "asimddp", "i8mm"})),
    ("neon-dotprod", frozenset({"asimd", "asimddp"})),
    ("neon", frozenset({"asimd"})),
)


@dataclass(frozen=True)
class Emulator:
    """QEMU that runs a target's code as a Linux program (`user`) or as firmware on a board (`system`), or Bochs (`pc`).

    qemu: name of the program; args: what selects the CPU or the board (a wrong instruction traps there);
    package: the Debian package that holds it; board: name of the linker script of a `system` emulator.
    """

    kind: Literal["user", "system", "pc"]
    qemu: str
    args: tuple[str, ...]
    package: str
    board: str | None = None

    @property
    def machine(self) -> str:
        """The board's name ("mps2-an386"); for programs, the CPU's."""
        return self.args[1] if len(self.args) > 1 else self.qemu

    def to_report(self) -> dict[str, Any]:
        """The `emulator` entry of report.json."""
        return {"kind": self.kind, "qemu": self.qemu, "args": list(self.args), "package": self.package}


@dataclass(frozen=True)
class Target:
    """Everything that differs between two targets.

    name: what users type. tvm: TVM target as a dictionary (`tvm_target` resolves it, `host` needs LLVM for
    that). zig_target, zig_flags: triple and CPU for `zig cc`. machines: values of platform.machine() on which
    the library loads natively; cpuinfo_flags: flags of /proc/cpuinfo that it needs there. pointer_bits: 32 or
    64. integer_only: build refuses a model with a float operation left. instruction_set: the one of schedules/ that
    kernels are written for, or "native" for the best that this machine has; None: scalar code. variants: names of
    targets, the best first, whose kernels a library holds all of, to choose among them at run time.
    instruction_set_in_c: the form of it that C sources are written for, where it is another one.
    missing_arithmetic: "armv6m" where 64-bit products, shifts and division must be functions of the library.
    more_boards: emulated boards besides that of `emulator`, with less memory than tests need.
    """

    name: str
    description: str
    kind: Kind
    tvm: Mapping[str, Any] = field(hash=False)
    zig_target: str
    zig_flags: tuple[str, ...] = ()
    emulator: Emulator | None = None
    pointer_bits: int = 64
    machines: tuple[str, ...] = ()
    cpuinfo_flags: tuple[str, ...] = ()
    integer_only: bool = False
    instruction_set: str | None = None
    variants: tuple[str, ...] = ()
    instruction_set_in_c: str | None = None
    missing_arithmetic: str | None = None
    more_boards: tuple[Emulator, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tvm", MappingProxyType(dict(self.tvm)))

    @property
    def tvm_target(self) -> dict[str, Any]:
        """The dictionary for `tvm.target.Target(...)`; imports TVM only to look up the CPU of `host`."""
        target = dict(self.tvm)
        if target.get("mcpu") == "native":
            from tvm.target import codegen

            target["mcpu"] = str(codegen.llvm_get_system_cpu())
            target["mattr"] = self._attributes()
        return target

    def as_sources(self) -> Target:
        """The same target with C99 sources in the place of a static library."""
        chosen = self.instruction_set_in_c or self.instruction_set
        return replace(self, kind="sources", tvm={"kind": "c"}, instruction_set=chosen)

    def simd(self) -> str | None:
        """The name of the instruction set that kernels built now are written for."""
        if self.instruction_set != "native":
            return self.instruction_set
        flags = cpu_flags()
        return next((name for name, needed in _HOST_SIMD if needed <= flags), None)

    def _attributes(self) -> list[str]:
        """LLVM's names of what the kernels of `native` need."""
        names = {"asimddp": "dotprod", "i8mm": "i8mm", "avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni"}
        needed = dict(_HOST_SIMD).get(self.simd() or "", frozenset())
        found = sorted(
            "+" + names.get(flag, flag) for flag in needed if flag in names or flag.startswith("avx")
        )
        # With vpermb LLVM 22 rewrites the broadcast of four activations into itself for ever.
        return [*found, "-avx512vbmi"] if "avx512bw" in needed else found

    @property
    def is_bare_metal(self) -> bool:
        """True for the microcontrollers: no operating system, no dynamic linker."""
        return self.emulator is not None and self.emulator.kind == "system"

    @property
    def runs_natively(self) -> bool:
        """Whether this machine loads a library that is built now."""
        flags = cpu_flags()
        return platform.machine() in self.machines and (not flags or set(self.required_cpu_flags()) <= flags)

    def required_cpu_flags(self) -> list[str]:
        """Flags of /proc/cpuinfo that a machine must have to load a library built now for this target."""
        if self.tvm.get("mcpu") != "native":
            return list(self.cpuinfo_flags)
        return sorted(_HOST_SIMD_FLAGS & cpu_flags())

    def report_fields(self) -> dict[str, Any]:
        """The entries of report.json that follow from the target alone."""
        return {
            "target": self.name,
            "kind": self.kind,
            "emulator": self.emulator.to_report() if self.emulator else None,
            "cpu_flags": self.required_cpu_flags(),
        }


def cpu_flags() -> frozenset[str]:
    """The CPU flags of this machine, from /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


def host_triples() -> tuple[str, str]:
    """(triple for zig, triple for LLVM) of the Linux machine that runs this process."""
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        return "x86_64-linux-gnu.2.17", "x86_64-linux-gnu"
    if machine in ("aarch64", "arm64"):
        return "aarch64-linux-gnu.2.17", "aarch64-linux-gnu"
    if machine.startswith("armv"):
        return "arm-linux-gnueabihf.2.17", "armv7a-linux-gnueabihf"
    return f"{machine}-linux-gnu", f"{machine}-linux-gnu"
