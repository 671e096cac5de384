"""TVM calls the same shared library that a C program links, and gets the same integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from samples import reference, sample

from irnn_tvm import TARGETS, Library

Libraries = Callable[[str, str], Library]
WRONG_ARGUMENTS, E_LENGTH, E_INDEX, E_STATE = -100, -2, -3, -5


class Module:
    """A library loaded by tvm.runtime, with a stream's memory."""

    def __init__(self, library: Library) -> None:
        from tvm import runtime

        self.runtime = runtime
        self.module = runtime.load_module(str(library.directory / library.report["files"]["library"]))
        self.state = runtime.tensor(np.zeros(library.report["state_bytes"], np.int8))
        self.arena = runtime.tensor(np.zeros(library.report["arena_bytes"], np.int8))

    def call(self, name: str, *arguments: object) -> int:
        tensors = [self.runtime.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
        return int(self.module[name](self.state, *tensors))


@pytest.mark.parametrize(
    "target",
    [
        "host",
        pytest.param(
            "x86", marks=pytest.mark.skipif(not TARGETS["x86"].runs_natively, reason="not a CPU with AVX2")
        ),
    ],
)
def test_run_and_step(target: str, library: Libraries) -> None:
    module = Module(library("tagger", target))
    (ids,) = sample("tagger", 7)
    expected = reference("tagger", (ids,))
    assert module.call("step", module.arena, ids[:1], np.zeros((1, 1, 6), np.int16)) == E_STATE
    assert module.call("init") == 0
    whole = module.runtime.tensor(np.zeros_like(expected))
    assert module.call("run", module.arena, 7, ids, whole) == 0
    assert np.array_equal(whole.numpy(), expected)
    assert module.call("reset") == 0
    row = module.runtime.tensor(np.zeros((1, 1, 6), np.int16))
    for t in range(7):
        assert module.call("step", module.arena, ids[t : t + 1], row) == 0
        assert np.array_equal(row.numpy()[0], expected[t])


def test_whole_sequences(library: Libraries) -> None:
    module = Module(library("encoder", "host"))
    inputs = sample("encoder", 11)
    expected = reference("encoder", inputs)
    out = module.runtime.tensor(np.zeros_like(expected))
    assert module.call("init") == 0
    assert module.call("run", module.arena, 11, *inputs, out) == 0
    assert np.array_equal(out.numpy(), expected)


def test_same_integers_as_the_runtime(library: Libraries) -> None:
    """Both loaders in one process, on one file."""
    built = library("tagger", "host")
    module, (ids,) = Module(built), sample("tagger", 30, seed=3)
    out = module.runtime.tensor(np.zeros((30, 1, 6), np.int16))
    assert module.call("init") == 0
    assert module.call("run", module.arena, 30, ids, out) == 0
    assert np.array_equal(out.numpy(), built.run(ids))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (lambda m, x, y: (m.arena, 0, x, y), E_LENGTH),
        (lambda m, x, y: (m.arena, 2**40, x, y), E_LENGTH),
        (lambda m, x, y: (m.arena, 7, x + 1000, y), E_INDEX),
        (lambda m, x, y: (m.arena, 7, x, y[:3]), WRONG_ARGUMENTS),
        (lambda m, x, y: (m.arena, 7, x[:6], y), WRONG_ARGUMENTS),
        (lambda m, x, y: (m.arena, 7, x.astype(np.int8), y), WRONG_ARGUMENTS),
        (lambda m, x, y: (m.arena, 7, x), WRONG_ARGUMENTS),
        (lambda m, x, y: (x[:1], 7, x, y), WRONG_ARGUMENTS),
        (lambda m, x, y: (m.arena, "7", x, y), WRONG_ARGUMENTS),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: Callable[..., tuple[object, ...]], code: int, library: Libraries
) -> None:
    module, (ids,) = Module(library("tagger", "host")), sample("tagger", 7)
    assert module.call("init") == 0
    assert module.call("run", *arguments(module, ids, np.zeros((7, 1, 6), np.int16))) == code
