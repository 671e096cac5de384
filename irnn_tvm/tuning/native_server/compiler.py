"""A C++ compiler for a device, and a cache of the objects that it made."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from irnn_tvm import programs
from irnn_tvm.cache import cache_folder
from irnn_tvm.compiler import zig_cache
from irnn_tvm.compiler.toolchain import find_zig
from irnn_tvm.errors import BuildError, ToolNotFoundError


class Platform(NamedTuple):
    """What devices of some targets have in common. machine: as ELF files name it; zig: options of `zig c++`.

    Nothing beyond the least CPU of the architecture is used, so that the server starts everywhere and can say what a
    device lacks.
    """

    machine: str
    zig: tuple[str, ...]


class Compiler:
    """zig's clang, or the command of a user. Raises ToolNotFoundError where it cannot be run."""

    def __init__(self, platform: Platform, command: str | None = None) -> None:
        self.platform = platform
        if command is None:
            self._words = [str(find_zig()), "c++", *platform.zig]
            self._static: list[str] = []  # zig's C++ library is always linked in
        else:
            try:
                self._words = shlex.split(command)
            except ValueError as error:
                raise ToolNotFoundError(f"--cxx {command!r} is no command: {error}") from None
            if not self._words:
                raise ToolNotFoundError("--cxx is empty: give a C++ compiler for the device")
            self._static = ["-static-libstdc++", "-static-libgcc"]

    @cached_property
    def identity(self) -> str:
        """What tells this compiler from others."""
        said = self._run(["--version"], "Asking the compiler for its version").splitlines()
        return "\n".join([*self._words[1:], *said[:1]])

    def compile(self, source: Path, out: Path, flags: Sequence[str]) -> None:
        """Writes an object."""
        self._run([*flags, "-c", str(source), "-o", str(out)], f"Compiling {source.name}")
        self.check(out)

    def link(self, objects: Sequence[Path], out: Path) -> None:
        """Writes a program that needs the C library of the device alone."""
        options = ["-Wl,--gc-sections", "-s", *self._static, "-pthread", "-ldl"]
        self._run([*map(str, objects), "-o", str(out), *options], f"Linking {out.name}")
        self.check(out)

    def check(self, path: Path) -> None:
        """Raises BuildError where a file is for other machines."""
        try:
            with path.open("rb") as file:
                found = str(ELFFile(file)["e_machine"]).removeprefix("EM_")
        except ELFError:
            found = "no ELF file"
        if found != self.platform.machine:
            raise BuildError(
                f"{shlex.join(self._words[:3])} compiles for {found}, not {self.platform.machine}"
            )

    def _run(self, arguments: Sequence[str], what: str) -> str:
        with zig_cache.environment_of(self._words) as environment:
            done = programs.run([*self._words, *arguments], what, environment=environment)
        if done.returncode:
            said = "\n".join(done.stderr.strip().splitlines()[:40])
            raise BuildError(f"{what}: {self._words[0]} failed ({done.returncode}).\n{said}")
        return done.stdout


def cached_object(
    compiler: Compiler, source: Path, flags: Sequence[str], places: Sequence[str], about: bytes
) -> Path:
    """The object of a source, compiled where it is not in the user's cache (irnn_tvm/cache.py).

    flags: what decides what an object is; places: where headers are; about: whatever else, besides the source, says
    that an object is another one.
    """
    parts = [compiler.identity.encode(), "\n".join(flags).encode(), about, source.read_bytes()]
    digest = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    folder = cache_folder() / "native_server"
    found = folder / f"{source.stem}-{digest[:32]}.o"
    if not found.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f".{found.stem}.{os.getpid()}.o"
        try:
            compiler.compile(source, made, [*flags, *places])
            made.replace(found)
        finally:
            made.unlink(missing_ok=True)
    return found
