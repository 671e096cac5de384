"""The table of targets."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from irnn_tvm import targets
from irnn_tvm.errors import UnknownTargetError

X86 = ("x86", "x86-avx2", "x86-avx512", "x86-avx-vnni", "x86-avx512-vnni")
CORTEX_M = tuple(f"cortex-m{n}" for n in ("0plus", 3, 4, 7, 33, 55, 85))
ALL = ("host", "arm", "arm-i8mm", "arm-a53", "armv7", *X86, *CORTEX_M, "riscv32", "c")


def test_names() -> None:
    assert targets.names() == ALL
    assert all(targets.get(name).name == name for name in ALL)
    assert targets.get(targets.get("arm")) is targets.get("arm")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("cortexm7", "cortex-m7"),
        ("cortex_m4", "cortex-m4"),
        ("ARM", "arm"),
        ("arm7", "armv7"),
        ("hots", "host"),
    ],
)
def test_typo_gets_a_suggestion(typo: str, meant: str) -> None:
    with pytest.raises(UnknownTargetError, match=f"Did you mean '{meant}'.*Targets: host, arm,"):
        targets.get(typo)


def test_nonsense_gets_the_list() -> None:
    with pytest.raises(UnknownTargetError, match=r"Unknown target 'xyzzy'\. Targets: host"):
        targets.get("xyzzy")
    with pytest.raises(UnknownTargetError, match="Unknown target None"):
        targets.get(None)  # type: ignore[arg-type]


def test_targets_cannot_be_changed() -> None:
    target = targets.get("arm")
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        target.tvm["mcpu"] = "x"  # type: ignore[index]
    assert len({targets.get(name) for name in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("flags", "instruction_set", "features"),
    [
        ("fp asimd", "neon", []),
        ("fp asimd asimddp", "neon-dotprod", ["+dotprod"]),
        ("fp asimd asimddp sve i8mm", "neon-i8mm", ["+dotprod", "+i8mm"]),
        ("sse4_2 avx", None, []),
        ("avx avx2", "avx2", ["+avx2"]),
        ("avx avx2 avx_vnni", "avx-vnni", ["+avx2", "+avxvnni"]),
        (
            "avx2 avx_vnni avx512f avx512bw avx512vl avx512dq avx512_vnni",
            "avx512-vnni",
            ["+avx512bw", "+avx512dq", "+avx512vl", "+avx512vnni", "-avx512vbmi"],
        ),
        (
            "avx2 avx512f avx512bw avx512vl avx512dq",
            "avx512",
            ["+avx512bw", "+avx512dq", "+avx512f", "+avx512vl", "-avx512vbmi"],
        ),
        ("avx2 avx512f avx512dq", "avx2", ["+avx2"]),
    ],
)
def test_host_takes_the_best_instructions_there_are(
    flags: str, instruction_set: str | None, features: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tvm")
    monkeypatch.setattr("irnn_tvm.targets.base.cpu_flags", lambda: frozenset(flags.split()))
    host = targets.get("host")
    assert host.simd() == instruction_set
    assert host.tvm_target.get("mattr") == features


def test_import_is_light() -> None:
    code = (
        "import sys, irnn_tvm.targets; "
        "print([m for m in ('torch', 'tvm', 'tvm_ffi', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ALL)
def test_tvm_accepts_the_target(name: str) -> None:
    tvm = pytest.importorskip("tvm")
    target = targets.get(name)
    built = tvm.target.Target(target.tvm_target)
    assert built.kind.name == target.tvm["kind"]
    assert target.tvm_target.get("mcpu") != "native"


@pytest.mark.parametrize("name", ALL)
def test_report_fields_are_json(name: str) -> None:
    target = targets.get(name)
    fields = json.loads(json.dumps(target.report_fields()))
    assert fields["target"] == name
    assert fields["kind"] in ("shared", "archive", "sources")
    assert (fields["emulator"] is None) == (name in ("host", "x86-avx-vnni", "c"))
    assert target.is_bare_metal == target.integer_only == (name in (*CORTEX_M, "riscv32"))
