"""The server in C++ as it is built: what is refused, what it is made of. Whole servers: test_native_device.py."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from irnn_tvm.cli import app
from irnn_tvm.errors import BuildError, InputError, ToolNotFoundError, TuningError, UnknownTargetError
from irnn_tvm.tuning.native_server import sources
from irnn_tvm.tuning.native_server.build import FLAGS, PLATFORMS, build_server, platform_of
from irnn_tvm.tuning.native_server.compiler import Compiler, cached_object

ROOT = Path(__file__).parents[2]


def test_what_has_no_server(tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError, match="Did you mean 'armv7'"):
        build_server("armv8", tmp_path / "server")
    for target in ("x86-avx2", "cortex-m4", "c", "host"):
        with pytest.raises(
            TuningError, match=f"no server is built for {target}; .* for: arm, arm-i8mm, arm-a53, armv7"
        ):
            build_server(target, tmp_path / "server")
    with pytest.raises(InputError, match="is a folder: name the file"):
        build_server("armv7", tmp_path)
    assert platform_of("arm-a53") == platform_of("arm") != platform_of("armv7")


def test_compilers_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "server"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for command, said in (
        ("no-such-clang++", "cannot be run"),
        ("", "is empty"),
        ("'clang", "is no command"),
    ):
        with pytest.raises(ToolNotFoundError, match=said):
            build_server("armv7", out, cxx=command)
    with pytest.raises(BuildError, match=r"version: false failed \(1\)"):
        build_server("armv7", out, cxx="false")
    monkeypatch.setenv("IRNN_ZIG", str(tmp_path / "zig"))
    with pytest.raises(ToolNotFoundError, match="IRNN_ZIG"):
        build_server("armv7", out)
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_for_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a compiler of this machine would be: found out by the first object, and nothing of it is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler = Compiler(PLATFORMS["armv7l"]._replace(zig=PLATFORMS["aarch64"].zig))
    source = tmp_path / "one.cc"
    source.write_text("int one() { return 1; }\n")
    with pytest.raises(BuildError, match=r"compiles for AARCH64, not ARM"):
        cached_object(compiler, source, (), (), b"")
    assert list((tmp_path / "cache" / "irnn_tvm" / "native_server").iterdir()) == []


def test_another_version_of_tvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.SUPPORTED, "apache-tvm", "0.26.0")
    with pytest.raises(
        BuildError, match=r"apache-tvm 0.26.0; here it is 0.27.*: pip install apache-tvm==0.26.0"
    ):
        build_server("armv7", tmp_path / "server")
    monkeypatch.setitem(sources.SUPPORTED, "no-such-package", "1")
    monkeypatch.delitem(sources.SUPPORTED, "apache-tvm")
    with pytest.raises(BuildError, match="here it is not installed"):
        build_server("armv7", tmp_path / "server")


def test_versions_are_those_of_the_package() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = dict(entry.split("==") for entry in dependencies if "==" in entry)
    assert {name: pinned[name] for name in sources.SUPPORTED} == sources.SUPPORTED


def test_sources_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sources.sources()
    assert len(found) == len(set(found)) > 20
    assert {path.name for path in found} >= {"rpc_endpoint.cc", "function.cc", "main.cc"}
    # TVM's package would make ours needless, or be looked up before them.
    for path in sources.stand_ins():
        assert not list(sources._package("tvm").glob(f"**/support/{path.name}")), path
    monkeypatch.setattr(sources, "_FFI", ("gone",))
    with pytest.raises(BuildError, match=r"lacks .*gone\.cc"):
        sources.sources()


@pytest.mark.parametrize("name", ["rpc_endpoint.cc", "runtime/tensor.cc"])
def test_headers_fit_the_sources(name: str, tmp_path: Path) -> None:
    """Every header of ours is included by these two."""
    [source] = [path for path in sources.sources() if path.as_posix().endswith(name)]
    compiler = Compiler(PLATFORMS["armv7l"])
    flags = [*FLAGS, *sources.include_flags(), "-O0"]
    compiler.compile(source, tmp_path / "it.o", flags)
    text = compiler._run([*flags, "-E", str(source)], "Preprocessing")
    wanted = {
        "rpc_endpoint.cc": {"arena.h", "ring_buffer.h", "utils.h", "io.h", "serializer.h"},
        "runtime/tensor.cc": {"base64.h", "bytes_io.h", "io.h", "serializer.h"},
    }[name]
    included = {Path(name).resolve() for name in re.findall(r'^# \d+ "([^"<]+)"', text, re.MULTILINE)}
    assert {path.name for path in included & set(sources.stand_ins())} == wanted


def test_objects_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled again when the source, a flag or what else matters is another, and only then."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler = Compiler(PLATFORMS["armv7l"])
    source = tmp_path / "one.cc"
    source.write_text("int one() { return 1; }\n")
    first = cached_object(compiler, source, ("-O1",), (), b"")
    before = first.stat().st_mtime_ns
    assert cached_object(compiler, source, ("-O1",), ("-I.",), b"") == first
    assert first.stat().st_mtime_ns == before
    others = {
        cached_object(compiler, source, ("-O2",), (), b""),
        cached_object(compiler, source, ("-O1",), (), b"x"),
    }
    source.write_text("int one() { return 2; }\n")
    others.add(cached_object(compiler, source, ("-O1",), (), b""))
    assert len(others - {first}) == 3


def test_command_line(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["rpc-server-build", "--help"])
    assert said.exit_code == 0
    assert "devices without Python" in said.output
    said = CliRunner().invoke(app, ["rpc-server-build", "-t", "cortex-m4", "-o", str(tmp_path / "server")])
    assert said.exit_code == 2
    assert "irnn-tvm: TuningError: no server is built for cortex-m4" in said.output
