"""Instruction counts: exact, the same every time, and differences mean what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "runtime"))
import leaky

from irnn_tvm import targets
from irnn_tvm.errors import InputError, ToolNotFoundError
from irnn_tvm.runtime import Library, load
from irnn_tvm.tuning.instruction_count import count_instructions, plugin

X, K = leaky.sample(20)


def made(name: str, tmp_path: Path, require_tool, *flags: str) -> Library:
    target = targets.get(name)
    if target.emulator:
        require_tool(target.emulator.qemu)
    return load(leaky.build(target, tmp_path / f"{name}{len(flags)}", flags))


@pytest.mark.emulator
@pytest.mark.parametrize(
    "name", ["arm", "armv7", "cortex-m0plus", "cortex-m4", "cortex-m33", "cortex-m55", "riscv32"]
)
def test_two_hundred_more_instructions_count_as_200(tmp_path: Path, require_tool, name: str) -> None:
    plain, longer = made(name, tmp_path, require_tool), made(name, tmp_path, require_tool, "-DUSE_NOPS")
    step = count_instructions(plain, "step", (X[0], K[0]))
    assert step == count_instructions(plain, "step", (X[0], K[0]))
    assert 50 < step < 500
    assert count_instructions(longer, "step", (X[0], K[0])) - step == 200
    run = count_instructions(plain, "run", (X, K), n=7)
    assert run == count_instructions(plain, "run", (X, K), n=7)
    assert run > 5 * step


def test_only_emulated_libraries_are_counted(tmp_path: Path, require_tool) -> None:
    with pytest.raises(InputError, match="counted under an emulator, and leaky runs native"):
        count_instructions(made("host", tmp_path, require_tool), "step", (X[0], K[0]))


@pytest.mark.emulator
def test_bad_requests(tmp_path: Path, require_tool, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = made("arm", tmp_path, require_tool)
    with pytest.raises(InputError, match="n must be at least 1"):
        count_instructions(lib, "step", (X[0], K[0]), n=0)
    with pytest.raises(InputError, match="an index input is out of range"):
        count_instructions(lib, "step", (X[0], K[0] + 9))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolNotFoundError, match="apt-get install qemu-user"):
        count_instructions(lib, "step", (X[0], K[0]))


def test_plugin_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = plugin()
    written = path.stat().st_mtime_ns
    assert path.parent == tmp_path / "irnn_tvm"
    assert plugin().stat().st_mtime_ns == written
    assert list(path.parent.glob("*.so")) == [path]
