"""Models whose sizes say which sequence lengths go: a library takes those, computes torch's integers for them, and
refuses all others, in Python and in C; what lay in its memory before never shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from float_networks import flat
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel, Library, errors
from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.runtime.protocol import Operation

LONGEST = 16


class Sized(nn.Module):
    """A function of layers."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleDict(layers), function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.layers, *inputs)


def _gru(features: int = 5, hidden: int = 6) -> nn.GRU:
    return nn.GRU(features, hidden, batch_first=True)


def _conv_gru(conv: nn.Module) -> nn.Module:
    return Sized(
        lambda m, x: m["gru"](m["conv"](x.transpose(1, 2)).transpose(1, 2))[0], conv=conv, gru=_gru()
    )


def _read(function: Callable[[Tensor], Any], **layers: nn.Module) -> nn.Module:
    """What a function makes of the outputs of a GRU."""
    return Sized(
        lambda m, x: (m["end"] if "end" in m else nn.Identity())(function(m["gru"](x)[0])),
        gru=_gru(),
        **layers,
    )


def _features(b: int, t: int) -> tuple[Tensor, ...]:
    return (torch.randn(b, t, 5),)


@dataclass(frozen=True)
class Row:
    """lengths: the rule, as a library words it. All are calibrated with 8 steps."""

    make: Callable[[], nn.Module]
    lengths: str
    example: Callable[[int, int], tuple[Tensor, ...]] = _features


ROWS = {
    "flatten": Row(lambda: _read(lambda y: y.flatten(1), end=nn.Linear(48, 3)), "T = 8"),
    "view": Row(lambda: _read(lambda y: y.reshape(y.shape[0], -1), end=nn.Linear(48, 3)), "T = 8"),
    "over-time": Row(lambda: _read(lambda y: y.transpose(1, 2), end=nn.Linear(8, 3)), "T = 8"),
    "norm-over-time": Row(lambda: _read(lambda y: y.transpose(1, 2), end=nn.LayerNorm(8)), "T = 8"),
    "step-6": Row(lambda: _read(lambda y: y[:, 6]), "7 <= T <= 16"),
    "third-last": Row(lambda: _read(lambda y: y[:, -3]), "3 <= T <= 16"),
    "last-three": Row(lambda: _read(lambda y: y[:, -3:]), "3 <= T <= 16"),
    "first-four": Row(lambda: _read(lambda y: y[:, :4]), "4 <= T <= 16"),
    "narrow": Row(lambda: _read(lambda y: y.narrow(1, 2, 4)), "6 <= T <= 16"),
    "from-step-3": Row(lambda: _read(lambda y: y[:, 3:]), "4 <= T <= 16"),
    "convolution": Row(lambda: _conv_gru(nn.Conv1d(5, 5, 3)), "3 <= T <= 16"),
    "dilated": Row(lambda: _conv_gru(nn.Conv1d(5, 5, 3, stride=2, dilation=2)), "5 <= T <= 16"),
    "pooled": Row(lambda: _conv_gru(nn.MaxPool1d(3, 2)), "3 <= T <= 16"),
    "strided-view": Row(
        lambda: Sized(
            lambda m, x: m["end"](m["conv"](x.transpose(1, 2)).flatten(1)),
            conv=nn.Conv1d(5, 6, 3, stride=2, padding=1),
            end=nn.Linear(24, 3),
        ),
        "7 <= T <= 8",
    ),
}


@cache
def _model(name: str) -> IntegerModel:
    torch.manual_seed(len(name))
    row = ROWS[name]
    return irnn_tvm.quantize(row.make().eval(), [row.example(4, 8) for _ in range(3)])


def _arrays(tensors: tuple[Tensor, ...]) -> list[np.ndarray]:
    return [t.to(torch.int32).numpy() if t.dtype == torch.int64 else t.numpy() for t in tensors]


def _compare(name: str, library: Library, batch: int = 1) -> None:
    """Every length: torch's integers whatever the memory held, or a refusal that names the rule."""
    model, row = _model(name), ROWS[name]
    assert library.time.text() == row.lengths
    for steps in range(1, LONGEST + 2):
        inputs = model.quantize_inputs(*row.example(batch, steps))
        if not library.time.accepts(steps):
            with pytest.raises(errors.InputError, match=r"T = \d|expected shape"):
                library.run(*_arrays(inputs))
            continue
        expected = [t.numpy() for t in flat(model(*inputs))]
        for pattern in (0x00, 0xA5):
            stream = library.stream()
            stream._memory.arena[...] = pattern
            out = [np.full(e.shape, pattern, np.uint8).astype(e.dtype) for e in expected]
            stream.run(*_arrays(inputs), out=out)
            for ours, theirs in zip(out, expected, strict=True):
                assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("name", ROWS)
def test_lengths_of_a_library(name: str, tmp_path: Path) -> None:
    library = irnn_tvm.build(_model(name), out=tmp_path / "out", max_seq_len=LONGEST)
    _compare(name, library)


@pytest.mark.parametrize("name", ["flatten", "step-6", "strided-view"])
def test_lengths_of_c_sources(name: str, tmp_path: Path) -> None:
    irnn_tvm.build(_model(name), "c", out=tmp_path / "out", max_seq_len=LONGEST)
    library = compile_c_library(tmp_path / "out")
    _compare(name, library)
    model, row = _model(name), ROWS[name]
    inputs, out = _arrays(model.quantize_inputs(*row.example(1, LONGEST))), np.zeros(4096, np.int16)
    for steps in range(1, LONGEST + 2):
        operation = Operation("run", steps, inputs, [out])
        library._engine_or_raise().execute(library._memory(), [operation])
        assert operation.code == (0 if library.time.accepts(steps) else -2)


@pytest.mark.parametrize("name", ["flatten", "view", "step-6", "third-last", "over-time", "dilated"])
def test_a_model_refuses_what_it_cannot_take(name: str) -> None:
    """The integer model itself names its input and the sizes, where the float model fails with torch's words."""
    model, row = _model(name), ROWS[name]
    with pytest.raises(errors.InputError, match=r"does not take these sizes \(.*calibration had \(4, 8, 5\)"):
        model(*model.quantize_inputs(*row.example(1, 1)))


def test_a_limit_below_the_shortest_length() -> None:
    with pytest.raises(errors.InputError, match=r"max_seq_len=4: the model takes T >= 7 \(strided_slice"):
        irnn_tvm.build(_model("step-6"), max_seq_len=4)


def test_a_fixed_length_that_does_not_fit() -> None:
    with pytest.raises(errors.BuildError, match=r"do not fit each other: linear .* \(30, 48\)"):
        irnn_tvm.build(_model("flatten"), seq_len=5)
