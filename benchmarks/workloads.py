"""The layers that the scripts in this folder measure: random weights, an input as wide as the state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import Library

CELLS: dict[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "lnlstm": partial(irnn_tvm.nn.LSTM, norm="layer"),
    "madlstm": partial(irnn_tvm.nn.LSTM, norm="mad"),
    "gru": nn.GRU,
}


@dataclass(frozen=True)
class Workload:
    """cell: of CELLS; hidden: units of a direction."""

    cell: str
    hidden: int
    layers: int = 1
    bidirectional: bool = False

    @property
    def name(self) -> str:
        prefix = "bi" if self.bidirectional else ""
        many = f"{self.layers}x" if self.layers > 1 else ""
        return f"{prefix}{self.cell}-{many}{self.hidden}"

    @property
    def macs(self) -> int:
        """int8 multiply-accumulates of a step."""
        gates, directions = 3 if self.cell == "gru" else 4, 2 if self.bidirectional else 1
        widths = [self.hidden, *([self.hidden * directions] * (self.layers - 1))]
        return sum(gates * directions * self.hidden * (width + self.hidden) for width in widths)

    def streams(self, steps: int) -> bool:
        """Whether an inference of so many steps is a step of a stream, which keeps its state."""
        return steps == 1 and not self.bidirectional

    def network(self) -> Layer:
        """The float layer, the same in every run."""
        torch.manual_seed(0)
        return Layer(self).eval()


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("lstm", 128),
        Workload("lstm", 256),
        Workload("lstm", 512),
        Workload("lstm", 1024),
        Workload("lstm", 650, layers=2),
        Workload("lstm", 320, bidirectional=True),
        Workload("lnlstm", 256),
        Workload("madlstm", 256),
        Workload("gru", 256),
    )
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
