"""Target x86: one library that chooses its kernels when it runs; whichever it takes, the integers are the same."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from samples import integer_model, reference, sample

from irnn_tvm import Library
from irnn_tvm.compiler.build_library import build
from irnn_tvm.errors import EmulatorError, LoadError
from irnn_tvm.profiling.accounting import work
from irnn_tvm.targets import TARGETS
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
@pytest.mark.parametrize("name", ["tagger", "encoder"])
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
        *(f"tagger_{function}" for function in (*called, "variant", "choose")),
        *(f"__tvm_ffi_{function}" for function in called),
    }


def test_constants_of_several_variants_are_stored_once(library: Libraries) -> None:
    report = library("tagger", "x86").report
    each = [variant["weight_bytes"] for variant in report["variants"]]
    assert [variant["target"] for variant in report["variants"]] == list(NAMES)
    assert max(each) < report["weight_bytes"] < sum(each)
    assert report["code_bytes"] > sum(variant["code_bytes"] for variant in report["variants"])
    names = [kernel["name"] for kernel in report["kernels"]]
    assert len(set(names)) == len(names)


def test_profiles_are_of_one_set_of_kernels(library: Libraries) -> None:
    with pytest.raises(LoadError, match="profile one that was built for x86-avx512-vnni, "):
        work(library("tagger", "x86").report, 1)


def test_threads_are_shared_by_all_variants(tmp_path: Path) -> None:
    """None of these kernels is large enough to be split: what matters is that it links and runs."""
    built = build(integer_model("tagger"), "x86", out=tmp_path / "threads", name="tagger", threads=2)
    (ids,) = sample("tagger", 5)
    assert built.report["threads"] == 2
    assert np.array_equal(built.run(ids), reference("tagger", (ids,)))


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
    built, (ids,) = library("tagger", "x86"), sample("tagger", 9)
    counts = {}
    for cpu in ("corei7_haswell_4770", "corei7_skylake_x", "tigerlake"):
        emulated = _on(built, cpu)
        assert np.array_equal(emulated.run(ids), reference("tagger", (ids,)))
        counts[cpu] = count_instructions(emulated, "run", [ids])
    assert counts["tigerlake"] < 0.75 * counts["corei7_skylake_x"] < 0.75 * counts["corei7_haswell_4770"]


@pytest.mark.emulator
def test_a_cpu_without_avx2_is_refused(library: Libraries, require_tool: Callable[[str], str]) -> None:
    require_tool("bochs")
    built, (ids,) = library("tagger", "x86"), sample("tagger", 3)
    with pytest.raises(EmulatorError, match="init function failed"):
        _on(built, "trinity_apu").run(ids)


def test_every_flag_of_a_variant_is_looked_for() -> None:
    from irnn_tvm.compiler import cpuid

    for name in NAMES:
        assert set(TARGETS[name].cpuinfo_flags) <= set(cpuid.BITS), name
