"""Whole models through the public API: the built library returns the integers of the torch module, on all kinds of
targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from every_target import DISTINCT
from float_networks import NETWORKS, flat
from program import in_a_program
from sampling import sampled

import irnn_tvm
from irnn_tvm import IntegerModel, Library
from irnn_tvm.compiler.compile_sources import compile_c_library

Quantized = Callable[[str], IntegerModel]
Libraries = Callable[[str, str], Library]


def _build(model: object, target: str, folder: Path) -> Library:
    library = irnn_tvm.build(model, target=target, out=folder / target)
    return compile_c_library(folder / target) if target == "c" else library


def _arrays(tensors: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    return [t.to(torch.int32).numpy() if t.dtype == torch.int64 else t.numpy() for t in tensors]


def _as_list(result: np.ndarray | tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return [result] if isinstance(result, np.ndarray) else list(result)


OTHERS = [name for name in DISTINCT if name != "host"]


def _targets(number: int) -> list[str]:
    """For network `number`: this machine, and in turn one of the others.

    Every operator is compared on every target (bitexact/). What is new in a whole model, how calls share memory and
    states, depends on whether kernels are in tiles and on how a library is called.
    """
    return ["host", OTHERS[number % len(OTHERS)]]


def _everywhere() -> list[object]:
    """(network, target): in turns on this machine and on the other one of its targets, and exhaustively on both."""
    return [
        pytest.param(
            name,
            target,
            marks=[] if number % 2 == place else [pytest.mark.exhaustive],
            id=f"{name}-{target}",
        )
        for number, name in enumerate(NETWORKS)
        for place, target in enumerate(_targets(number))
    ]


def test_every_target_has_several_networks() -> None:
    found = [target for number in range(len(NETWORKS)) for target in _targets(number)]
    assert all(found.count(target) >= 3 for target in DISTINCT)


@pytest.mark.parametrize(("name", "target"), _everywhere())
def test_library_equals_torch(
    name: str,
    target: str,
    quantized: Quantized,
    library: Libraries,
    batch_of: Callable[[str], int],
    tmp_path: Path,
) -> None:
    """Under an emulator, and in a program on this machine, no call takes more stack than the report says."""
    model, network, batch = quantized(name), NETWORKS[name], batch_of(name)
    built = library(name, target)
    if target == "host":
        built = in_a_program(built, tmp_path / "program")
    assert built.streamable == network.streams
    sequences = [model.quantize_inputs(*network.example(batch, steps)) for steps in network.steps]
    for inputs, got in zip(sequences, built.run_many(tuple(_arrays(s)) for s in sequences), strict=True):
        expected = flat(model(*inputs))
        for ours, theirs in zip(_as_list(got), expected, strict=True):
            assert ours.shape == tuple(theirs.shape)
            assert np.array_equal(ours, theirs.numpy())
    # C sources have no bound, and a library that this CPU runs by itself is not measured.
    if target != "c" and not (target.startswith("x86") and built.stack_bytes is None):
        assert built.stack_bytes is not None
        assert 0 < built.stack_bytes <= built.report["stack_bytes"]


STREAMING = [
    name for name, network in NETWORKS.items() if network.streams and len(network.example(1, 1)) == 1
]


@pytest.mark.parametrize("name", sampled(STREAMING, 3))
def test_steps_equal_a_run(
    name: str, quantized: Quantized, library: Libraries, batch_of: Callable[[str], int]
) -> None:
    """step x T == run(T), also in pieces, also interleaved with another stream; reset starts anew."""
    model, network, batch = quantized(name), NETWORKS[name], batch_of(name)
    built = library(name, "host")
    axis, steps = network.time_axis, 12
    (x,) = _arrays(model.quantize_inputs(*network.example(batch, steps)))
    (other,) = _arrays(model.quantize_inputs(*network.example(batch, steps)))
    whole, whole_other = _as_list(built.run(x))[0], _as_list(built.run(other))[0]

    def at(array: np.ndarray, start: int, stop: int) -> np.ndarray:
        return np.ascontiguousarray(np.take(array, range(start, stop), axis=axis))

    one, two = built.stream(), built.stream()
    pieces, pieces_other = [], []
    for t in range(steps):
        pieces.append(_as_list(one.step(at(x, t, t + 1)))[0])
        pieces_other.append(_as_list(two.step(at(other, t, t + 1)))[0])
    assert np.array_equal(np.concatenate(pieces, axis=axis), whole)
    assert np.array_equal(np.concatenate(pieces_other, axis=axis), whole_other)
    one.reset()
    parts = [_as_list(one.run(at(x, a, b)))[0] for a, b in ((0, 5), (5, 6), (6, steps))]
    assert np.array_equal(np.concatenate(parts, axis=axis), whole)


def test_a_decoder_carries_its_state_explicitly(quantized: Quantized, library: Libraries) -> None:
    """The state that comes out goes in again; torch and the library walk the same way."""
    model = quantized("gru-decoder")
    token, state = model.quantize_inputs(torch.tensor([[3]]), torch.zeros(1, 1, 16))
    stream, ours = library("gru-decoder", "host").stream(), state.numpy()
    for _ in range(15):
        logits, state = model(token, state)
        got, ours = stream.step(token.to(torch.int32).numpy(), ours)
        assert np.array_equal(got, logits.numpy())
        assert np.array_equal(ours, state.numpy())
        token = logits.argmax(dim=-1, keepdim=True)


def test_long_sequences_need_no_more_memory(quantized: Quantized, library: Libraries) -> None:
    model, built = quantized("stacked-lstm"), library("stacked-lstm", "host")
    inputs = model.quantize_inputs(torch.randn(3000, 1, 11))
    assert np.array_equal(_as_list(built.run(*_arrays(inputs)))[0], model(*inputs).numpy())
    # A few steps of everything, on a target that works on a few steps together; the inputs alone are 33,000 bytes.
    assert built.report["arena_bytes"] < 12_000
    assert library("stacked-lstm", "cortex-m4").report["arena_bytes"] < 1000


def test_int8_everywhere(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = NETWORKS["stacked-lstm"]
    batches = [network.example(4, 9) for _ in range(3)]
    model = irnn_tvm.quantize(network.make().eval(), batches, irnn_tvm.QuantConfig.int8())
    inputs = model.quantize_inputs(*network.example(1, 20))
    for target in ("host", "c"):
        library = _build(model, target, tmp_path)
        assert {t.dtype for t in (*library.inputs, *library.outputs)} == {np.dtype("int8")}
        assert np.array_equal(_as_list(library.run(*_arrays(inputs)))[0], model(*inputs).numpy())
