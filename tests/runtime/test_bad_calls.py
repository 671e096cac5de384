"""What a caller can get wrong: every case is an InputError that names the input and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import leaky
import numpy as np
import pytest
import torch
from leaky import Build

from irnn_tvm.errors import InputError
from irnn_tvm.runtime import Library, load

X, K = leaky.sample(6)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((X,), "takes 2 inputs"),
        ((X, K, K), "takes 2 inputs"),
        ((X.astype(np.float32), K), "'x': expected dtype int8, got float32. Quantize it first"),
        ((X.astype(np.int16), K), "'x': expected dtype int8, got int16"),
        ((X, K.astype(np.int16)), "'k': expected dtype int32, got int16"),
        ((X, K.astype(np.float32)), "'k': expected dtype int32, got float32"),
        ((X, K.astype(np.int64) + 2**40), "'k' holds ids that int32 does not hold"),
        ((X, K.astype(">i4")), "'k': expected dtype int32, got >i4"),
        (((X + 0.5).tolist(), K), "'x': expected a int8 array, got list"),
        ((X.tolist(), K), "'x': expected a int8 array, got list"),
        ((X, [[1, 2], [3]]), "'k': expected a int32 array, got list"),
        ((X, [[2**40]]), "'k' holds ids that int32 does not hold"),
        ((X[:, 0], K), "'x': expected shape (T, 1, 4)"),
        ((X[:, :, :3], K), "'x': expected shape (T, 1, 4) (here (6, 1, 4)), got (6, 1, 3)"),
        ((X, K[:4]), "'k': expected shape (T, 1) (here (6, 1)), got (4, 1)"),
        ((X[:0], K[:0]), "length T = 0, the library accepts T >= 1"),
        ((X, K + 4), "run failed: an index input is out of range"),
    ],
)
def test_wrong_inputs(host: Library, inputs: tuple, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        host.run(*inputs)


@pytest.mark.emulator
def test_index_out_of_range_under_an_emulator(build: Build) -> None:
    with pytest.raises(InputError, match="an index input is out of range"):
        build("cortex-m4").run(X, K - 4)


def test_step_needs_one_step(host: Library) -> None:
    with pytest.raises(InputError, match="length T = 2, the library accepts T = 1"):
        host.stream().step(X[:2], K[:2])


def test_limited_length(host: Library) -> None:
    limited = Library(host.directory, host.report | {"time": {"dynamic": True, "min": 1, "max": 5}})
    assert limited.run(X[:5], K[:5])[0].shape == (5, 1, 4)
    with pytest.raises(InputError, match="T = 6, the library accepts 1 <= T <= 5"):
        limited.run(X, K)


def test_static_length(host: Library) -> None:
    static = Library(
        host.directory,
        host.report
        | {
            "time": {"dynamic": False, "fixed": 6},
            "inputs": [entry | {"shape": [6, *entry["shape"][1:]]} for entry in host.report["inputs"]],
        },
    )
    assert np.array_equal(static.run(X, K)[0], leaky.reference(X, K)[0])
    with pytest.raises(InputError, match=re.escape("expected shape (6, 1, 4), got (5, 1, 4)")):
        static.run(X[:5], K[:5])


def test_model_without_steps(host: Library) -> None:
    whole = Library(host.directory, host.report | {"streamable": False})
    with pytest.raises(InputError, match="cannot run step by step"):
        whole.stream().step(X[0], K[0])


def test_wrong_state_is_refused(host: Library) -> None:
    stream = host.stream()
    with pytest.raises(InputError, match="The state has 32 bytes, got 3"):
        stream.state = b"abc"
    stream.state = bytes(32)
    with pytest.raises(InputError, match="not written by this library's init"):
        stream.run(X, K)


def test_strided_views_are_copied(host: Library) -> None:
    padded = np.zeros((6, 1, 8), np.int8)
    padded[:, :, ::2] = X
    assert np.array_equal(host.run(padded[:, :, ::2], K)[0], leaky.reference(X, K)[0])
    assert np.array_equal(host.run(X[::-1], K[::-1])[0], leaky.reference(X[::-1], K[::-1])[0])


def test_contiguous_arrays_are_read_in_place(host: Library) -> None:
    arrays = host._arrays((X, K))
    assert arrays[0] is X
    assert arrays[1] is K


def test_out_is_written_in_place(host: Library) -> None:
    y, last = np.zeros((6, 1, 4), np.int16), np.zeros((1, 4), np.int32)
    got = host.run(X, K, out=(y, last))
    assert got[0] is y
    assert got[1] is last
    assert np.array_equal(y, leaky.reference(X, K)[0])


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.zeros((6, 1, 4), np.int16), "out holds 1 arrays, the model has 2 outputs"),
        ((np.zeros((6, 1, 4), np.int8), None), "out 'y': expected int16 (6, 1, 4), got int8"),
        ((np.zeros((5, 1, 4), np.int16), None), "got int16 (5, 1, 4)"),
        ((np.zeros((6, 1, 8), np.int16)[:, :, ::2], None), "must be C-contiguous and writeable"),
        (([0], None), "expected a NumPy array, got list"),
    ],
)
def test_wrong_out(host: Library, out: object, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        host.run(X, K, out=out)


def test_out_must_not_overlap_an_input(host: Library) -> None:
    memory = np.zeros(64, np.uint8)
    x, y = memory[:24].view(np.int8).reshape(6, 1, 4), memory[8:56].view(np.int16).reshape(6, 1, 4)
    with pytest.raises(InputError, match="'y' overlaps"):
        host.run(x, K, out=(y, None))


def test_quantize_and_dequantize(host: Library) -> None:
    spec = host.inputs[0]  # scale 0.5, zero point 3
    values = np.array([0.0, 0.25, -0.25, 0.74, 0.76, 1e9, -np.inf])
    assert spec.quantize(values).tolist() == [3, 4, 3, 4, 5, 127, -128]
    assert spec.quantize(values).dtype == np.int8
    back = spec.dequantize(np.array([3, 4, -128], np.int8))
    assert back.dtype == np.float32
    assert back.tolist() == [0.0, 0.5, -65.5]
    with pytest.raises(InputError, match="not-a-number"):
        spec.quantize([0.0, np.nan])
    with pytest.raises(InputError, match="'k' takes ids, int32 or int64, got float64"):
        host.inputs[1].quantize([1.0])
    with pytest.raises(InputError, match="expects int16, got int8"):
        host.outputs[0].dequantize(np.zeros(3, np.int8))


@pytest.mark.parametrize(
    "as_given",
    [
        lambda k: k.astype(np.int64),
        lambda k: torch.from_numpy(k),
        lambda k: torch.from_numpy(k).long(),
        lambda k: k.tolist(),
    ],
)
def test_ids_of_any_kind(host: Library, as_given: Callable[[np.ndarray], Any]) -> None:
    expected, ids = host.run(X, K), as_given(K)
    quantized = host.inputs[1].quantize(ids)
    assert quantized.dtype == np.int32
    stream = host.stream()
    for found in (host.run(X, ids), host.run(X, quantized), host.run(X, ids, out=None), stream.run(X, ids)):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    for t in range(len(X)):
        step = host.stream().step(X[t], as_given(K[t]))
        assert np.array_equal(step[0], host.stream().step(X[t], K[t])[0])


def test_threads_with_streams_of_their_own(host: Library) -> None:
    def work(seed: int) -> bool:
        x, k = leaky.sample(200, seed)
        stream = host.stream()
        rows = [stream.step(x[t : t + 1], k[t : t + 1])[0] for t in range(200)]
        return np.array_equal(np.concatenate(rows), leaky.reference(x, k)[0])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))


def test_torch_tensors_are_accepted(host: Library) -> None:
    torch = pytest.importorskip("torch")
    y, _ = host.run(torch.from_numpy(X), torch.from_numpy(K))
    assert np.array_equal(y, leaky.reference(X, K)[0])


def test_load_twice_is_independent(host: Library) -> None:
    again = load(host.directory)
    assert np.array_equal(again.run(X, K)[0], host.run(X, K)[0])
