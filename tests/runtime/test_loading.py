"""Directories that no build left, machines that do not fit, emulators that are missing; and export."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import leaky
import numpy as np
import pytest
from leaky import Build

from irnn_tvm.errors import EmulatorError, LoadError, ToolNotFoundError
from irnn_tvm.runtime import Library, load

X, K = leaky.sample(3)


def test_runtime_imports_neither_torch_nor_tvm() -> None:
    code = (
        "import sys, irnn_tvm.runtime; "
        "print([m for m in ('torch', 'tvm', 'tvm_ffi', 'ziglang') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_directory_without_a_report(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no report"):
        load(tmp_path)
    (tmp_path / "report.json").write_text('{"abi_version": 1, "na')
    with pytest.raises(LoadError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"abi_version": 2}, "was built for version 2 of the C interface"),
        ({"files": {"library": "libother.so"}}, "incomplete: libother.so is missing"),
        ({"name": "other"}, "has no function other_init"),
        (
            {"inputs": [{"name": "x", "dtype": "float32", "shape": [1], "scale": None, "zero_point": None}]},
            "float32",
        ),
        (
            {"inputs": [{"name": "x", "dtype": "int8", "shape": ["T**9"], "scale": 1.0, "zero_point": 0}]},
            "not a dimension",
        ),
    ],
)
def test_wrong_reports(host: Library, tmp_path: Path, change: dict, words: str) -> None:
    copy = host.export(tmp_path / "copy")
    (copy / "report.json").write_text(json.dumps(host.report | change))
    with pytest.raises(LoadError, match=re.escape(words)):
        load(copy)


def test_missing_entries_are_named(host: Library) -> None:
    report = {key: value for key, value in host.report.items() if key not in ("time", "streamable")}
    with pytest.raises(LoadError, match="has no entry streamable, time"):
        Library(host.directory, report)


def test_truncated_library(host: Library, tmp_path: Path) -> None:
    copy = host.export(tmp_path / "copy")
    library = copy / "libleaky.so"
    data = library.read_bytes()
    library.unlink()
    library.write_bytes(data[:100])
    with pytest.raises(LoadError, match="cannot be loaded"):
        load(copy)
    library.write_bytes(b"text")
    with pytest.raises(LoadError, match="not an ELF shared library"):
        load(copy)


def test_host_library_of_another_machine(build: Build, host: Library, tmp_path: Path) -> None:
    """Bytes of the AArch64 build in a report without an emulator: what a copied host library looks like."""
    arm = build("arm")
    lib = Library(arm.directory, arm.report | {"target": "host", "emulator": None})
    assert "built for aarch64 and this machine is" in lib.where
    with pytest.raises(LoadError, match="leaky for host cannot run here: it was built for aarch64"):
        lib.run(X, K)


def test_missing_cpu_feature_is_refused(host: Library) -> None:
    lib = Library(host.directory, host.report | {"cpu_flags": ["avx9000"]})
    with pytest.raises(LoadError, match="uses avx9000, which this CPU does not have"):
        lib.run(X, K)


def test_sources_say_what_they_need(build: Build) -> None:
    lib = build("c")
    with pytest.raises(LoadError, match="compile_c_library"):
        lib.run(X, K)
    with pytest.raises(LoadError, match="compile_c_library"):
        lib.stream().step(X[0], K[0])


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("name", "package"), [("arm", "qemu-user"), ("armv7", "qemu-user"), ("cortex-m7", "qemu-system-arm")]
)
def test_missing_emulator_names_its_package(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    lib = build(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    again = load(lib.directory)  # reading the report needs no emulator
    with pytest.raises(ToolNotFoundError, match=f"apt-get install {package}$"):
        again.run(X, K)


@pytest.mark.emulator
def test_static_emulator_serves_as_well(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require_tool
) -> None:
    lib = build("arm")
    (tmp_path / "qemu-aarch64-static").symlink_to(require_tool("qemu-aarch64"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert np.array_equal(lib.run(X, K)[0], leaky.reference(X, K)[0])


@pytest.mark.emulator
def test_endless_program_is_stopped(build: Build) -> None:
    lib = build("cortex-m4")
    lib._engine.timeout_s = 0.001
    with pytest.raises(EmulatorError, match=r"still running after 0\.001 s"):
        lib.run(X, K)


def test_export_copies_everything(host: Library, tmp_path: Path) -> None:
    copy = host.export(tmp_path / "deep" / "copy")
    assert {path.name for path in copy.iterdir()} == {"report.json", "leaky.h", "libleaky.so"}
    assert copy.stat().st_mode & 0o077 == 0o777 & ~_umask() & 0o077
    assert np.array_equal(load(copy).run(X, K)[0], leaky.reference(X, K)[0])
    host.export(copy)  # replaces an earlier one
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    assert load(copy).export(copy) == copy  # onto itself


def test_export_overwrites_nothing_else(host: Library, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LoadError, match="holds other files"):
        host.export(tmp_path)
    with pytest.raises(LoadError, match="not a directory"):
        host.export(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.emulator
def test_exported_emulated_library_runs(build: Build, tmp_path: Path) -> None:
    copy = build("cortex-m55").export(tmp_path / "copy")
    assert np.array_equal(load(copy).run(X, K)[0], leaky.reference(X, K)[0])


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
