"""A program with an operator of every family that streams."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.compiler.build_library import resolve_program


class Everything(nn.Module):
    """features [1, T, 20] -> scores, by layers that are no multiple of any tile."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(20, 37, batch_first=True)
        self.gru, self.head = nn.GRU(37, 18, batch_first=True), nn.Linear(18, 21)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(torch.relu(self.gru(self.lstm(x)[0])[0])))


@cache
def everything() -> Any:
    """The exported program."""
    torch.manual_seed(2)
    return resolve_program(irnn_tvm.quantize(Everything().eval(), [torch.randn(3, 9, 20) for _ in range(2)]))[
        0
    ]
