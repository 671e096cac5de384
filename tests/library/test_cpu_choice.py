"""Which kernels a library for x86 takes on CPUs that no machine here and no emulator is: its own C, told of others."""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from irnn_tvm import Library
from irnn_tvm.compiler import cpuid, toolchain
from irnn_tvm.errors import BuildError
from irnn_tvm.targets import TARGETS
from irnn_tvm.targets.base import X86_64_V3, X86_64_V4, cpu_flags

VARIANTS = TARGETS["x86"].variants
FUNCTIONS = ("init", "reset", "run", "step", "save", "restore")
E_NULL, E_CPU = -1, -6
SSE, AVX, AVX512 = 0x3, 0x7, 0xE7  # what the operating system saves
HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 code is called")


def _compile(source: str, folder: Path) -> ctypes.CDLL:
    path = folder / "test.c"
    path.write_text(source)
    flags = ["-shared", "-fPIC", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined"]
    flags += ["-fno-sanitize-recover=all", "-fsanitize-trap=all"]
    toolchain.run_zig(["cc", *flags, path, "-o", folder / "libtest.so"], "Compiling a test")
    return ctypes.CDLL(str(folder / "libtest.so"))


class Cpu:
    """The choice of the tagger's library, on a CPU that is made up. Kernels are replaced by their variant's number."""

    def __init__(self, library: Library, folder: Path) -> None:
        text = (library.directory / "tagger.c").read_text()
        assert cpuid.INSTRUCTIONS in text
        text = text.replace(cpuid.INSTRUCTIONS, '#include "pretended_cpu.c"\n')
        declared = re.findall(
            r"^extern int ((\w+)_(?:init|reset|run|step|save|restore))\((.*)\);$", text, re.MULTILINE
        )
        prefixes = list(dict.fromkeys(prefix for _, prefix, _ in declared))
        assert len(declared) == len(FUNCTIONS) * len(VARIANTS)
        stubs = [
            f"int {name}({parameters}) {{ {self._unused(parameters)} return {100 + prefixes.index(prefix)}; }}"
            for name, prefix, parameters in declared
        ]
        forget = "void forget(void) { chosen = NULL; }"
        (folder / "pretended_cpu.c").write_text((HERE / "pretended_cpu.c").read_text())
        (folder / "tagger.h").write_text((library.directory / "tagger.h").read_text())
        self._cdll = _compile("\n".join([text, *stubs, forget]), folder)
        self._cdll.tagger_variant.restype = ctypes.c_char_p

    @staticmethod
    def _unused(parameters: str) -> str:
        return " ".join(f"(void){parameter.split()[-1].lstrip('*')};" for parameter in parameters.split(","))

    def become(
        self, flags: Sequence[str], state: int, last: int = 0x20, of_7: int = 1, extended: int = 0x80000008
    ) -> None:
        self._cdll.pretend(*(ctypes.c_uint32(n) for n in (last, of_7, extended, state)))
        for flag in flags:
            assert self._cdll.has(flag.encode()), flag
        self._cdll.forget()

    def call(self, function: str) -> int:
        pointers = {"init": 1, "reset": 1, "run": 5, "step": 4, "save": 2, "restore": 2}[function]
        return int(getattr(self._cdll, f"tagger_{function}")(*[None] * pointers))

    def choose(self, name: str | None) -> int:
        return int(self._cdll.tagger_choose(None if name is None else name.encode()))

    @property
    def variant(self) -> str:
        return str(self._cdll.tagger_variant().decode())

    @property
    def looks(self) -> int:
        return int(self._cdll.looks())


@pytest.fixture(scope="module")
def cpu(library: Callable[[str, str], Library], tmp_path_factory: pytest.TempPathFactory) -> Cpu:
    return Cpu(library("tagger", "x86"), tmp_path_factory.mktemp("cpu"))


V3, V4 = (*X86_64_V3, "osxsave"), (*X86_64_V4, "osxsave")
VNNI, WIDE, NARROW, AVX2 = VARIANTS
CPUS: dict[str, tuple[tuple[str, ...], dict[str, int], str]] = {
    "haswell": (V3, dict(state=AVX, last=0xD, of_7=0), AVX2),
    "alder-lake": ((*V3, "avx_vnni"), dict(state=AVX), NARROW),
    "skylake-x": (V4, dict(state=AVX512, of_7=0), WIDE),
    "cascade-lake": ((*V4, "avx512_vnni"), dict(state=AVX512, of_7=0), VNNI),
    "sapphire-rapids": ((*V4, "avx512_vnni", "avx_vnni"), dict(state=AVX512), VNNI),
    # Wide registers that the operating system does not save.
    "sapphire-rapids-saving-avx": ((*V4, "avx512_vnni", "avx_vnni"), dict(state=AVX), NARROW),
    "cascade-lake-saving-avx": ((*V4, "avx512_vnni"), dict(state=AVX), AVX2),
    "cascade-lake-without-masks": ((*V4, "avx512_vnni"), dict(state=AVX512 & ~0x20), AVX2),
    "haswell-saving-sse": (V3, dict(state=SSE), ""),
    "haswell-without-osxsave": (X86_64_V3, dict(state=AVX), ""),
    # A leaf beyond the last one says something else.
    "limited-cpuid": (V3, dict(state=AVX, last=3), ""),
    "no-cpuid-1": ((), dict(state=AVX, last=0), ""),
    "no-extended-leaf": (V3, dict(state=AVX, extended=0x80000000), ""),
    "alder-lake-without-subleaf": ((*V3, "avx_vnni"), dict(state=AVX, of_7=0), AVX2),
    "nothing": ((), dict(state=0), ""),
}


@pytest.mark.parametrize("name", CPUS)
def test_which_kernels_are_taken(name: str, cpu: Cpu) -> None:
    flags, rest, expected = CPUS[name]
    cpu.become(flags, **rest)
    for function in FUNCTIONS:
        assert cpu.call(function) == (100 + VARIANTS.index(expected) if expected else E_CPU)
    assert cpu.variant == expected
    assert cpu.looks > 0  # -1: xgetbv where it is an illegal instruction


@pytest.mark.parametrize("first", FUNCTIONS)
def test_whichever_function_is_called_first(first: str, cpu: Cpu) -> None:
    cpu.become(V4, AVX512)
    assert cpu.call(first) == 100 + VARIANTS.index(WIDE)
    looks = cpu.looks
    assert looks > 0
    assert all(cpu.call(function) == 100 + VARIANTS.index(WIDE) for function in FUNCTIONS)
    assert cpu.looks == looks  # once is enough
    cpu.become((), 0)
    assert cpu.call(first) == E_CPU


@pytest.mark.parametrize("name", VARIANTS)
def test_every_flag_counts(name: str, cpu: Cpu) -> None:
    """One that is missing, and the operating system's part: other kernels, or none."""
    needed = TARGETS[name].cpuinfo_flags
    others = [other for other in VARIANTS if set(TARGETS[other].cpuinfo_flags) < set(needed)]
    for missing in (*needed, "osxsave"):
        flags = {*needed, "osxsave"} - {missing}
        cpu.become(sorted(flags), AVX512)
        left = [other for other in others if {*TARGETS[other].cpuinfo_flags, "osxsave"} <= flags]
        assert cpu.variant == (left[0] if left else ""), missing
        assert cpu.choose(name) == E_CPU, missing


def test_choosing(cpu: Cpu) -> None:
    cpu.become(V4, AVX512)
    assert [cpu.choose(name) for name in VARIANTS] == [E_CPU, 0, E_CPU, 0]
    assert (cpu.variant, cpu.call("step")) == (AVX2, 100 + VARIANTS.index(AVX2))
    for wrong in (VNNI, NARROW, "", "x86", "x86-avx", "x86-avx512x", "x86-avx2 "):
        assert cpu.choose(wrong) == E_CPU
        assert cpu.variant == AVX2  # as it was
    assert cpu.choose(None) == E_NULL
    assert cpu.choose(WIDE) == 0
    assert cpu.call("run") == 100 + VARIANTS.index(WIDE)
    cpu.become((), 0)
    assert [cpu.choose(name) for name in VARIANTS] == [E_CPU] * len(VARIANTS)


def test_this_cpu_is_what_linux_says(tmp_path: Path) -> None:
    flags = cpu_flags()
    if not flags:
        pytest.skip("this system does not say what its CPU has")
    source = ["#include <stdint.h>", cpuid.INSTRUCTIONS, cpuid.LOOK, "void ask(uint32_t *f) { look(f); }"]
    found = (ctypes.c_uint32 * cpuid.WORDS)()
    _compile("\n".join(source), tmp_path).ask(found)
    for flag in cpuid.BITS:
        # Linux leaves out what it does not save registers for, and so do the needs of a flag.
        has = all(word & mask == mask for word, mask in zip(found, cpuid.needs([flag]), strict=True))
        assert has == (flag in flags), flag


def test_every_variant_is_known() -> None:
    """A new variant is a target and its name in the list: what it needs follows."""
    for name in VARIANTS:
        assert sum(cpuid.needs(TARGETS[name].cpuinfo_flags))
        assert set(TARGETS["x86"].cpuinfo_flags) <= set(TARGETS[name].cpuinfo_flags)
    assert TARGETS["x86"].cpuinfo_flags == TARGETS[VARIANTS[-1]].cpuinfo_flags
    with pytest.raises(BuildError, match="does not know where a CPU says that it has avx9000"):
        cpuid.needs(["avx2", "avx9000"])
