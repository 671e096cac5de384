"""Networks of recurrent variants, and of highway and residual connections between layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import irnn_tvm.nn


class Variants(nn.Module):
    """LayerNorm, peepholes with coupled gates and a clipped cell, Mogrifier with a projection, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a = irnn_tvm.nn.LSTM(6, 8, norm="layer", batch_first=True)
        self.b = irnn_tvm.nn.LSTM(8, 9, peephole=True, coupled=True, cell_clip=0.4, batch_first=True)
        self.c = irnn_tvm.nn.LSTM(9, 10, mogrify=3, proj_size=5, batch_first=True)
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.c(self.b(self.a(x)[0])[0])[0])


class Bidirectional(nn.Module):
    """Two bidirectional projected layers with MadNorm, a bidirectional LN-GRU, a relu RNN; last step classified."""

    def __init__(self) -> None:
        super().__init__()
        self.a = irnn_tvm.nn.LSTM(5, 7, 2, norm="mad", proj_size=4, bidirectional=True, batch_first=True)
        self.b = irnn_tvm.nn.GRU(8, 6, norm="layer", bidirectional=True, batch_first=True)
        self.c = nn.RNN(12, 5, nonlinearity="relu", batch_first=True)
        self.out = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.c(self.b(self.a(x)[0])[0])
        return self.out(y[:, -1]), h


class Highway(nn.Module):
    """Two LSTM layers with highway connections: y = t * lstm(x) + (1 - t) * x, t = sigmoid(W x + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(9, 9, batch_first=True) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(9, 9) for _ in range(2))
        self.out = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer, gate in zip(self.layers, self.gates, strict=True):
            t = torch.sigmoid(gate(x))
            x = t * layer(x)[0] + (1 - t) * x
        return self.out(x)


class ResidualStack(nn.Module):
    """Three recurrent layers of different kinds, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                irnn_tvm.nn.LSTM(8, 12, proj_size=8, batch_first=True),
                irnn_tvm.nn.GRU(8, 8, norm="layer", batch_first=True),
                nn.RNN(8, 8, batch_first=True),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)[0]
        return x


class ProjectedStates(nn.Module):
    """A projected, normalised LSTM whose states come in and go out; h is narrower than c."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = irnn_tvm.nn.LSTM(6, 9, proj_size=4, norm="layer", peephole=True, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.rnn(x, (h, c))
        return self.out(y), h, c


class VanillaStep(nn.Module):
    """One step of an RNN cell with an explicit state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.RNNCell(6, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return self.out(h), h


def _features(width: int) -> Callable[[int, int], tuple[Tensor, ...]]:
    return lambda b, t: (torch.randn(b, t, width),)


def _states(b: int, t: int) -> tuple[Tensor, ...]:
    return torch.randn(b, t, 6), 0.3 * torch.randn(1, b, 4), torch.randn(1, b, 9)


def _hidden_1() -> nn.Module:
    """The norm of a cell of one unit would be 0 for all inputs."""
    options = {"norm": "mad", "norm_cell": None, "mogrify": 2, "peephole": True, "cell_clip": 1.0}
    return irnn_tvm.nn.LSTM(3, 1, batch_first=True, **options)


VARIANTS: dict[str, dict[str, Any]] = {
    "lstm-variants": {"make": Variants, "example": _features(6), "streams": True},
    "variants-bidirectional": {"make": Bidirectional, "example": _features(5)},
    "highway": {"make": Highway, "example": _features(9), "streams": True},
    "residual-stack": {"make": ResidualStack, "example": _features(8), "streams": True},
    "lstm-projected-states": {"make": ProjectedStates, "example": _states, "streams": True},
    "lstm-variant-hidden-1": {"make": _hidden_1, "example": _features(3), "streams": True},
    "rnn-stacked": {
        "make": lambda: nn.RNN(6, 7, num_layers=2, batch_first=True),
        "example": _features(6),
        "streams": True,
    },
    "rnn-cell": {
        "make": VanillaStep,
        "example": lambda b, t: (torch.randn(b, 6), torch.tanh(torch.randn(b, 7))),
        "streams": True,
        "steps": (1,),
    },
}
