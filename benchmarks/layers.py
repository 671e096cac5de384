"""The networks of workloads: in float32 with random weights, after quantization, and built."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from workloads import Workload

import irnn_tvm
from irnn_tvm import Library

CELLS: dict[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "lnlstm": partial(irnn_tvm.nn.LSTM, norm="layer"),
    "madlstm": partial(irnn_tvm.nn.LSTM, norm="mad"),
    "gru": nn.GRU,
}


class Layer(nn.Module):
    """float32 [B, T, X] -> [B, T, directions * H]."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.rnn = CELLS[workload.cell](
            workload.hidden,
            workload.hidden,
            workload.layers,
            batch_first=True,
            bidirectional=workload.bidirectional,
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rnn(x)[0]
        return output


@functools.cache
def integer_model(workload: Workload) -> irnn_tvm.IntegerModel:
    """The layer after post-training quantization. Rounding to nearest: its speed does not depend on the weights."""
    config = irnn_tvm.QuantConfig(weight_rounding="nearest")
    batches = [torch.randn(4, 16, workload.hidden) for _ in range(2)]
    return irnn_tvm.quantize(workload.network(), batches, config)


def build(
    model: irnn_tvm.IntegerModel, workload: Workload, target: str, folder: Path, steps: int, batch: int = 1
) -> Library:
    """The library of a workload. steps: longest sequence, for layers that need the whole of it."""
    name = workload.name.replace("-", "_")
    out = folder / f"{name}_{target}"
    return irnn_tvm.build(model, target=target, out=out, name=name, max_seq_len=steps, batch=batch)
