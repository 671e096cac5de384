"""Where the functions and arrays of a built library lie: the symbol table of its ELF file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.errors import LoadError


@dataclass(frozen=True)
class Symbol:
    """address: as linked, the Thumb bit cleared; size in bytes; function: code, else data."""

    name: str
    address: int
    size: int
    function: bool


def symbols(path: Path) -> dict[str, Symbol]:
    """All named functions and objects of an executable or shared library; LoadError when it has no symbol table."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: dict[str, Symbol] = {}
    with path.open("rb") as file:
        elf = ELFFile(file)
        thumb = elf["e_machine"] == "EM_ARM"
        for section in elf.iter_sections():
            if not isinstance(section, SymbolTableSection) or section.name != ".symtab":
                continue
            for entry in section.iter_symbols():
                kind = entry["st_info"]["type"]
                defined = entry["st_shndx"] != "SHN_UNDEF"
                if entry.name and defined and kind in ("STT_FUNC", "STT_OBJECT"):
                    code = kind == "STT_FUNC"
                    address = int(entry["st_value"]) & ~1 if thumb and code else int(entry["st_value"])
                    found[entry.name] = Symbol(entry.name, address, int(entry["st_size"]), code)
    if not found:
        raise LoadError(f"{path.name} has no symbol table (was it stripped?): its kernels cannot be found.")
    return found


def require(table: dict[str, Symbol], names: Iterable[str], path: Path) -> None:
    """LoadError that names the symbols a file lacks."""
    missing = [name for name in names if name not in table]
    if missing:
        raise LoadError(
            f"{path.name} has no symbol {', '.join(missing)}: it is not what `build` wrote beside it."
        )
