"""What is inside compiled libraries: symbols, sections, instructions."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, SymbolTableSection

# For the disassembler: what the target's code may hold beyond what the file's own attributes say.
_OBJDUMP = {
    "arm": ("--mcpu=cortex-a76",),
    "arm-i8mm": ("--mcpu=cortex-a76", "--mattr=+i8mm"),
    "arm-a53": ("--mcpu=cortex-a53",),
    "armv7": ("--mcpu=cortex-a7",),
    "cortex-m4": ("--mcpu=cortex-m4",),
    "cortex-m7": ("--mcpu=cortex-m7",),
    "cortex-m55": ("--mcpu=cortex-m55",),
    "cortex-m33": ("--mcpu=cortex-m33",),
    "cortex-m85": ("--mcpu=cortex-m55",),  # older LLVMs know no Cortex-M85
}

# Instructions that compute with floats or convert from and to them. Moves of registers that only carry a float's name
# (movaps, fmov, vmov.f64, vins.f16) do not: compilers use them for integers too, and fneg to make integer constants.
_X86_FLOAT = re.compile(
    r"v?(add|sub|mul|div|sqrt|rsqrt|rcp|min|max|round|cmp\w*|u?comi|hadd|hsub|addsub|dp|fn?m(add|sub)\w*)"
    r"(ss|sd|ps|pd)z?|v?cvt\w+|f(?!ence)\w+"
)
_AARCH64_FLOAT = re.compile(r"f(?!mov|neg)\w+|[su]cvtf|bf(dot|mmla|cvt\w*|mlal\w)")
_ARM_FLOAT = re.compile(r"(?!v?mov|vins)\w+(\.\w+)*\.f(16|32|64)\b.*|vcvt\w*(\.\w+)*")
FLOAT = {
    "x86-avx512-vnni": _X86_FLOAT,
    **dict.fromkeys(("arm", "arm-i8mm", "arm-a53"), _AARCH64_FLOAT),
    **dict.fromkeys(("armv7", *(f"cortex-m{n}" for n in ("0plus", 3, 4, 7, 33, 55, 85))), _ARM_FLOAT),
    "riscv32": re.compile(r"f(?!ence)\w+(\.\w+)*"),
}


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    function: str
    mnemonic: str
    operands: str


def instructions(library: Path, target: str, objdump: str) -> list[Instruction]:
    """All instructions of a shared library or an archive, by `llvm-objdump`."""
    command = [objdump, "-d", "--no-show-raw-insn", *_OBJDUMP.get(target, ()), str(library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found, function = [], ""
    for line in text.splitlines():
        label = re.match(r"[0-9a-f]+ <(.+)>:", line)
        if label:
            function = label[1]
            continue
        code = re.match(r"\s*[0-9a-f]+:\s+(\S+)\s*(.*)", line)
        if code:
            found.append(Instruction(function, code[1], code[2]))
    return found


def float_arithmetic(code: list[Instruction], machine: re.Pattern[str]) -> list[Instruction]:
    """The instructions that compute with floats."""
    return [item for item in code if machine.fullmatch(item.mnemonic)]


def host_float(machine: str) -> re.Pattern[str]:
    """The pattern for the machine that runs the tests (platform.machine())."""
    return {"x86_64": _X86_FLOAT, "aarch64": _AARCH64_FLOAT}.get(machine, _ARM_FLOAT)


def _objects(library: Path) -> Iterator[bytes]:
    """The ELF files inside: the members of an archive, or the file itself."""
    data = library.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        yield data
        return
    position = 8
    while position < len(data):
        size = int(data[position + 48 : position + 58])
        member = data[position + 60 : position + 60 + size]
        if member.startswith(b"\x7fELF"):
            yield member
        position += 60 + size + size % 2


def _tables(library: Path) -> Iterator[SymbolTableSection]:
    import io

    for data in _objects(library):
        yield from (s for s in ELFFile(io.BytesIO(data)).iter_sections() if isinstance(s, SymbolTableSection))


def undefined_symbols(library: Path) -> set[str]:
    """Names that the library takes from elsewhere."""
    undefined: set[str] = set()
    defined: set[str] = set()
    for table in _tables(library):
        for symbol in table.iter_symbols():
            if symbol.name and symbol["st_info"]["bind"] != "STB_LOCAL":
                (undefined if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    return undefined - defined


def exported_symbols(library: Path) -> set[str]:
    """Names that a shared library offers, or the visible names of an archive."""
    names: set[str] = set()
    for table in _tables(library):
        if table.name == ".symtab" and library.suffix == ".so":
            continue
        for symbol in table.iter_symbols():
            visible = symbol["st_other"]["visibility"] == "STV_DEFAULT"
            if (
                symbol.name
                and visible
                and symbol["st_info"]["bind"] != "STB_LOCAL"
                and symbol["st_shndx"] != "SHN_UNDEF"
            ):
                names.add(symbol.name)
    return names


def sections(library: Path) -> list[tuple[Section, bytes]]:
    """Every section with its contents."""
    import io

    return [
        (section, section.data() if section["sh_type"] != "SHT_NOBITS" else b"")
        for data in _objects(library)
        for section in ELFFile(io.BytesIO(data)).iter_sections()
    ]
