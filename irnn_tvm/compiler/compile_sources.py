"""Compiles the C99 sources of a build for target `c` with a C compiler of this machine, and loads them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from irnn_tvm import programs
from irnn_tvm.compiler import zig_cache
from irnn_tvm.compiler.toolchain import find_zig
from irnn_tvm.errors import BuildError, LoadError, ToolNotFoundError
from irnn_tvm.runtime.library import Library
from irnn_tvm.runtime.pickling import remove_with

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def compile_c_library(directory: str | Path, cc: Sequence[str] | str | None = None) -> Library:
    """Builds the sources with `cc` and returns them as a Library that runs in this process.

    cc: a compiler's command ("gcc", ["zig", "cc"] ...); default $CC, gcc, clang, or the compiler of ziglang,
    the first that there is. The code must pass -std=c99 -Wall -Wextra -Werror -pedantic; BuildError holds the
    compiler's words. The compiled file lives as long as the Library. LoadError for a directory that holds no
    sources.
    """
    folder = Path(directory)
    report = Library(folder, _report(folder)).report
    if report["kind"] != "sources":
        raise LoadError(f"{folder} was built for {report['target']}: it holds a library, not C sources.")
    command = _compiler(cc)
    out = Path(tempfile.mkdtemp(prefix=f"irnn-{report['name']}-"))
    try:
        library = Library(out, _compile(folder, out, report, command))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    remove_with(library, out)
    return library


def _compile(folder: Path, out: Path, report: Mapping[str, Any], command: Sequence[str]) -> dict[str, Any]:
    """Fills `out` with the shared library, the header and a report, which it returns."""
    library = f"lib{report['name']}.so"
    sources = [str((folder / path).resolve()) for path in report["files"]["sources"] if path.endswith(".c")]
    options = [*STRICT, "-O2", "-fPIC", "-shared", "-I", str(folder.resolve())]
    words = [*command, *options, *sources, "-o", str(out / library)]
    with zig_cache.environment_of(command) as environment:
        done = programs.run(words, f"Compiling {report['name']}", environment=environment)
    if done.returncode != 0:
        said = done.stderr.strip()
        raise BuildError(f"{' '.join(command)} refused the sources of {report['name']}.\n{said}")
    shutil.copy(folder / report["files"]["header"], out)
    files = report["files"] | {"library": library, "sources": [], "runner": None}
    compiled = {**report, "kind": "shared", "emulator": None, "files": files}
    (out / "report.json").write_text(json.dumps(compiled, indent=1), encoding="utf-8")
    return compiled


def _compiler(cc: Sequence[str] | str | None) -> list[str]:
    wanted = cc or os.environ.get("CC")
    if wanted:
        command = wanted.split() if isinstance(wanted, str) else list(wanted)
        if shutil.which(command[0]) is None:
            raise ToolNotFoundError(f"The C compiler {command[0]!r} is not installed.")
        return command
    for name in ("gcc", "clang"):
        if shutil.which(name):
            return [name]
    return [str(find_zig()), "cc"]


def _report(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise LoadError(f"{folder} holds no readable report.json: {error}") from error
