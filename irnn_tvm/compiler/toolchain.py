"""Compiles, archives and links for every target with the clang inside the `ziglang` package.

No cross compiler of the system is needed. Every function takes an `irnn_tvm.targets.Target`, writes the file
that it names, and raises BuildError with the compiler's own words, or ToolNotFoundError without a compiler.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from irnn_tvm import programs
from irnn_tvm.compiler import zig_cache
from irnn_tvm.compiler.arm_attributes import mark_float_abi_independent
from irnn_tvm.errors import BuildError, ResourceError, ToolNotFoundError
from irnn_tvm.targets import Target

FIRMWARE = Path(__file__).parent / "firmware"

# Objects carry no paths and no dates, so that the same model gives the same bytes on every machine.
_COMMON = ("-O2", "-g0", "-fno-sanitize=all", "-fno-stack-protector", "-Wno-unused-command-line-argument")
# Visibility is the linker's: link_shared exports what it is told to and hides everything else.
_LIBRARY = ("-ffunction-sections", "-fdata-sections", "-fno-semantic-interposition", "-fno-strict-aliasing")
_NO_UNWIND = ("-fno-exceptions", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_LINK = ("-O2", "-nostdlib")
_SUPPORT = "-lcompiler_rt"
_NO_SPACE = ("NoSpaceLeft", "No space left", "DiskQuota", "Disk quota")
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class DoesNotFitError(BuildError):
    """A program for an emulated board is larger than the board's memory."""


def find_zig() -> Path:
    """Path of the zig program: $IRNN_ZIG when it is set, else the one of the ziglang package."""
    override = os.environ.get("IRNN_ZIG")
    if override:
        path = Path(override)
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise ToolNotFoundError(
                f"IRNN_ZIG is set to {override!r}, which is not a program that can be run."
            )
        return path
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "zig"
        if path.is_file():
            return path
    raise ToolNotFoundError("The compiler is missing: `pip install ziglang` provides it.")


def run_zig(arguments: Sequence[str | Path], what: str, cwd: Path | None = None) -> str:
    """Runs `zig ARGUMENTS`, returns its stdout. `what` names the job in the BuildError, also of one that is not done in
    time (irnn_tvm/programs.py)."""
    command = [str(find_zig()), *map(str, arguments)]
    with zig_cache.environment() as environment:
        done = programs.run(command, what, cwd=cwd, environment=environment)
    if done.returncode != 0:
        if any(words in done.stderr for words in _NO_SPACE):
            cache, temporary = environment[zig_cache.GLOBAL], environment["TMPDIR"]
            raise ResourceError(
                f"{what}: no space is left in the compiler's cache {cache} (XDG_CACHE_HOME), in {temporary} (TMPDIR), "
                "or where the library is written."
            )
        said = done.stderr.strip()
        raise BuildError(f"{what}: zig {arguments[0]} failed ({done.returncode}).\n{said}")
    return done.stdout


def compile_object(source: Path, out_obj: Path, target: Target, flags: Iterable[str] = ()) -> Path:
    """Compiles one C or assembly source into a relocatable object with the library's settings."""
    run_zig(
        ["cc", "-c", source, "-o", out_obj, *_compile_flags(target), *flags],
        f"Compiling {source.name} for {target.name}",
    )
    return out_obj


def compile_c(
    sources: Iterable[Path], out_dir: Path, target: Target, flags: Iterable[str] = ()
) -> list[Path]:
    """Compiles C sources into objects of the same stem in `out_dir`; returns them in the same order."""
    out_dir.mkdir(parents=True, exist_ok=True)
    flags = list(flags)
    return [compile_object(path, out_dir / f"{path.stem}.o", target, flags) for path in sources]


def assemble_weights(
    blobs: Mapping[str, bytes | memoryview | Path],
    out_obj: Path,
    target: Target,
    align: int = 16,
    aliases: Mapping[str, str] | None = None,
    sections: Mapping[str, str] | None = None,
) -> Path:
    """An object that holds each blob as a hidden read-only array named by its key, aligned to `align` bytes.

    aliases: further names of arrays; sections: of arrays that shall not lie in .rodata, where each has SECTION.KEY.

    A 2 MB array takes as long as a copy of it: nothing is written as C text. Declare in C:
    `extern const int8_t KEY[] __attribute__((visibility("hidden")));`
    """
    lines = []
    with tempfile.TemporaryDirectory(prefix="irnn-weights-") as folder:
        for index, (symbol, blob) in enumerate(blobs.items()):
            if not _SYMBOL.match(symbol):
                raise BuildError(f"{symbol!r} is not a C identifier and cannot name an array of weights.")
            data = blob.read_bytes() if isinstance(blob, Path) else bytes(blob)
            path = Path(folder) / f"{index}.bin"
            path.write_bytes(data)
            lines += [
                f'.section {(sections or {}).get(symbol, ".rodata")}.{symbol},"a",%progbits',
                f".global {symbol}",
                f".hidden {symbol}",
                f".type {symbol}, %object",
                f".balign {align}",
                f"{symbol}:",
                f'.incbin "{path.name}"' if data else ".byte 0",
                f".size {symbol}, {max(len(data), 1)}",
            ]
        for alias, symbol in (aliases or {}).items():
            lines += [f".global {alias}", f".hidden {alias}", f".set {alias}, {symbol}"]
        lines.append('.section .note.GNU-stack,"",%progbits')
        source = Path(folder) / "weights.S"
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        run_zig(
            ["cc", "-c", source.name, "-o", out_obj.resolve(), *_target_flags(target), "-g0"],
            f"Assembling the weights for {target.name}",
            cwd=Path(folder),
        )
    return out_obj


def archive(objects: Iterable[Path], out_lib: Path) -> Path:
    """A static library of the objects, with an index and without dates.

    32-bit ARM objects are marked (in place) as independent of the float ABI: the library holds integer code.
    """
    objects = list(objects)
    if len({path.name for path in objects}) != len(objects):
        raise BuildError(f"{out_lib.name}: two objects have the same file name, one would replace the other.")
    for path in objects:
        mark_float_abi_independent(path)
    out_lib.unlink(missing_ok=True)
    run_zig(["ar", "rcsD", out_lib, *objects], f"Writing {out_lib.name}")
    return out_lib


def link_shared(
    objects: Iterable[Path],
    out_lib: Path,
    target: Target,
    exports: Iterable[str],
    libraries: Iterable[str] = (),
) -> Path:
    """A shared library that exports exactly `exports` and needs none but `libraries`, not even libc.

    memcpy, 64-bit division and the like are linked in from zig's compiler-rt, so that the same file loads on
    any Linux (glibc, musl, Android). A symbol that stays undefined is a BuildError.
    """
    with tempfile.TemporaryDirectory(prefix="irnn-link-") as folder:
        script = Path(folder) / "exports.map"
        symbols = " ".join(f"{name};" for name in sorted(set(exports)))
        script.write_text(f"{{ global: {symbols} local: *; }};\n", encoding="utf-8")
        # TVM describes every kernel's loops to debuggers, in up to a tenth of the file. zig's --strip-debug would take
        # the symbols, too, by which sizes and profiles tell kernels from weights.
        sections = Path(folder) / "sections.ld"
        sections.write_text(
            "SECTIONS { /DISCARD/ : { *(.debug_*) } } INSERT AFTER .comment;\n", encoding="utf-8"
        )
        options = [
            f"-Wl,-T,{sections}",
            "-Wl,--gc-sections",
            "-Wl,-z,defs",
            "-Wl,--build-id=none",
            "-Wl,-z,noexecstack",
        ]
        options += [f"-Wl,--version-script={script}", f"-Wl,-soname,{out_lib.name}"]
        settings = [*_target_flags(target), *_NO_UNWIND, *_LINK, _SUPPORT]
        run_zig(
            ["cc", "-shared", *settings, "-o", out_lib, *objects, *libraries, *options],
            f"Linking {out_lib.name} for {target.name}",
        )
    return out_lib


def link_executable(
    sources: Iterable[Path],
    out_elf: Path,
    target: Target,
    flags: Iterable[str] = (),
    linker_script: Path | None = None,
    *,
    support: bool = True,
) -> Path:
    """A static program without a C library, from C sources, objects and archives.

    The sources hold the entry: startup code and `linker_script` on bare metal, _start on Linux. support: compiler-rt is
    linked in for memcpy, division and the like.
    """
    options = [*_target_flags(target), *_COMMON, *_NO_UNWIND, *_LINK, "-static", "-ffreestanding"]
    options += [_SUPPORT] if support else []
    # Where there are shared libraries, the code of programs is like theirs, so that both are linked with the same
    # compiler-rt: the compiler makes one per setting, which takes longer than a build.
    options.append("-fno-pic" if target.is_bare_metal else "-fPIC")
    options += ["-isystem", str(FIRMWARE / "include"), "-Wl,--gc-sections", "-Wl,--build-id=none"]
    if linker_script is not None:
        options.append(f"-Wl,-T,{linker_script}")
    elif target.is_bare_metal:
        raise BuildError(f"A {target.name} program needs a linker script.")
    try:
        run_zig(
            ["cc", *sources, "-o", out_elf, *options, *flags], f"Linking {out_elf.name} for {target.name}"
        )
    except BuildError as error:
        too_large = _OVERFLOW.search(str(error))
        if too_large is None or linker_script is None:
            raise
        raise DoesNotFitError(_too_large(too_large, target, linker_script)) from None
    return out_elf


_OVERFLOW = re.compile(r"section '([^']+)' will not fit in region '(\w+)': overflowed by (\d+) bytes")
_HELD = {".rodata": "weights and tables", ".text": "code", ".bss": "buffers", ".data": "buffers"}


def _too_large(found: re.Match[str], target: Target, script: Path) -> str:
    """What does not fit where, from the linker's words and the script of the board."""
    section, region, over = found[1], found[2], int(found[3])
    size = re.search(rf"\b{region}\b.*LENGTH = (\d+[KM]?)", script.read_text(encoding="utf-8"))
    there_is = f"the {size[1]} bytes that the board has for them" if size else "the board's memory"
    board = target.emulator.machine if target.emulator is not None else "board"
    what = _HELD.get(section, section)
    return f"its {what} are {over:,} bytes too large for the emulated {board}: more than {there_is}"


def flat_image(program: Path, out: Path) -> None:
    """The memory that a linked program occupies, from its first byte on."""
    with program.open("rb") as file:
        sections = [
            (int(section["sh_addr"]), section.data())
            for section in ELFFile(file).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS"
        ]
    first = min(address for address, _ in sections)
    image = bytearray(max(address + len(data) for address, data in sections) - first)
    for address, data in sections:
        image[address - first : address - first + len(data)] = data
    out.write_bytes(image)


def _target_flags(target: Target) -> list[str]:
    return ["-target", target.zig_target, *target.zig_flags]


def _compile_flags(target: Target) -> list[str]:
    flags = [*_target_flags(target), *_COMMON, *_LIBRARY, *_NO_UNWIND]
    if target.is_bare_metal:
        # Enumerations as small as arm-none-eabi-gcc makes them: none is in an interface, but its linker compares.
        return [*flags, "-ffreestanding", "-fno-pic", "-fshort-enums", "-isystem", str(FIRMWARE / "include")]
    return [*flags, "-fPIC"]
