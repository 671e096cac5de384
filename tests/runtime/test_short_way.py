"""The short ways of step and run: integers and errors of the long way, after a first call, with any buffers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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
    assert stream._fast_step is not None
    assert stream._fast_run is not None
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


# What is wrong for a step and for a sequence.
SPOILT: list[tuple[Callable[[np.ndarray, np.ndarray], tuple[object, ...]], str]] = [
    (lambda x, k: (x.astype(np.int32), k), "expected dtype"),
    (lambda x, k: (x[..., :-1], k), "expected shape"),
    (lambda x, k: (x[0], k), "expected shape"),
    (lambda x, k: (x,), "takes 2 inputs"),
    (lambda x, k: (x.tolist(), k), "expected a"),
]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [*SPOILT, (lambda x, k: (np.concatenate([x, x]), np.concatenate([k, k])), "T = 2|expected shape")],
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


def test_a_list_of_outputs_may_hold_others_the_next_time(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    stream, x, k, expected = running
    first = stream.step(x[1:2], k[1:2])
    out = [np.empty_like(array) for array in first]
    inputs = x[2:3].copy(), k[2:3].copy()
    stream.step(*inputs, out=out)
    before, out[0] = out[0], np.empty_like(first[0])
    inputs[0][...], inputs[1][...] = x[3], k[3]
    stream.step(*inputs, out=out)
    assert np.array_equal(before[0], expected[2])
    assert np.array_equal(out[0][0], expected[3])


def test_an_array_that_changed_its_shape_is_seen(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    stream, x, k, _ = running
    out = tuple(np.empty_like(array) for array in stream.step(x[1:2], k[1:2]))
    inputs = x[2:3].copy(), k[2:3].copy()
    for _ in range(2):
        stream.step(*inputs, out=out)
    shape = inputs[0].shape
    inputs[0].shape = (-1,)
    with pytest.raises(InputError, match="expected shape"):
        stream.step(*inputs, out=out)
    inputs[0].shape = shape
    out[0].shape = (-1,)
    with pytest.raises(InputError, match="expected int16"):
        stream.step(*inputs, out=out)


def test_after_a_refused_call_the_right_arrays_are_read(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """The first input of a call whose second one is wrong was remembered; the arrays of the call before were, too."""
    stream, x, k, expected = running
    out = tuple(np.empty_like(array) for array in stream.step(x[1:2], k[1:2]))
    inputs = x[2:3].copy(), k[2:3].copy()
    stream.step(*inputs, out=out)
    other = x[3:4].copy()
    with pytest.raises(InputError, match="expected dtype"):
        stream.step(other, k[3:4].astype(np.float32), out=out)
    inputs[1][...] = k[3]
    assert np.array_equal(stream.step(other, inputs[1], out=out)[0][0], expected[3])


@pytest.mark.parametrize("with_out", [False, True])
@pytest.mark.parametrize("lengths", [(1, 1, 1), (7, 7, 7, 7), (3, 1, 20, 3, 3)])
def test_sequences_of_any_length(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray], lengths: tuple[int, ...], with_out: bool
) -> None:
    stream, x, k, expected = running
    results, start = [], 1
    for length in lengths:
        end = start + length
        out = (np.empty_like(expected[start:end]), np.empty((1, 4), np.int32)) if with_out else None
        result = stream.run(x[start:end].copy(), k[start:end].copy(), out=out)
        assert out is None or all(a is b for a, b in zip(result, out, strict=True))
        results.append(result[0])
        start = end
    assert np.array_equal(np.concatenate(results), expected[1:start])
    assert np.array_equal(stream.step(x[start], k[start])[0], expected[start])


def test_buffers_of_sequences_may_be_used_again(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    stream, x, k, expected = running
    stream.reset()
    buffers, out = (x[:5].copy(), k[:5].copy()), (np.empty_like(expected[:5]), np.empty((1, 4), np.int32))
    for start in range(0, LENGTH, 5):
        buffers[0][...], buffers[1][...] = x[start : start + 5], k[start : start + 5]
        assert stream.run(*buffers, out=out) is out
        assert np.array_equal(out[0], expected[start : start + 5])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        *SPOILT,
        (lambda x, k: (x, k[:-1]), "expected shape"),
        (lambda x, k: (x[:0], k[:0]), "T = 0"),
    ],
)
def test_wrong_sequences_say_what_is_wrong(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
    spoil: Callable[[np.ndarray, np.ndarray], tuple[object, ...]],
    words: str,
) -> None:
    stream, x, k, expected = running
    with pytest.raises(InputError, match=words):
        stream.run(*spoil(x[1:4], k[1:4]))
    assert np.array_equal(stream.run(x[1:4], k[1:4])[0], expected[1:4])  # nothing was done


def test_wrong_outputs_of_sequences(running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray]) -> None:
    stream, x, k, expected = running
    y, last = stream.run(x[1:4], k[1:4])
    block = np.zeros(4096, np.uint8)
    inside = block[: x[4:7].nbytes].view(x.dtype).reshape(x[4:7].shape)
    over = block[: y.nbytes].view(y.dtype).reshape(y.shape)
    for out, words in (((y,), "out holds 1"), ((y[:2], last), "expected int16"), ((over, last), "overlaps")):
        for _ in range(2):
            with pytest.raises(InputError, match=words):
                stream.run(inside, k[4:7], out=out)
    assert np.array_equal(stream.run(x[4:7], k[4:7], out=(y, last))[0], expected[4:7])


def test_the_library_s_own_errors_in_sequences(
    running: tuple[Stream, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    stream, x, k, _ = running
    stream.state = bytes(len(stream.state))
    with pytest.raises(InputError, match="run failed"):
        stream.run(x[1:3], k[1:3])


def test_runs_of_the_library_start_from_the_initial_state(host: Library) -> None:
    x, k = leaky.sample(LENGTH)
    expected, out = leaky.reference(x, k)[0], None
    for length in (LENGTH, 5, 5, 1, LENGTH):
        with pytest.raises(InputError, match="expected dtype"):
            host.run(x, k.astype(np.float32))
        first = host.run(x[:length], k[:length])
        second = host.run(x[:length], k[:length], out=tuple(np.empty_like(array) for array in first))
        assert np.array_equal(first[0], expected[:length])
        assert np.array_equal(second[0], expected[:length])
        assert out is None or not np.may_share_memory(out, first[0])
        out = first[0]


def test_runs_hold_no_arrays(host: Library) -> None:
    x, k = leaky.sample(8)
    host.run(x, k)
    out = tuple(np.empty_like(array) for array in host.run(x, k))
    arrays = [weakref.ref(array) for array in (x, k, *out)]
    host.run(x, k, out=out)
    del x, k, out
    assert [array() for array in arrays] == [None] * 4


def test_threads_run_at_once(host: Library) -> None:
    x, k = leaky.sample(LENGTH)
    expected = leaky.reference(x, k)[0]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda length: host.run(x[:length], k[:length])[0], [*range(1, LENGTH)] * 4))
    assert all(np.array_equal(result, expected[: len(result)]) for result in results)
