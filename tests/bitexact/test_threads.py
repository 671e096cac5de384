"""Kernels whose tiles several threads share compute the same integers, whoever calls them and however often."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle import VARIANTS, Bundle
from cases import Case
from sampling import sampled

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.errors import BuildError

# Wide enough to be split, with a padded last tile, several vectors and both directions; and one that is too small.
CASES = (
    Case("lstm-h390", "lstm", {"x": 370, "h": 390, "steps": 18}),
    Case("lstm-reverse-batch", "lstm", {"x": 340, "h": 400, "steps": 2, "batch": 3, "reverse": True}),
    Case("gru-h450", "gru", {"x": 40, "h": 450, "steps": 2, "reset_after": True}),
    Case("rnn-h733", "rnn", {"x": 720, "h": 733, "steps": 2, "function": "tanh"}),
    Case("linear-n700", "linear", {"n": 700, "k": 800, "lead": (2,), "to": 8}),
    Case("lstm-small", "lstm", {"x": 16, "h": 24, "steps": 2}),
)
BUNDLE = Bundle(CASES)


def _build(target: str, folder: Path, threads: int) -> Library:
    program = torch.export.export(BUNDLE, BUNDLE.inputs("zeros"))
    return irnn_tvm.build(program, target, out=folder, threads=threads)


def _arrays(variant: str) -> tuple[np.ndarray, ...]:
    return tuple(x.numpy() for x in BUNDLE.inputs(variant))


def _wrong(library: Library, variants: tuple[str, ...] = VARIANTS) -> list[str]:
    expected = BUNDLE.reference()
    results = library.run_many(_arrays(v) for v in variants)
    return [
        f"{case}, {variant} inputs"
        for variant, result in zip(variants, results, strict=True)
        for case, got in BUNDLE.by_case(result).items()
        if not all(np.array_equal(a, b) for a, b in zip(got, expected[variant][case], strict=True))
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return _build("host", tmp_path_factory.mktemp("threads") / "host", 3)


def test_the_integers_are_the_same(library: Library) -> None:
    assert library.report["threads"] == 3
    for _ in range(3):  # the threads have been started, or have gone to sleep
        assert _wrong(library) == []


def test_large_kernels_are_split_and_small_ones_are_not(library: Library) -> None:
    (source,) = library.report["files"]["sources"]
    text = (library.directory / source).read_text()
    split = set(re.findall(r"static void model_k_(\w+)_parallel\(", text))
    if library.report["kernels"][0]["schedule"] == "tiles":
        # lstm-small is one of three LSTMs; the inputs of gru-h450 are narrow.
        assert {re.sub(r"\d+$", "", name) for name in split} >= {
            "lstm_step",
            "gru_step",
            "rnn_step",
            "linear",
        }
        assert len([name for name in split if re.fullmatch(r"lstm_step\d*", name)]) == 2
        assert not any(name.startswith("gru_step_inputs") for name in split)


def test_callers_at_the_same_time(library: Library) -> None:
    """One has the threads, the others do without: the same integers."""
    with ThreadPoolExecutor(4) as callers:
        assert [
            w for wrong in callers.map(lambda _: _wrong(library, ("random",)), range(8)) for w in wrong
        ] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_fork_starts_its_own(library: Library) -> None:
    assert _wrong(library, ("ramp",)) == []
    inputs, expected = _arrays("ramp"), library.run(*_arrays("ramp"))
    child = os.fork()
    if child == 0:  # nothing but the library: torch has threads of its own
        results = library.run(*inputs)
        same = all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.emulator
@pytest.mark.parametrize("target", sampled(["arm", "x86-avx512-vnni"], 2))
def test_parts_on_other_targets(target: str, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    """Emulated programs have no threads, and do the same parts one after another."""
    emulator = irnn_tvm.TARGETS[target].emulator
    assert emulator is not None
    require_tool(emulator.qemu)
    assert _wrong(_build(target, tmp_path / target, 5), ("random", "lowest")) == []


@pytest.mark.parametrize(
    ("target", "threads", "words"),
    [
        ("host", 0, "must be a number from 1 to 64"),
        ("host", 65, "must be a number from 1 to 64"),
        ("host", 1.5, "must be a number from 1 to 64"),
        ("cortex-m7", 2, "cortex-m7 runs where there may be no operating system"),
        ("c", 2, "shared libraries"),
    ],
)
def test_what_cannot_be_is_refused(target: str, threads: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=words):
        _build(target, tmp_path / "out", threads)
    assert not (tmp_path / "out").exists()
