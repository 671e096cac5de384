"""Bytes and products of a call against numbers worked out by hand, and against what the kernels are seen to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from profiled import HIDDEN, WORDS

from irnn_tvm import Library
from irnn_tvm.compiler.traffic import add, divided, times
from irnn_tvm.errors import LoadError
from irnn_tvm.profiling.accounting import chunks, work, working_set
from irnn_tvm.profiling.spent import probe
from irnn_tvm.runtime import shapes
from irnn_tvm.tuning.measure import example_inputs

Libraries = Callable[[str, str], Library]
H = HIDDEN


@pytest.mark.parametrize("steps", [1, 20])
def test_lstm_of_scalar_code(steps: int, library: Libraries) -> None:
    """A step reads all weights, bias and two multipliers per row, five tables of 32 pieces; x, h, h', c and c'."""
    (entry,) = work(library("lstm", "cortex-m3").report, steps).values()
    assert entry.executions == steps
    assert entry.macs == steps * 4 * H * (H + H)
    assert entry.weight_bytes == steps * (4 * H * 2 * H + 3 * 4 * (4 * H) + 5 * 3 * 32 * 2)
    assert entry.activation_bytes == steps * (3 * H + 2 * 2 * H)


def test_lstm_in_tiles(library: Libraries) -> None:
    """20 steps: products with x in two goes, of 16 and 4; their sums are written and read as int32."""
    inputs, step = work(library("lstm", "arm").report, 20).values()
    assert (inputs.executions, step.executions) == (2, 20)
    assert inputs.macs == step.macs == 20 * 4 * H * H
    assert inputs.weight_bytes == 2 * (4 * H * H + 4 * 4 * H)
    assert step.weight_bytes == 20 * (4 * H * H + 2 * 4 * 4 * H + 5 * 3 * 32 * 2)
    assert inputs.activation_bytes == 20 * (H + 4 * 4 * H)
    assert step.activation_bytes == 20 * (4 * 4 * H + 2 * H + 2 * 2 * H)
    assert len(working_set(library("lstm", "arm").report, 20)) == 6


def test_gru(library: Libraries) -> None:
    """Three gates, a bias of U h besides, 16 bits of state with an int8 copy, which a kernel of its own makes."""
    copy, step = work(library("gru", "cortex-m3").report, 7).values()
    assert (copy.macs, copy.weight_bytes, copy.activation_bytes) == (0, 0, 7 * (2 * H + H))
    assert step.macs == 7 * 3 * H * 2 * H
    assert step.weight_bytes == 7 * (3 * H * 2 * H + 3 * 4 * 3 * H + 4 * H + 3 * 3 * 32 * 2)
    assert step.activation_bytes == 7 * (H + H + 2 * H + H + 2 * H)


def test_linear(library: Libraries) -> None:
    """24 rows with a bias and a multiplier each; int16 results. With tiles 16 time steps share the weights."""
    for target, executions in (("cortex-m3", 20), ("arm", 2)):
        (entry,) = work(library("linear", target).report, 20).values()
        assert entry.executions == executions
        assert entry.macs == 20 * 24 * H
        assert entry.weight_bytes == executions * (24 * H + 2 * 4 * 24)
        assert entry.activation_bytes == 20 * (H + 2 * 24)


def test_an_embedding_reads_the_rows_it_selects(library: Libraries) -> None:
    report = library("tagger", "cortex-m3").report
    first = next(iter(work(report, 5).values()))
    assert (first.weight_bytes, first.activation_bytes, first.macs) == (5 * H, 5 * (4 + H), 0)
    table = next(i for i, weight in enumerate(report["weights"]) if weight["shape"] == [WORDS, H])
    assert table not in working_set(report, 5)


def test_whole_sequences(library: Libraries) -> None:
    """Convolution of 3 taps from 6 to 8 channels; scores and context of attention over T keys."""
    entries = {entry.family: entry for entry in work(library("whole", "host").report, 9).values()}
    assert entries["conv1d"].macs == 9 * 8 * 6 * 3
    assert entries["attention"].macs == 9 * 9 * (8 + 8)


def test_sums_are_those_of_the_report(library: Libraries) -> None:
    for target in ("host", "arm", "cortex-m3"):
        report = library("tagger", target).report
        assert sum(entry.macs for entry in work(report, 1).values()) == report["macs_per_step"]


@pytest.mark.parametrize("name", ["lstm", "gru", "linear", "tagger", "whole"])
@pytest.mark.parametrize("steps", [1, 21])
def test_kernels_run_as_often_as_is_said_and_give_the_same_integers(
    name: str, steps: int, library: Libraries
) -> None:
    lib = library(name, "host")
    inputs = example_inputs(lib, steps)
    expected = lib.run(*inputs)
    watched = probe(lib, lib.directory, steps)
    watched.timed(1)
    assert np.array_equal(watched.outputs[0], expected)
    watched.reset()
    watched.outputs[0][...] = 0
    watched.plain(1)
    assert np.array_equal(watched.outputs[0], expected)
    seen = watched.timed(3)
    said = {kernel: 3 * entry.executions for kernel, entry in work(lib.report, steps).items()}
    assert {kernel: seen.executions[kernel] for kernel in said} == said
    assert sum(seen.kernels.values()) <= seen.total
    assert all((ticks > 0) == (kernel in said) for kernel, ticks in seen.kernels.items())


def test_chunks(library: Libraries) -> None:
    assert chunks(library("lstm", "arm").report, 37) == [16, 16, 5]
    assert chunks(library("lstm", "cortex-m3").report, 3) == [1, 1, 1]
    assert chunks(library("whole", "arm").report, 37) == [37]


def test_sizes_are_text_that_the_runtime_reads() -> None:
    size = times(3, "T", add(["T", 2, 5]), divided("T", 4))
    assert shapes.dimension(size, 9) == 3 * 9 * (9 + 7) * (9 // 4)
    assert (times(3, 4), add([1, 2]), divided(9, 2), times("T", 0)) == (12, 3, 4, 0)


def test_an_old_report_is_refused(library: Libraries) -> None:
    report = {key: value for key, value in library("lstm", "host").report.items() if key != "traffic"}
    with pytest.raises(LoadError, match="build the library again"):
        work(report, 1)
