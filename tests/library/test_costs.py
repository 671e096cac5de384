"""report.json against what is in the files, and costs that must not depend on the sequence length."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from disassembly import exported_symbols, sections
from every_target import DISTINCT
from samples import MODELS, integer_model, reference, sample

import irnn_tvm
from irnn_tvm import Library

Libraries = Callable[[str, str], Library]
COMPILED = [name for name in DISTINCT if name != "c"]
ARCHIVES = [name for name, target in irnn_tvm.TARGETS.items() if target.kind == "archive"]


def _macro(library: Library, name: str) -> int:
    text = (library.directory / library.report["files"]["header"]).read_text()
    found = re.search(rf"#define {library.name.upper()}_{name} (-?\d+)", text)
    assert found, name
    return int(found[1])


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", MODELS)
def test_report_and_header_agree(name: str, target: str, library: Libraries) -> None:
    built = library(name, target)
    report = built.report
    assert (report["abi_version"], report["name"], report["target"]) == (1, name, target)
    assert report["state_bytes"] == _macro(built, "STATE_BYTES")
    assert report["arena_bytes"] == _macro(built, "ARENA_BYTES")
    assert report["alignment"] == _macro(built, "ALIGN") == 16
    assert (report["time"]["max"] or 0) == _macro(built, "MAX_T")
    assert report["streamable"] == (name == "tagger") == (report["not_streamable_because"] is None)


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", MODELS)
def test_tensors_are_those_of_the_model(name: str, target: str, library: Libraries) -> None:
    model, report = integer_model(name), library(name, target).report
    specs = (*model.input_specs, *model.output_specs)
    for entry, spec in zip((*report["inputs"], *report["outputs"]), specs, strict=True):
        expected = (spec.name, spec.dtype, spec.scale, spec.zero_point)
        assert (entry["name"], entry["dtype"], entry["scale"], entry["zero_point"]) == expected


@pytest.mark.parametrize("target", ARCHIVES)
@pytest.mark.parametrize("name", MODELS)
def test_flash_is_the_size_of_the_sections(name: str, target: str, library: Libraries) -> None:
    report = library(name, target).report
    file = library(name, target).directory / report["files"]["library"]
    stored = [
        section["sh_size"]
        for section, _ in sections(file)
        if section["sh_flags"] & 2 and not section.name.startswith((".ARM.ex", ".eh_frame", ".rel"))
    ]
    assert report["flash_bytes"] == sum(stored)
    assert report["flash_bytes"] == report["code_bytes"] + report["weight_bytes"]
    assert report["weight_bytes"] == sum(entry["bytes"] for entry in report["weights"])


@pytest.mark.parametrize("target", COMPILED)
def test_kernels_are_listed(target: str, library: Libraries) -> None:
    report = library("tagger", target).report
    names = [kernel["name"] for kernel in report["kernels"]]
    assert len(set(names)) == len(names)
    for family in ("embedding", "lstm_step", "gru_step", "gru_before_step", "linear", "pwl", "mul", "add"):
        assert any(re.fullmatch(rf"tagger_k_{family}\d*", name) for name in names), family
    assert all(kernel["flash_bytes"] > 0 for kernel in report["kernels"])
    # Where single steps have a kernel of their own, those that it stands for run for longer sequences only.
    alone = {op.removesuffix("_single") for op in (k["op"] for k in report["kernels"]) if "_single" in op}
    for kernel in report["kernels"]:
        longer = kernel["op"].removesuffix("_inputs") in alone
        assert kernel["calls_per_step"] >= 1 or longer, kernel["op"]
        assert kernel["calls_per_step"] == 0 or kernel["op"] not in alone, kernel["op"]
    assert sum(kernel["flash_bytes"] for kernel in report["kernels"]) < report["code_bytes"]
    if target in ARCHIVES:
        assert set(names) <= exported_symbols(library("tagger", target).directory / "libtagger.a")


def test_macs_are_those_of_the_layers(library: Libraries) -> None:
    """LSTM 64 -> 64, two GRUs 64 -> 64 and a linear layer 64 -> 6, per step."""
    assert library("tagger", "host").report["macs_per_step"] == (4 + 3 + 3) * 64 * 128 + 64 * 6


@pytest.mark.parametrize("target", ARCHIVES)
def test_stack_estimate_covers_what_is_used(target: str, library: Libraries) -> None:
    """Measured under the emulator."""
    built = library("tagger", target)
    built.run(*sample("tagger", 3))
    assert built.stack_bytes is not None
    assert 0 < built.stack_bytes <= built.report["stack_bytes"] < 4096


@pytest.mark.parametrize(
    ("name", "target"),
    [("tagger", "host"), ("encoder", "host"), ("encoder", "cortex-m4"), ("tagger", "c")],
)
def test_code_does_not_grow_with_the_length(
    name: str, target: str, built: Callable[..., Library], library: Libraries
) -> None:
    """T = 10, T = 1000 and a run-time T: the same kernels in the same order, recurrent steps of the same size."""
    ten, thousand = (
        built(f"length-{name}-{steps}", target, lambda: integer_model(name), name=name, seq_len=steps)
        for steps in (10, 1000)
    )
    free = library(name, target)
    kernels = [
        # Only a run-time T may be 1, for which there are other kernels.
        [k["op"] for k in lib.report["kernels"] if "_single" not in k["op"]]
        for lib in (ten, thousand, free)
    ]
    assert kernels[0] == kernels[1]
    assert len(kernels[2]) <= len(kernels[0])
    assert ten.report["weight_bytes"] == thousand.report["weight_bytes"] == free.report["weight_bytes"]
    steps = [
        {
            k["op"]: k["flash_bytes"]
            for k in lib.report["kernels"]
            if k["op"] in kernels[0] and "step" in k["op"]
        }
        for lib in (ten, thousand, free)
    ]
    assert steps[0] == steps[1] == steps[2]
    if target != "c":  # copies of a longer axis may be vectorized in another way, and that is all
        assert thousand.report["code_bytes"] < 3 * ten.report["code_bytes"]
    for each, length in ((ten, 10), (thousand, 1000), (free, 10)):
        inputs = sample(name, length)
        if length == 10 or target == "host":
            assert np.array_equal(each.run(*inputs), reference(name, inputs))


def test_a_stream_s_memory_does_not_grow_with_the_length(library: Libraries) -> None:
    """Any length through an arena of a few hundred bytes, or of some steps where a target takes some together."""
    assert library("tagger", "cortex-m4").report["arena_bytes"] < 2000
    built = library("tagger", "host")
    assert built.time.maximum is None
    assert built.report["arena_bytes"] < 16 * 2200
    inputs = sample("tagger", 1500)
    assert np.array_equal(built.run(*inputs), reference("tagger", inputs))
