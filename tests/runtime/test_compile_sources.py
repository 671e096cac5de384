"""The C99 sources of target `c`, compiled by whatever C compiler there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import leaky
import numpy as np
import pytest
from leaky import Build

from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.compiler.toolchain import find_zig
from irnn_tvm.errors import BuildError, LoadError, ToolNotFoundError


@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_compiled_sources_equal_the_reference(build: Build, require_tool, compiler: str) -> None:
    if compiler == "clang" and shutil.which("clang") is None:
        pytest.skip("clang is not installed; it is not required, zig's is the same compiler")
    cc = [str(find_zig()), "cc"] if compiler == "zig" else require_tool(compiler)
    lib = compile_c_library(build("c").directory, cc)
    x, k = leaky.sample(50)
    y, last = lib.run(x, k)
    assert np.array_equal(y, leaky.reference(x, k)[0])
    assert np.array_equal(last, leaky.reference(x, k)[1])
    assert not lib.emulated


def test_compiled_files_go_with_the_library(build: Build) -> None:
    lib = compile_c_library(build("c").directory)
    place = lib.directory
    assert place.is_dir()
    del lib
    assert not place.exists()


def test_warnings_are_errors(build: Build, tmp_path: Path) -> None:
    copy = build("c").export(tmp_path / "copy")
    source = copy / "leaky.c"
    source.write_text(source.read_text() + "\nint leaky_unused(int a) { return 0; }\n")
    with pytest.raises(BuildError, match="refused the sources of leaky"):
        compile_c_library(copy)


def test_missing_compiler(build: Build) -> None:
    with pytest.raises(ToolNotFoundError, match="no-such-cc"):
        compile_c_library(build("c").directory, "no-such-cc")


def test_other_kinds_are_refused(host) -> None:
    with pytest.raises(LoadError, match="not C sources"):
        compile_c_library(host.directory)


def test_zig_is_the_last_resort(build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("gcc") is None
    x, k = leaky.sample(2)
    assert np.array_equal(compile_c_library(build("c").directory).run(x, k)[0], leaky.reference(x, k)[0])
