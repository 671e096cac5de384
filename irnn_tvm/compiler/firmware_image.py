"""A firmware with one library for an emulated board: the program that layouts ship, startup code, a linker script."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from irnn_tvm.compiler import toolchain
from irnn_tvm.compiler.runner import board_script, board_sources
from irnn_tvm.errors import BuildError, EmulatorError
from irnn_tvm.runtime import Library
from irnn_tvm.runtime.emulated import board_command, find_emulator
from irnn_tvm.runtime.layouts import Package
from irnn_tvm.targets import Emulator, Target, get

TIMEOUT = 120  # seconds


@dataclass(frozen=True)
class Image:
    """A linked firmware. sections: bytes in flash and in RAM by what they are."""

    elf: Path
    target: Target
    emulator: Emulator
    flash: dict[str, int]
    ram: dict[str, int]


def boards(target: Target) -> dict[str, Emulator]:
    """The emulated boards of a target by name, its usual one first."""
    found = [target.emulator, *target.more_boards] if target.is_bare_metal else []
    return {emulator.machine: emulator for emulator in found if emulator is not None}


def link(library: Library, elf: Path, board: str | None = None) -> Image:
    """Links the library with a program that runs its self-test and calls it ten times.

    board: of `boards`. BuildError for a target without boards, an unknown board, and what does not fit its memory.
    """
    target = get(library.target)
    there_are = boards(target)
    if not there_are or library.report["kind"] != "archive":
        raise BuildError(
            f"{target.name} is no microcontroller with an emulated board: no firmware is made for it."
        )
    board = board or next(iter(there_are))
    if board not in there_are:
        raise BuildError(f"No board {board!r} with a {target.name}; there are: {', '.join(there_are)}.")
    if elf.is_dir() or not elf.parent.is_dir():
        wrong = f"{elf} is a directory" if elf.is_dir() else f"{elf.parent} is no directory"
        raise BuildError(f"the image cannot be written: {wrong}.")
    package, emulator = Package(library.directory, library.report), there_are[board]
    target = replace(target, emulator=emulator)
    assert package.archive is not None
    with tempfile.TemporaryDirectory(prefix="irnn-firmware-") as folder:
        main = Path(folder) / "main.c"
        main.write_text(package.main(), encoding="utf-8")
        code = [path for path in package.selftest if path.suffix == ".c"]
        flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", str(library.directory)]
        flags += ["-I", str(toolchain.FIRMWARE)]
        sources = [main, *code, *board_sources(target), package.archive]
        script = board_script(target, library.report.get("sections", ()), Path(folder))
        toolchain.link_executable(sources, elf, target, flags, script)
    return Image(elf, target, emulator, *_map(elf, library.name))


def run(image: Image) -> None:
    """Starts the board. EmulatorError unless the self-test passes and every call returns IRNN_OK."""
    emulator = image.emulator
    program = find_emulator(emulator.qemu, emulator.package)
    command = board_command(program, emulator.args, image.elf)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EmulatorError(
            f"{image.elf.name} on {emulator.machine} did not end within {TIMEOUT} s."
        ) from None
    if done.returncode != 0:
        words = {1: "the self-test failed", 2: "a call returned an error"}.get(
            done.returncode, "it ended early"
        )
        detail = " ".join(done.stderr.split())[:500]
        raise EmulatorError(
            f"{image.elf.name} on {emulator.machine}: {words} ({done.returncode}). {detail}".rstrip()
        )


def _map(elf: Path, name: str) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of flash and of RAM: what belongs to the library, and the rest."""
    flash = dict.fromkeys(("library code", "weights and tables", "self-test", "program and startup"), 0)
    ram = dict.fromkeys(("state", "arena", "self-test", "inputs, outputs, program"), 0)
    stored = used = 0
    with elf.open("rb") as file:
        sections = list(ELFFile(file).iter_sections())
        for section in sections:
            if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC or section.name in (".stack", ".guard"):
                continue
            if section["sh_type"] != "SHT_NOBITS":
                stored += section["sh_size"]
            if section.name in (".data", ".bss"):
                used += section["sh_size"]
        table = next(s for s in sections if isinstance(s, SymbolTableSection))
        for symbol in table.iter_symbols():
            size, label = symbol["st_size"], symbol.name
            if symbol["st_info"]["type"] == "STT_OBJECT":
                if label.startswith(("given", "expected")):
                    flash["self-test"] += size
                elif label.startswith(f"{name}_w"):
                    flash["weights and tables"] += size
                elif label in ("state", "arena"):
                    ram[label] += size
                elif label == "block":
                    ram["self-test"] += size
            elif symbol["st_info"]["type"] == "STT_FUNC" and label.startswith(
                (f"{name}_", "irnn_", "forward")
            ):
                part = "self-test" if label == f"{name}_selftest" else "library code"
                flash[part] += size
    flash["program and startup"] = stored - sum(flash.values())
    ram["inputs, outputs, program"] = used - sum(ram.values())
    return flash, ram
