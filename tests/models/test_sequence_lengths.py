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
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import irnn_tvm
from irnn_tvm import IntegerModel, Library, errors
from irnn_tvm.compiler import firmware_image
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


class Positions(nn.Module):
    """A learned vector for each step, up to 12 of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.gru = nn.Parameter(torch.randn(1, 12, 5)), _gru()

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x + self.table[:, : x.shape[1]])[0]


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
    "pairs": Row(
        lambda: Sized(lambda m, x: m["gru"](x.reshape(x.shape[0], x.shape[1] // 2, 10))[0], gru=_gru(10)),
        "2 <= T <= 16 and T % 2 == 0",
    ),
    "strided-pairs": Row(
        lambda: Sized(
            lambda m, x: (lambda y: m["gru"](y.reshape(y.shape[0], y.shape[1] // 2, 12))[0])(
                m["conv"](x.transpose(1, 2)).transpose(1, 2)
            ),
            conv=nn.Conv1d(5, 6, 3, stride=2, padding=1),
            gru=_gru(12),
        ),
        "3 <= T <= 16 and T % 4 is 0 or 3",
    ),
    "halves": Row(lambda: _read(lambda y: sum(p.mean(1) for p in y.split(4, 1))), "5 <= T <= 8"),
    "even-parts": Row(
        lambda: _read(lambda y: torch.cat([p.mean(1) for p in y.tensor_split(2, dim=1)], 1)),
        "2 <= T <= 16 and T % 2 == 0",
    ),
    "thirds": Row(
        lambda: _read(lambda y: torch.cat([p.mean(1) for p in y.tensor_split(3, dim=1)], 1)),
        "5 <= T <= 14 and T % 3 == 2",
    ),
    "middle": Row(lambda: _read(lambda y: y[:, y.shape[1] // 2]), "1 <= T <= 16"),
    "autoencoder": Row(
        lambda: Sized(
            lambda m, x: m["gru"](m["encoder"](x)[1][0][-1].unsqueeze(1).repeat(1, x.shape[1], 1))[0],
            encoder=nn.LSTM(5, 6, batch_first=True),
            gru=_gru(6),
        ),
        "1 <= T <= 16",
    ),
    "autoencoder-tiles": Row(
        lambda: Sized(
            lambda m, x: m["gru"](m["encoder"](x)[0][:, -1:].tile(1, x.size(1), 1))[0],
            encoder=_gru(),
            gru=_gru(6),
        ),
        "1 <= T <= 16",
    ),
    "interleaved": Row(
        lambda: Sized(lambda m, x: m["gru"](x.repeat_interleave(2, dim=1))[0], gru=_gru()), "1 <= T <= 16"
    ),
    "doubled": Row(
        lambda: Sized(lambda m, x: m["gru"](x.repeat(1, 1 + x.shape[1] // 4, 1))[0], gru=_gru()),
        "1 <= T <= 16",
    ),
    "positions": Row(lambda: Positions(), "1 <= T <= 12"),
    "scrambled": Row(
        lambda: Sized(
            lambda m, x: m["gru"](m["front"](x).reshape(x.shape[0], 6, x.shape[1]).transpose(1, 2))[0],
            front=nn.Linear(5, 6),
            gru=_gru(6),
        ),
        "1 <= T <= 16",
    ),
    "step-or-all": Row(
        lambda: Sized(
            lambda m, x: (lambda y, s: {"all": y, "states": (s[0], [s[1]])})(*m["lstm"](x)),
            lstm=nn.LSTM(5, 6, batch_first=True),
        ),
        "1 <= T <= 16",
    ),
}


def _frames(within: Callable[[nn.ModuleDict, Tensor], Tensor], width: int, **layers: nn.Module) -> nn.Module:
    """A function of single frames [B * T, 1, 5], then a GRU over time."""
    return Sized(
        lambda m, x: m["gru"](within(m, x.reshape(-1, 1, 5)).reshape(x.shape[0], x.shape[1], width))[0],
        gru=_gru(width),
        **layers,
    )


FRAMES = {
    "frame-conv": Row(
        lambda: _frames(lambda m, x: m["conv"](x), 15, conv=nn.Conv1d(1, 3, 3, padding=1)), "1 <= T <= 16"
    ),
    "frame-pool": Row(
        lambda: _frames(
            lambda m, x: nn.functional.max_pool1d(m["conv"](x).relu(), 2),
            6,
            conv=nn.Conv1d(1, 3, 3, padding=1),
        ),
        "1 <= T <= 16",
    ),
    "frame-norm": Row(
        lambda: Sized(
            lambda m, x: m["norm"](m["gru"](x)[0].flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[1])),
            gru=_gru(),
            norm=nn.BatchNorm1d(6),
        ),
        "1 <= T <= 16",
    ),
}
ROWS |= FRAMES


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
        expected = [t.numpy() for t in tree_leaves(model(*inputs))]
        for pattern in (0x00, 0xA5):
            stream = library.stream()
            stream._memory.arena[...] = pattern
            out = [np.full(e.shape, pattern, np.uint8).astype(e.dtype) for e in expected]
            stream.run(*_arrays(inputs), out=out)
            for ours, theirs in zip(out, expected, strict=True):
                assert np.array_equal(ours, theirs)


# Of each kind one or two; the others with all of what is compared on every target.
MORE = ("view", "norm-over-time", "third-last", "narrow", "from-step-3", "dilated", "pooled", "middle", "interleaved",
        "doubled", "autoencoder-tiles", *FRAMES)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.exhaustive] if n in MORE else []) for n in ROWS]
)
def test_lengths_of_a_library(name: str, tmp_path: Path) -> None:
    library = irnn_tvm.build(_model(name), out=tmp_path / "out", max_seq_len=LONGEST)
    _compare(name, library)


@pytest.mark.parametrize("name", ["flatten", "step-6", "strided-pairs", "frame-conv"])
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


@pytest.mark.parametrize("name", FRAMES)
def test_frames_stream(name: str, tmp_path: Path) -> None:
    """What works within each frame is the same a step at a time, for several sequences too."""
    model, row = _model(name), ROWS[name]
    library = irnn_tvm.build(model, out=tmp_path / "out", batch=2)
    (x,) = _arrays(model.quantize_inputs(*row.example(2, 20)))
    whole, stream = library.run(x), library.stream()
    assert np.array_equal(whole, model(torch.from_numpy(x)).numpy())
    steps = stream.steps(np.ascontiguousarray(x[:, t : t + 1]) for t in range(20))
    assert np.array_equal(np.concatenate(steps, axis=1), whole)


@pytest.mark.parametrize("name", ["positions", "scrambled"])
def test_what_depends_on_the_number_of_a_step_does_not_stream(name: str) -> None:
    assert not irnn_tvm.build(_model(name), max_seq_len=4).streamable


@pytest.mark.parametrize(
    ("name", "target"), [("strided-pairs", "cortex-m4"), ("step-or-all", "cortex-m4"), ("frame-conv", "arm")]
)
def test_lengths_under_emulation(
    name: str, target: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    """The same on other targets; a microcontroller's build has a self-test of a length that goes."""
    require_tool({"cortex-m4": "qemu-system-arm", "arm": "qemu-aarch64"}[target])
    model, row = _model(name), ROWS[name]
    library = irnn_tvm.build(model, target, out=tmp_path / "out", max_seq_len=LONGEST)
    taken = [t for t in range(1, LONGEST + 1) if library.time.accepts(t)]
    sequences = [model.quantize_inputs(*row.example(1, steps)) for steps in taken]
    for inputs, got in zip(sequences, library.run_many(tuple(_arrays(s)) for s in sequences), strict=True):
        results = got if isinstance(got, tuple) else (got,)
        expected = tree_leaves(model(*inputs))
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(results, expected, strict=True))
    if target == "cortex-m4":
        firmware_image.run(firmware_image.link(library, tmp_path / "firmware.elf", None))


def test_a_recurrent_layer_within_each_frame_needs_a_length() -> None:
    torch.manual_seed(0)
    network = _frames(lambda m, x: m["inner"](x.transpose(1, 2))[1][0], 6, inner=_gru(1))
    model = irnn_tvm.quantize(network.eval(), [torch.randn(4, 8, 5) for _ in range(2)])
    with pytest.raises(errors.BuildError, match=r"it runs T sequences at once.* build with seq_len="):
        irnn_tvm.build(model)
    library = irnn_tvm.build(model, seq_len=6)
    (x,) = model.quantize_inputs(torch.randn(1, 6, 5))
    assert np.array_equal(library.run(x.numpy()), model(x).numpy())


@pytest.mark.parametrize(("target", "limit"), [("cortex-m4", "536,870,912"), ("host", "2,147,483,647")])
def test_an_arena_that_no_memory_holds(target: str, limit: str) -> None:
    torch.manual_seed(0)
    network = _read(lambda y: torch.softmax(y @ y.transpose(1, 2), -1) @ y)
    model = irnn_tvm.quantize(network.eval(), [torch.randn(4, 8, 5)])
    with pytest.raises(errors.MemoryBudgetError, match=rf"{limit} .* int16 \[1, T, T\] of matmul alone has"):
        irnn_tvm.build(model, target, max_seq_len=60_000)


def test_a_limit_below_the_shortest_length() -> None:
    with pytest.raises(errors.InputError, match=r"max_seq_len=4: the model takes T >= 7 \(strided_slice"):
        irnn_tvm.build(_model("step-6"), max_seq_len=4)


def test_a_fixed_length_that_does_not_fit() -> None:
    with pytest.raises(errors.BuildError, match=r"do not fit each other: linear .* \(30, 48\)"):
        irnn_tvm.build(_model("flatten"), seq_len=5)
