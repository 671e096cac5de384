"""Float models of every kind that trains towards integers, small enough to take a few steps of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from attention_trainables import ATTENTION
from norm_trainables import NORMS
from torch import Tensor, nn
from torch.nn import functional as F
from variant_trainables import VARIANTS

import irnn_tvm.nn


@dataclass(frozen=True)
class Trainable:
    """make() builds the model; example(batch, steps) its arguments, in a tuple."""

    make: Callable[[], nn.Module]
    example: Callable[[int, int], tuple[Any, ...]]


class Tagger(nn.Module):
    """A recurrent layer on [B, T, 7] with a linear layer on every step."""

    def __init__(self, rnn: nn.Module, width: int) -> None:
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class Words(nn.Module):
    """Embedding, dropout, stacked LSTM with dropout, tied weights: a language model with explicit states."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(19, 10)
        self.rnn = nn.LSTM(10, 10, num_layers=2, dropout=0.1)
        self.drop, self.out = nn.Dropout(0.1), nn.Linear(10, 19)
        self.out.weight = self.table.weight

    def forward(self, ids: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, states = self.rnn(self.drop(self.table(ids)), states)
        return self.out(self.drop(y)), states


class Front(nn.Module):
    """Convolution with batch norm, relu, strided depthwise convolution, bidirectional GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(5, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.depthwise = nn.Conv1d(8, 8, 3, stride=2, groups=8)
        self.rnn, self.out = nn.GRU(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(F.relu(self.norm(self.conv(x))))
        return self.out(self.rnn(x.transpose(1, 2))[0])


class Elementwise(nn.Module):
    """Sums, products, constants, concatenation and activations between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.rnn = nn.Linear(7, 7), nn.GRU(7, 7, batch_first=True)
        self.shift = nn.Parameter(torch.linspace(-1.0, 1.0, 7))
        self.out = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        y = g * self.rnn(x)[0] + (1.0 - g) * x  # a highway connection
        y = torch.cat((F.silu(y - self.shift), y.clamp(-1.5, 1.5)), dim=-1)
        return self.out(y * 0.5)


class Cells(nn.Module):
    """Single cells with explicit states."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.out = nn.LSTMCell(7, 6), nn.GRUCell(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h, c = self.lstm(x, (h, c))
        s = self.gru(h, s)
        return self.out(s), h, c, s


def _features(width: int = 7) -> Callable[[int, int], tuple[Tensor, ...]]:
    return lambda b, t: (torch.randn(b, t, width),)


def _tagger(make: Callable[..., nn.Module], width: int, **options: Any) -> Trainable:
    return Trainable(lambda: Tagger(make(7, 6, batch_first=True, **options), width), _features())


def _words(b: int, t: int) -> tuple[Any, ...]:
    return torch.randint(0, 19, (t, b)), (torch.tanh(torch.randn(2, b, 10)), torch.randn(2, b, 10))


def _cells(b: int, t: int) -> tuple[Tensor, ...]:
    return torch.randn(b, 7), torch.tanh(torch.randn(b, 6)), torch.randn(b, 6), torch.tanh(torch.randn(b, 5))


TRAINABLES: dict[str, Trainable] = {
    "lstm": _tagger(nn.LSTM, 6),
    "lstm-stacked-bidirectional": _tagger(nn.LSTM, 12, num_layers=2, bidirectional=True, dropout=0.1),
    "lstm-no-bias": _tagger(nn.LSTM, 6, bias=False),
    "lstm-hidden-1": Trainable(lambda: Tagger(nn.LSTM(7, 1, batch_first=True), 1), _features()),
    "gru": _tagger(nn.GRU, 6),
    "gru-stacked-bidirectional": _tagger(nn.GRU, 12, num_layers=2, bidirectional=True, bias=False),
    "gru-reset-before": _tagger(irnn_tvm.nn.GRU, 12, num_layers=2, bidirectional=True, reset_after=False),
    "language-model": Trainable(Words, _words),
    "convolutions": Trainable(Front, lambda b, t: (torch.randn(b, 5, t),)),
    "elementwise": Trainable(Elementwise, _features()),
    "cells": Trainable(Cells, _cells),
}
TRAINABLES |= {name: Trainable(*pair) for name, pair in (ATTENTION | NORMS | VARIANTS).items()}
