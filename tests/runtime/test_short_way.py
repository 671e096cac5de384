"""The short way of Stream.step: integers and errors are those of the long way, after a first step, with any buffers."""

from __future__ import annotations

from collections.abc import Callable

import leaky
import numpy as np
import pytest

from irnn_tvm.errors import InputError
from irnn_tvm.runtime import Library
from irnn_tvm.runtime.streams import Stream

LENGTH = 150


@pytest.fixture
def running(host: Library) -> tuple[Stream, np.ndarray, np.ndarray, np.ndarray]:
    """A stream after its first step, the inputs of the next ones, and all outputs."""
    x, k = leaky.sample(LENGTH)
    stream = host.stream()
    stream.step(x[:1], k[:1])
    assert stream._fast is not None
    assert stream._memory.initialized
    return stream, x, k, leaky.reference(x, k)[0]


def test_results_are_arrays_of_their_own(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    stream, x, k, expected = running
    results = [stream.step(x[t], k[t])[0] for t in range(1, LENGTH)]
    assert all(result.shape == expected[0].shape for result in results)
    assert np.array_equal(np.stack(results), expected[1:])
    results[3][...] = 0
    assert np.array_equal(np.stack(results[4:]), expected[5:])


@pytest.mark.parametrize("with_out", [False, True])
def test_buffers_may_be_used_again(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray], with_out: bool
) -> None:
    stream, x, k, expected = running
    buffers = x[:1].copy(), k[:1].copy()
    first = stream.step(*buffers)
    stream.reset()
    out = tuple(np.empty_like(array) for array in first) if with_out else None
    for t in range(LENGTH):
        buffers[0][...], buffers[1][...] = x[t], k[t]
        result = stream.step(*buffers, out=out)
        assert np.array_equal(result[0][0], expected[t])
        assert out is None or (result[0] is out[0] and result[1] is out[1])


def test_read_only_and_strided_inputs(running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray]) -> None:
    stream, x, k, expected = running
    x.flags.writeable = k.flags.writeable = False
    assert np.array_equal(stream.step(x[1:2], k[1:2])[0][0], expected[1])
    wide = np.repeat(x, 2, axis=-1)[..., ::2]
    assert np.array_equal(stream.step(wide[2:3], k[2:3])[0][0], expected[2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x, k: (x.astype(np.int32), k), "expected dtype"),
        (lambda x, k: (x[..., :-1], k), "expected shape"),
        (lambda x, k: (np.concatenate([x, x]), np.concatenate([k, k])), "T = 2|expected shape"),
        (lambda x, k: (x[0], k), "expected shape"),
        (lambda x, k: (x,), "takes 2 inputs"),
        (lambda x, k: (x.tolist(), k), "expected a"),
    ],
)
def test_wrong_inputs_say_what_is_wrong(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
    spoil: Callable[[np.ndarray, np.ndarray], tuple[object, ...]],
    words: str,
) -> None:
    stream, x, k, expected = running
    with pytest.raises(InputError, match=words):
        stream.step(*spoil(x[1:2], k[1:2]))
    assert np.array_equal(stream.step(x[1:2], k[1:2])[0][0], expected[1])  # nothing was done


def test_wrong_outputs_say_what_is_wrong(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    stream, x, k, expected = running
    y, last = (np.empty_like(array) for array in stream.step(x[1:2], k[1:2]))
    frozen = y.copy()
    frozen.flags.writeable = False
    for out, words in (
        ((y,), "out holds 1"),
        ((y.astype(np.int8), last), "expected int16"),
        ((y[0], last), "expected int16"),
        ((frozen, last), "writeable"),
    ):
        with pytest.raises(InputError, match=words):
            stream.step(x[2:3], k[2:3], out=out)
    block = np.zeros(4096, np.uint8)
    overlapping = block[: y.nbytes].view(np.int16).reshape(y.shape)
    inside = block[: x[:1].nbytes].view(x.dtype).reshape(x[:1].shape)
    for _ in range(2):
        with pytest.raises(InputError, match="overlaps"):
            stream.step(inside, k[2:3], out=(overlapping, last))
    assert np.array_equal(stream.step(x[2:3], k[2:3], out=(y, last))[0][0], expected[2])


def test_the_library_s_own_errors(running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray]) -> None:
    stream, x, k, _ = running
    stream.state = bytes(len(stream.state))
    with pytest.raises(InputError, match="code -5"):
        stream.step(x[1:2], k[1:2])
