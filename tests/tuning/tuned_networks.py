"""Programs with operators of every family: one that streams, and one that needs the whole sequence."""

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


class Whole(nn.Module):
    """features [1, T, 20] -> scores, by layers that need the whole sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(20, 36, 3, padding=1)
        self.attention, self.norm = nn.MultiheadAttention(36, 3, batch_first=True), nn.LayerNorm(36)
        self.lstm = nn.LSTM(36, 18, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.convolution(x.transpose(1, 2))).transpose(1, 2)
        y = self.norm(self.attention(y, y, y, need_weights=False)[0])
        return torch.softmax(self.lstm(y)[0], -1)


@cache
def whole() -> Any:
    """The exported program."""
    torch.manual_seed(3)
    return resolve_program(irnn_tvm.quantize(Whole().eval(), [torch.randn(3, 9, 20) for _ in range(2)]))[0]
