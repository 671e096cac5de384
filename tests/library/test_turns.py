"""Single steps are one kernel per layer, and take their weights by turns from either end: the integers are the same."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.schedules.instruction_sets import INSTRUCTION_SETS

TURN = 12  # where the state says which end is next
MODELS: dict[str, Callable[[], nn.RNNBase]] = {
    "lstm": lambda: nn.LSTM(40, 90),
    "gru": lambda: nn.GRU(40, 130),
    "rnn": lambda: nn.RNN(40, 150),
    "stack": lambda: nn.LSTM(40, 72, num_layers=2),
    "both": lambda: nn.LSTM(40, 70, bidirectional=True),
}


class Network(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.rnn = MODELS[name]()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rnn(x)[0]
        return output


@pytest.fixture(scope="module", params=MODELS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Library, irnn_tvm.IntegerModel]:
    generator = torch.Generator().manual_seed(1)
    model = irnn_tvm.quantize(
        Network(request.param), [torch.randn(9, 1, 40, generator=generator) for _ in range(2)]
    )
    folder: Path = tmp_path_factory.mktemp("turns") / request.param
    return irnn_tvm.build(model, "host", out=folder, max_seq_len=12), model


def _text(library: Library) -> str:
    (source,) = library.report["files"]["sources"]
    return (library.directory / source).read_text()


def _x(steps: int) -> np.ndarray:
    return np.random.default_rng(steps).integers(-128, 128, (steps, 1, 40)).astype(np.int8)


def test_one_kernel_does_a_single_step(pair: tuple[Library, irnn_tvm.IntegerModel]) -> None:
    library, _ = pair
    text, names = _text(library), [kernel["name"] for kernel in library.report["kernels"]]
    if irnn_tvm.TARGETS["host"].simd() not in INSTRUCTION_SETS:
        pytest.skip("this machine has none of the instruction sets that have kernels in tiles")
    single = [name for name in names if "_single" in name]
    assert single
    assert all(
        f"{name}(in0" in text or f"{name}(out0" in text or f"{name}((int8_t" in text for name in single
    )


def test_both_turns_give_what_torch_computes(pair: tuple[Library, irnn_tvm.IntegerModel]) -> None:
    library, model = pair
    if not library.streamable:
        return
    x = _x(11)
    expected = model(torch.from_numpy(x)).numpy()
    for first in (0, 1, 7):  # only the lowest bit counts
        stream = library.stream()
        state = bytearray(stream.state)
        assert struct.unpack_from("<I", state, TURN) == (0,)
        struct.pack_into("<I", state, TURN, first)
        stream.state = bytes(state)
        got = []
        for t in range(11):
            got.append(np.array(stream.step(x[t : t + 1])))
            assert struct.unpack_from("<I", stream.state, TURN)[0] % 2 == (first + t + 1) % 2
        assert np.array_equal(np.concatenate(got), expected)


def test_lengths_in_turn(pair: tuple[Library, irnn_tvm.IntegerModel]) -> None:
    """One step has kernels of its own; others follow in the same memory."""
    library, model = pair
    for steps in (1, 12, 1, 1, 2, 1):
        assert np.array_equal(library.run(_x(steps)), model(torch.from_numpy(_x(steps))).numpy())


def test_directions_take_turns(pair: tuple[Library, irnn_tvm.IntegerModel]) -> None:
    library, _ = pair
    turns = "for (int i = 0; i < 2; ++i)" in _text(library)
    assert turns == (not library.streamable and "_single" in _text(library))
