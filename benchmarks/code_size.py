"""What a shared library holds beside its weights, by ELF section."""

from __future__ import annotations

import re
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


def code_size(library: Path, name: str) -> dict[str, int]:
    """Bytes that are loaded from the library of this name, and the size of the file.

    code_bytes: sections of instructions. weight_bytes: the network's constants, NAME_w0 and so on. constant_bytes:
    other read-only data. other_bytes: tables of the dynamic linker and for unwinding, writable data.
    beside_weights_bytes: all but the weights. file_bytes: all of the file, with symbols and what debuggers read.
    """
    code = constants = other = 0
    weight = re.compile(re.escape(name) + r"_w\d+")
    with library.open("rb") as file:
        elf = ELFFile(file)
        for section in elf.iter_sections():
            flags, size = section["sh_flags"], section["sh_size"]
            if not flags & SH_FLAGS.SHF_ALLOC or section["sh_type"] == "SHT_NOBITS":
                continue
            if flags & SH_FLAGS.SHF_EXECINSTR:
                code += size
            elif section.name.startswith(".rodata"):
                constants += size
            else:
                other += size
        symbols = elf.get_section_by_name(".symtab")
        if not isinstance(symbols, SymbolTableSection):
            raise ValueError(f"{library.name} has no symbols: weights cannot be told from code")
        weights = sum(symbol["st_size"] for symbol in symbols.iter_symbols() if weight.fullmatch(symbol.name))
    return {
        "code_bytes": code,
        "constant_bytes": constants - weights,
        "other_bytes": other,
        "beside_weights_bytes": code + constants + other - weights,
        "weight_bytes": weights,
        "file_bytes": library.stat().st_size,
    }
