"""One library for x86 on emulated CPUs: refusals of old ones, registers that nobody saves; what variants must share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import reference, sample

from irnn_tvm import Library
from irnn_tvm.compiler.abi import Interface, State, Tensor
from irnn_tvm.compiler.variants import check_same
from irnn_tvm.errors import BuildError, EmulatorError, LoadError
from irnn_tvm.targets import TARGETS

Libraries = Callable[[str, str], Library]
OnCpu = Callable[[str, str], Library]
AVX2, AVX512, VNNI = "corei7_haswell_4770", "corei7_skylake_x", "tigerlake"
LACKS = r"this CPU lacks instructions that the library needs \(code -6\)"
# In compiler/firmware/startup_x86.S, behind its last cpuid: which registers the system saves.
MASK = bytes.fromhex("0fa2 25e7000000")


@pytest.fixture
def on_cpu(library: Libraries, require_tool: Callable[[str], str]) -> OnCpu:
    """on_cpu("tagger", "tigerlake"): the one library, on an emulated PC with this CPU."""
    require_tool("bochs")
    return lambda name, cpu: _with_cpu(library(name, "x86").directory, cpu)


def _with_cpu(folder: Path, cpu: str) -> Library:
    report = json.loads((folder / "report.json").read_text())
    report["emulator"]["args"] = [cpu]
    return Library(folder, report, emulate=True)


@pytest.mark.emulator
def test_states_are_the_same_on_all(on_cpu: OnCpu) -> None:
    (ids,) = sample("tagger", 6)
    states = set()
    for cpu in (AVX2, AVX512, VNNI):
        stream = on_cpu("tagger", cpu).stream()
        stream.run(ids)
        states.add(stream.state)
    assert len(states) == 1


@pytest.mark.emulator
@pytest.mark.parametrize("cpu", ["core2_penryn_t9600", "corei5_lynnfield_750"])
def test_a_cpu_without_avx2_is_refused(cpu: str, on_cpu: OnCpu) -> None:
    """By every function, before an instruction that would trap. These have no AVX either."""
    old, (ids,) = on_cpu("tagger", cpu), sample("tagger", 3)
    with pytest.raises(EmulatorError, match=f"init function failed.*{LACKS}"):
        old.run(ids)
    stream = old.stream()
    stream.state = on_cpu("tagger", AVX2).stream().state
    calls: dict[str, Callable[[], object]] = {
        "run": lambda: stream.run(ids),
        "step": lambda: stream.step(ids[:1]),
        "reset": stream.reset,
    }
    for name, call in calls.items():
        with pytest.raises(LoadError, match=f"^{name} failed: {LACKS}"):
            call()


@pytest.mark.emulator
@pytest.mark.parametrize("saved", [0x07, 0x03])
def test_registers_that_the_system_does_not_save_are_left_alone(
    saved: int, on_cpu: OnCpu, tmp_path: Path
) -> None:
    """AVX-512 in the CPU is of no use where the system saves only the registers of AVX (7), or of SSE (3)."""
    folder = on_cpu("tagger", VNNI).export(tmp_path / "tagger")
    runner = folder / "emulator" / "runner"
    image = runner.read_bytes()
    assert image.count(MASK) == 1
    runner.write_bytes(image.replace(MASK, MASK[:3] + bytes([saved]) + MASK[4:]))
    lib, (ids,) = _with_cpu(folder, VNNI), sample("tagger", 5)
    if saved == 0x03:
        with pytest.raises(EmulatorError, match=LACKS):
            lib.run(ids)
    else:
        assert np.array_equal(lib.run(ids), reference("tagger", (ids,)))


def test_every_kernel_says_whose_it_is(library: Libraries) -> None:
    report = library("tagger", "x86").report
    for variant in report["variants"]:
        own = [kernel for kernel in report["kernels"] if kernel["variant"] == variant["target"]]
        assert own == variant["kernels"]
        assert all(kernel["name"].startswith(f"{variant['prefix']}_k_") for kernel in own)
        assert {kernel["schedule"] for kernel in own} >= {"tiles"}


IO = Interface(
    name="net",
    target="x86-avx2",
    inputs=(Tensor("x", "int8", ("T", 1, 4), 0.5, 0, row=4),),
    outputs=(Tensor("y", "int8", ("T", 1, 6), 0.25, 3, row=6),),
    states=(State(16, np.zeros((1, 6), np.int8)),),
    state_bytes=32,
    arena_bytes=64,
    streamable=True,
    feedback=(),
    fixed_steps=None,
    min_steps=1,
    max_steps=0,
    model_hash=7,
)


@pytest.mark.parametrize(
    "other",
    [
        replace(IO, states=(State(16, np.ones((1, 6), np.int8)),)),
        replace(IO, states=(State(16, np.zeros((6, 1), np.int8)),)),
        replace(IO, states=(State(16, np.zeros((1, 6), np.uint8)),)),
        replace(IO, state_bytes=48),
        replace(IO, streamable=False),
        replace(IO, model_hash=8),
        replace(IO, fixed_steps=4),
        replace(IO, outputs=(replace(IO.outputs[0], scale=0.5),)),
        replace(IO, inputs=(replace(IO.inputs[0], dtype="int16"),)),
    ],
)
def test_variants_that_differ_are_refused(other: Interface) -> None:
    with pytest.raises(BuildError, match="the variants of x86 differ in more than their kernels"):
        check_same(TARGETS["x86"], [IO, other])


def test_variants_may_differ_in_memory() -> None:
    staged = replace(IO.inputs[0], stage=128)
    check_same(
        TARGETS["x86"],
        [IO, replace(IO, name="other", target="x86-avx512", arena_bytes=256, inputs=(staged,), at_once=16)],
    )
