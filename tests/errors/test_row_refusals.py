"""Norms, pools and selections: when a model streams, and lengths that would overflow."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from irnn_tvm import errors, ops
from irnn_tvm.compiler.pipeline import lower_program
from irnn_tvm.compiler.streaming import analyse
from irnn_tvm.frontend.import_program import import_program

GAINS = torch.full((8,), 1 << 20, dtype=torch.int32)


class Call(nn.Module):
    """A function of x [T, 2, 8] after an operator that keeps its parameters in the program."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.register_buffer("gains", GAINS)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(ops.clamp(x, -100, 100), self.gains)


def _export(function: Callable[..., Any], dtype: torch.dtype = torch.int8) -> torch.export.ExportedProgram:
    time = torch.export.Dim("time", min=4, max=1 << 20)
    example = torch.zeros((6, 2, 8), dtype=dtype)
    return torch.export.export(Call(function), (example,), dynamic_shapes=({0: time},))


STREAMS: dict[str, tuple[Callable[..., Any], str]] = {
    "layer-norm": (lambda x, g: ops.layer_norm(x, g, g, 1, 30, 0, 16), ""),
    "mad-norm": (lambda x, g: ops.mad_norm(x, g, g, 1, 30, 0, 16), ""),
    "mean-of-features": (lambda x, g: ops.mean_pool(x, -1, 0, 1 << 30, 30, 0, 8), ""),
    "sum-of-features": (lambda x, g: ops.sum_pool(x, 2, 0, 1 << 30, 33, 0, 8), ""),
    "sum-over-time": (lambda x, g: ops.sum_pool(x, 0, 0, 1 << 30, 33, 0, 8), "the whole sequence is pooled"),
    "maximum-of-batch": (lambda x, g: ops.max_pool(x, 1), ""),
    "argmax-of-features": (lambda x, g: ops.argmax(x, 2), ""),
    "topk-of-features": (lambda x, g: ops.topk(x, 3), ""),
    "windows-of-features": (
        lambda x, g: ops.avg_pool1d(ops.max_pool1d(x, 2, 2, 0, 1), 2, 1, 0, 0, 1 << 29, 30, 0, 8),
        "",
    ),
    "windows-of-one-step": (lambda x, g: ops.max_pool1d(x.permute(1, 2, 0), 1, 1, 0, 1), ""),
    "mean-over-time": (
        lambda x, g: ops.mean_pool(x, 0, 0, 1 << 30, 30, 0, 8),
        "the whole sequence is pooled",
    ),
    "maximum-over-time": (lambda x, g: ops.max_pool(x, -3), "the whole sequence is pooled"),
    "argmax-over-time": (lambda x, g: ops.argmax(x, 0), "the whole sequence is pooled"),
    "windows-over-time": (
        lambda x, g: ops.avg_pool1d(x.permute(1, 2, 0), 3, 1, 1, 0, 1 << 28, 30, 0, 8),
        "a pooling window sees several time steps",
    ),
    "every-second-step": (
        lambda x, g: ops.max_pool1d(x.permute(1, 2, 0), 1, 2, 0, 1),
        "size depends on the sequence length|a pooling window sees several time steps",
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streaming(name: str) -> None:
    function, reason = STREAMS[name]
    found = analyse(import_program(_export(function))["main"])
    assert found.streamable == (not reason), found.reason
    if reason:
        assert re.search(reason, found.reason), found.reason


def test_a_mean_over_more_steps_than_its_sum_holds() -> None:
    program = _export(lambda x, g: ops.mean_pool(x, 0, 0, 1 << 30, 30, 0, 16), torch.int16)
    lower_program(program, max_seq_len=65535)
    with pytest.raises(errors.AccumulatorOverflowError, match=r"irnn\.mean_pool .* over 65536 values"):
        lower_program(program, max_seq_len=65536)


def test_rows_of_a_run_time_length() -> None:
    with pytest.raises(errors.BuildError, match="its last axis has a run-time size"):
        lower_program(_export(lambda x, g: ops.topk(x.permute(1, 2, 0), 2)[0]))


def test_a_norm_over_time_takes_one_length() -> None:
    program = _export(lambda x, g: ops.layer_norm(x.permute(1, 2, 0), g, g, 1, 30, 0, 16))
    assert lower_program(program).fixed_steps == 8
