"""A stream continues where it stopped: on every target, steps, pieces and whole sequences give the same integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from every_target import DISTINCT
from samples import MODELS, reference, sample

from irnn_tvm import Library
from irnn_tvm.errors import InputError

Libraries = Callable[[str, str], Library]


@pytest.mark.parametrize("target", DISTINCT)
@pytest.mark.parametrize("name", MODELS)
def test_any_length(name: str, target: str, library: Libraries) -> None:
    built = library(name, target)
    sequences = [sample(name, steps, seed=steps) for steps in (1, 2, 7, 100, 1)]
    for inputs, result in zip(sequences, built.run_many(sequences), strict=True):
        assert np.array_equal(result, reference(name, inputs))


@pytest.mark.parametrize("target", DISTINCT)
def test_steps_and_pieces_equal_a_run(target: str, library: Libraries) -> None:
    built, (ids,) = library("tagger", target), sample("tagger", 20)
    expected = reference("tagger", (ids,))
    stream = built.stream()
    assert np.array_equal(np.concatenate(stream.steps(ids[t : t + 1] for t in range(20))), expected)
    stream.reset()
    pieces = [stream.run(ids[:6]), stream.step(ids[6:7]), stream.run(ids[7:8]), stream.run(ids[8:])]
    assert np.array_equal(np.concatenate(pieces), expected)


@pytest.mark.parametrize("target", ["host", "arm", "cortex-m55", "c"])
def test_streams_in_turn(target: str, library: Libraries) -> None:
    """Three streams of one library, none of which disturbs another; a saved state goes on in a new stream."""
    built = library("tagger", target)
    sequences = [sample("tagger", 6, seed=seed)[0] for seed in range(3)]
    streams = [built.stream() for _ in sequences]
    rows: list[list[np.ndarray]] = [[], [], []]
    for t in range(3):
        for stream, ids, out in zip(streams, sequences, rows, strict=True):
            out.append(np.asarray(stream.step(ids[t : t + 1])))
    for stream, ids, out in zip(streams, sequences, rows, strict=True):
        heir = built.stream()
        heir.state = stream.state
        out.append(np.asarray(heir.run(ids[3:])))
    for ids, out in zip(sequences, rows, strict=True):
        assert np.array_equal(np.concatenate(out), reference("tagger", (ids,)))


def test_a_model_that_needs_the_whole_sequence_says_so(library: Libraries) -> None:
    built = library("encoder", "host")
    assert "convolution" in built.report["not_streamable_because"]
    (x,) = sample("encoder", 1)
    with pytest.raises(InputError, match="cannot run step by step"):
        built.stream().step(x)
    too_long = built.time.maximum + 1
    with pytest.raises(InputError, match=f"T = {too_long}"):
        built.run(np.zeros((1, too_long, 6), np.int8))
