"""Recurrent variants that train towards integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import irnn_tvm.nn

Pair = tuple[Callable[[], nn.Module], Callable[[int, int], tuple[Any, ...]]]


class Tagged(nn.Module):
    """A recurrent layer on [B, T, 7] with a linear layer on every step."""

    def __init__(self, rnn: nn.Module, width: int) -> None:
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class Projected(nn.Module):
    """A projected LSTM with peepholes and explicit states."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = irnn_tvm.nn.LSTM(7, 6, proj_size=4, peephole=True, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.rnn(x, (h, c))
        return y, h, c


def _lstm(width: int, **options: Any) -> Pair:
    return _pair(lambda: irnn_tvm.nn.LSTM(7, 6, batch_first=True, **options), width)


def _pair(make: Callable[[], nn.Module], width: int) -> Pair:
    return lambda: Tagged(make(), width), lambda b, t: (torch.randn(b, t, 7),)


def _states(b: int, t: int) -> tuple[Tensor, ...]:
    return torch.randn(b, t, 7), 0.3 * torch.randn(1, b, 4), torch.randn(1, b, 6)


VARIANTS: dict[str, Pair] = {
    "lstm-projected": _pair(lambda: nn.LSTM(7, 6, batch_first=True, proj_size=4), 4),
    "lstm-peephole-clip": _lstm(6, peephole=True, cell_clip=0.5),
    "lstm-coupled": _lstm(12, coupled=True, num_layers=2, bidirectional=True),
    "lstm-layer-norm": _lstm(6, norm="layer"),
    "lstm-mad-norm": _lstm(6, norm="mad", bias=False),
    "lstm-mogrifier": _lstm(6, mogrify=3),
    "lstm-everything": _lstm(5, norm="mad", norm_cell="layer", peephole=True, coupled=True, cell_clip=2.0, mogrify=2,
                             proj_size=5),
    "lstm-projected-states": (Projected, _states),
    "gru-layer-norm": _pair(lambda: irnn_tvm.nn.GRU(7, 6, batch_first=True, norm="layer"), 6),
    "gru-mad-norm": _pair(
        lambda: irnn_tvm.nn.GRU(7, 6, batch_first=True, norm="mad", num_layers=2, bidirectional=True), 12
    ),
    "rnn-tanh": _pair(lambda: nn.RNN(7, 6, batch_first=True, num_layers=2, dropout=0.1), 6),
    "rnn-relu": _pair(lambda: nn.RNN(7, 6, batch_first=True, nonlinearity="relu", bidirectional=True), 12),
}  # fmt: skip
