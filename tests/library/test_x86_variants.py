"""Target x86: one library that chooses its kernels when it runs; whichever it takes, the integers are the same."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from every_target import runnable
from samples import integer_model, reference, sample
from sampling import sampled
from torch import nn

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.compiler.build_library import build
from irnn_tvm.errors import EmulatorError, LoadError, ToolNotFoundError
from irnn_tvm.profiling.accounting import work
from irnn_tvm.runtime.native import NativeEngine
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import measure
from irnn_tvm.tuning.instruction_count import count_instructions

Libraries = Callable[[str, str], Library]
NAMES = TARGETS["x86"].variants
HERE = [name for name in NAMES if TARGETS[name].runs_natively]
natively = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not HERE, reason="this machine has no AVX2"
)


@pytest.fixture
def tagger(library: Libraries) -> Iterator[Library]:
    built = library("tagger", "x86")
    yield built
    if HERE:
        built.choose(HERE[0])


@natively
def test_the_best_one_is_taken(library: Libraries) -> None:
    """In a process of its own, since tests choose others."""
    folder = library("tagger", "x86").directory
    code = f"import irnn_tvm.runtime; print(irnn_tvm.runtime.load({str(folder)!r}).variant)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == HERE[0]


@natively
@pytest.mark.parametrize("name", sampled(["tagger", "encoder"], 2))
@pytest.mark.parametrize("variant", NAMES)
def test_every_variant_that_this_cpu_can_run(name: str, variant: str, library: Libraries) -> None:
    built = library(name, "x86")
    if variant not in HERE:
        with pytest.raises(LoadError, match=f"cannot run the kernels '{variant}'"):
            built.choose(variant)
        return
    built.choose(variant)
    assert built.variant == variant
    for steps in (1, 2, 7, 40, 1):
        inputs = sample(name, steps, seed=steps)
        assert np.array_equal(built.run(*inputs), reference(name, inputs))
    if built.streamable:
        (ids,) = sample(name, 20)
        got = built.stream().steps(ids[t : t + 1] for t in range(20))
        assert np.array_equal(np.concatenate(got), reference(name, (ids,)))
    built.choose(HERE[0])


@natively
def test_a_stream_goes_on_with_other_kernels(tagger: Library) -> None:
    (ids,) = sample("tagger", 12)
    stream, got = tagger.stream(), []
    for t in range(12):
        tagger.choose(HERE[t % len(HERE)])
        got.append(np.array(stream.step(ids[t : t + 1])))
    assert np.array_equal(np.concatenate(got), reference("tagger", (ids,)))


def test_what_is_no_variant_is_refused(library: Libraries) -> None:
    with pytest.raises(LoadError, match=r"no kernels 'x86-mmx': it has x86-avx512-vnni, x86-avx512, "):
        library("tagger", "x86").choose("x86-mmx")
    with pytest.raises(LoadError, match="it has one set of kernels"):
        library("tagger", "host").choose("x86-avx2")
    assert library("tagger", "host").variant is None


def test_the_interface_is_all_that_is_seen(library: Libraries) -> None:
    from elftools.elf.elffile import ELFFile

    built = library("tagger", "x86")
    with (built.directory / "libtagger.so").open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        seen = {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s.name}
    called = ("init", "reset", "step", "run")
    assert seen == {
        *(f"tagger_{function}" for function in (*called, "init_for", "save", "restore", "variant", "choose")),
        *(f"__tvm_ffi_{function}" for function in called),
    }


def test_constants_of_several_variants_are_stored_once(library: Libraries) -> None:
    report = library("tagger", "x86").report
    each = [variant["weight_bytes"] for variant in report["variants"]]
    assert [variant["target"] for variant in report["variants"]] == list(NAMES)
    assert max(each) < report["weight_bytes"] < sum(each)
    assert report["code_bytes"] > sum(variant["code_bytes"] for variant in report["variants"])
    stored = {constant["name"]: constant for constant in report["constants"]}
    assert sum(constant["bytes"] for constant in stored.values()) == report["weight_bytes"]
    for variant in report["variants"]:
        for weight in variant["weights"]:
            constant = stored[weight["stored_as"]]
            assert (constant["bytes"], variant["target"] in constant["variants"]) == (weight["bytes"], True)
    # Embedding and tables are the same for all, weights of a recurrent layer are packed in other orders.
    table, matrix = report["variants"][0]["weights"][:2]
    assert stored[table["stored_as"]]["variants"] == list(NAMES)
    assert stored[matrix["stored_as"]]["variants"] == [NAMES[0]]
    names = [kernel["name"] for kernel in report["kernels"]]
    assert len(set(names)) == len(names)


def test_profiles_are_of_one_set_of_kernels(library: Libraries) -> None:
    with pytest.raises(LoadError, match="profile one that was built for x86-avx512-vnni, "):
        work(library("tagger", "x86").report, 1)


class Wide(nn.Module):
    """Products that are large enough for threads to share them."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(360, 370)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


@pytest.mark.exhaustive
def test_threads_share_the_work_in_all_variants(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wide = irnn_tvm.quantize(Wide().eval(), [torch.randn(6, 1, 360) for _ in range(2)])
    built = build(wide, "x86", out=tmp_path / "threads", name="wide", threads=2)
    assert built.report["threads"] == 2
    for variant in built.report["variants"]:
        text = (built.directory / f"{variant['prefix']}.c").read_text()
        split = set(re.findall(r"static void \w+_k_(\w+)_parallel\(", text))
        assert split == {"lstm_step", "lstm_step_inputs", "lstm_step_single"}
    (x,) = (q.numpy() for q in wide.quantize_inputs(torch.randn(18, 1, 360)))
    expected = wide(torch.from_numpy(x)).numpy()
    for name in HERE:
        built.choose(name)
        for _ in range(2):  # the threads have been started, or have gone to sleep
            assert np.array_equal(built.run(x), expected)
        rows = built.stream().steps(x[t : t + 1] for t in range(3))
        assert np.array_equal(np.concatenate(rows), expected[:3])


def _on(built: Library, cpu: str) -> Library:
    """The library on an emulated PC with this CPU."""
    report = json.loads((built.directory / "report.json").read_text())
    report["emulator"]["args"] = [cpu]
    return Library(built.directory, report, emulate=True)


@pytest.mark.emulator
def test_emulated_cpus_get_the_kernels_that_they_can_run(
    library: Libraries, require_tool: Callable[[str], str]
) -> None:
    """Wrong ones would trap. Kernels with VNNI need less than half as many instructions as those with AVX2."""
    require_tool("bochs")
    built, (ids,), inputs = library("tagger", "x86"), sample("tagger", 9), sample("encoder", 9)
    expected = reference("tagger", (ids,))
    counts = {}
    for cpu in ("corei7_haswell_4770", "corei7_skylake_x", "tigerlake"):
        emulated = _on(built, cpu)
        assert np.array_equal(emulated.run(ids), expected)
        steps = emulated.stream().steps(ids[t : t + 1] for t in range(9))
        assert np.array_equal(np.concatenate(steps), expected)
        assert np.array_equal(_on(library("encoder", "x86"), cpu).run(*inputs), reference("encoder", inputs))
        counts[cpu] = count_instructions(emulated, "run", [ids])
    assert counts["tigerlake"] < 0.75 * counts["corei7_skylake_x"] < 0.75 * counts["corei7_haswell_4770"]


@pytest.mark.emulator
def test_a_saved_state_goes_on_elsewhere(library: Libraries, require_tool: Callable[[str], str]) -> None:
    """From CPU to CPU, of which each has other kernels; the first is this one where it can be."""
    require_tool("bochs")
    built, (ids,) = library("tagger", "x86"), sample("tagger", 12)
    places = [_on(built, cpu) for cpu in ("tigerlake", "corei7_haswell_4770", "corei7_skylake_x")]
    if HERE:
        built.choose(HERE[-1])
        places.insert(0, built)
    size = len(ids) // len(places)
    state, got = None, []
    for number, place in enumerate(places):
        stream = place.stream()
        if state is not None:
            stream.state = state
        part = ids[size * number : size * (number + 1)]
        got += [stream.run(part[:-1]), stream.step(part[-1:])]
        state = stream.state
    if HERE:
        built.choose(HERE[0])
    assert np.array_equal(np.concatenate(got), reference("tagger", (ids,)))


@pytest.mark.emulator
@pytest.mark.exhaustive
def test_kernels_with_avx_vnni_beside_others(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """In the encoding of AVX-512, since no emulator knows their own: one has to have both."""
    require_tool("bochs")
    several = replace(TARGETS["x86"], variants=(runnable("x86-avx-vnni"), TARGETS["x86-avx2"]))
    built = build(integer_model("encoder"), several, out=tmp_path / "encoder", name="encoder")
    inputs = sample("encoder", 9)
    counts = {}
    for cpu in ("tigerlake", "corei7_haswell_4770"):
        emulated = _on(built, cpu)
        assert np.array_equal(emulated.run(*inputs), reference("encoder", inputs))
        counts[cpu] = count_instructions(emulated, "run", list(inputs))
    assert counts["tigerlake"] != counts["corei7_haswell_4770"]


@pytest.mark.emulator
def test_a_cpu_without_avx2_is_refused(library: Libraries, require_tool: Callable[[str], str]) -> None:
    require_tool("bochs")
    built, (ids,) = library("tagger", "x86"), sample("tagger", 3)
    with pytest.raises(EmulatorError, match="init function failed"):
        _on(built, "trinity_apu").run(ids)


@natively
def test_where_it_cannot_run_it_says_why(
    library: Libraries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As if this CPU were an old one, for the library and for Linux."""
    built, (ids,) = library("tagger", "x86"), sample("tagger", 3)
    alone = built.report | {"emulator": None}
    without = Library(built.directory, alone | {"cpu_flags": ["avx9000"]})
    assert without.variant is None
    with pytest.raises(
        LoadError, match="tagger for x86 cannot run here: its code uses avx9000, which this CPU"
    ):
        without.run(ids)
    with pytest.raises(LoadError, match="does not run in this process: not here: its code uses avx9000"):
        without.choose(NAMES[0])
    monkeypatch.setattr(NativeEngine, "variant", lambda self: "")
    words = "this CPU, or its operating system, lacks instructions that all of its kernels need"
    with pytest.raises(LoadError, match=f"tagger for x86 cannot run here: {words}"):
        Library(built.directory, alone).run(ids)
    monkeypatch.setenv("PATH", str(tmp_path))
    emulated = Library(built.directory, built.report)
    assert emulated.emulated
    with pytest.raises(
        ToolNotFoundError, match=f"tagger needs an emulator: {words}. .* apt-get install bochs$"
    ):
        emulated.run(ids)


@natively
def test_measurements_name_the_kernels(tagger: Library) -> None:
    tagger.choose(HERE[-1])
    assert measure.library(tagger, seconds=0.01)["variant"] == HERE[-1]
