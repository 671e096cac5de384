"""Random stacks of layers: whatever hypothesis puts together, library and torch agree on every integer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import irnn_tvm
import irnn_tvm.nn
from irnn_tvm.compiler.compile_sources import compile_c_library

WIDTHS = st.integers(1, 21)
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "none": nn.Identity}


class Stack(nn.Module):
    """Layers on [B, T, F]; recurrent ones keep their outputs only."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, nn.LSTM | nn.GRU | irnn_tvm.nn.GRU):
                x = layer(x)[0]
            elif isinstance(layer, nn.Conv1d):
                x = layer(x.transpose(1, 2)).transpose(1, 2)
            else:
                x = layer(x)
        return x


@st.composite
def stacks(draw: Any) -> tuple[Stack, int]:
    """A model and its input width."""
    first = width = draw(WIDTHS)
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["lstm", "gru", "gru-before", "linear", "conv"]))
        size = draw(WIDTHS)
        both = draw(st.booleans())
        bias = draw(st.booleans())
        if kind == "lstm":
            layers.append(nn.LSTM(width, size, batch_first=True, bidirectional=both, bias=bias))
        elif kind == "gru":
            layers.append(nn.GRU(width, size, batch_first=True, bidirectional=both, bias=bias))
        elif kind == "gru-before":
            layers.append(
                irnn_tvm.nn.GRU(
                    width, size, batch_first=True, bidirectional=both, bias=bias, reset_after=False
                )
            )
        elif kind == "linear":
            layers.append(nn.Linear(width, size, bias=bias))
        else:
            layers.append(nn.Conv1d(width, size, 3, padding=1, dilation=1, bias=bias))
        width = size * (2 if both and kind not in ("linear", "conv") else 1)
        layers.append(ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]())
    layers.append(nn.Linear(width, draw(WIDTHS)))
    return Stack(layers), first


@pytest.mark.exhaustive
@given(
    stack=stacks(),
    batch=st.integers(1, 3),
    steps=st.integers(2, 9),
    gate_bits=st.sampled_from([8, 8, 16]),
    seed=st.integers(0, 9),
    in_c=st.booleans(),
)
# Every example quantizes and compiles, so shrinking would take longer than reading the first failure.
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_random_stacks(
    stack: tuple[Stack, int], batch: int, steps: int, gate_bits: int, seed: int, in_c: bool
) -> None:
    torch.manual_seed(seed)
    model, width = stack
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    config = irnn_tvm.QuantConfig(gate_bits=gate_bits, cell_bits=gate_bits, pwl_pieces=8)
    integer = irnn_tvm.quantize(model.eval(), [torch.randn(4, 7, width) for _ in range(2)], config)
    (x,) = integer.quantize_inputs(2 * torch.randn(batch, steps, width))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        library = irnn_tvm.build(integer, target="c" if in_c else "host", out=out, batch=batch)
        if in_c:
            library = compile_c_library(out)
        assert np.array_equal(library.run(x.numpy()), integer(x).numpy())
