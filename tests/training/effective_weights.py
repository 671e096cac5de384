"""Float models whose weights are computed from others: every kind that torch has, and of the user."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

import irnn_tvm.nn


class Halved(nn.Module):
    """A user's parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return 0.5 * weight + 0.25 * torch.tanh(weight)


class Symmetric(nn.Module):
    """Another, of square matrices."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).transpose(-1, -2)


class Network(nn.Module):
    """Embedding or features, a recurrent layer, and a linear one on every step."""

    def __init__(self, rnn: nn.Module, width: int = 6) -> None:
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class Front(nn.Module):
    """Embedding, convolution, batch norm, cells' worth of everything else that has a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.conv = nn.Embedding(11, 6), nn.Conv1d(6, 8, 3, padding=1)
        self.norm, self.out = nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.conv(self.table(ids).transpose(1, 2)))
        return self.out(torch.relu(x).transpose(1, 2))


class Own(nn.Module):
    """A layer of the user's own with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.rnn = nn.Parameter(torch.randn(6, 7)), nn.GRU(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(F.linear(x, self.weight))[0]


def _old(function: Callable[..., Any]) -> Callable[[nn.Module, str], Any]:
    def apply(module: nn.Module, name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls them deprecated; people's models still have them
            function(module, name)

    return apply


KINDS: dict[str, Callable[[nn.Module, str], Any]] = {
    "weight_norm hook": _old(nn.utils.weight_norm),
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm hook": _old(nn.utils.spectral_norm),
    "spectral_norm": parametrizations.spectral_norm,
    "user's": lambda module, name: parametrize.register_parametrization(module, name, Halved()),
    "pruning": lambda module, name: prune.l1_unstructured(module, name, amount=0.3),
    "pruning twice": lambda module, name: [
        prune.l1_unstructured(module, name, amount=0.3),
        prune.random_structured(module, name, amount=1, dim=0),
    ],
    "none": lambda module, name: None,
}


def _every_matrix(module: nn.Module, apply: Callable[[nn.Module, str], Any]) -> nn.Module:
    for name in [n for n, p in module.named_parameters(recurse=False) if p.dim() >= 2]:
        apply(module, name)
    return module


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: nn.LSTM(7, 6, batch_first=True),
    "lstm 2 layers both directions": lambda: nn.LSTM(
        7, 3, num_layers=2, bidirectional=True, batch_first=True
    ),
    "lstm with projection": lambda: nn.LSTM(7, 9, proj_size=6, batch_first=True),
    "gru": lambda: nn.GRU(7, 6, batch_first=True),
    "rnn": lambda: nn.RNN(7, 6, batch_first=True),
    "lstm with norm": lambda: irnn_tvm.nn.LSTM(7, 6, batch_first=True, norm="layer"),
    "gru with norm": lambda: irnn_tvm.nn.GRU(7, 6, batch_first=True, norm="layer"),
}


def recurrent(name: str, kind: str) -> nn.Module:
    """A network whose recurrent and linear matrices are all computed."""
    model = Network(RECURRENT[name]())
    _every_matrix(model.rnn, KINDS[kind])
    _every_matrix(model.out, KINDS[kind])
    return model


def front(kind: str) -> nn.Module:
    """Embedding, convolution and linear layer with computed weights."""
    model = Front()
    for module in (model.table, model.conv, model.out):
        KINDS[kind](module, "weight")
    return model


def own(kind: str) -> nn.Module:
    """The user's own module, and its layer."""
    model = Own()
    KINDS[kind](model, "weight")
    _every_matrix(model.rnn, KINDS[kind])
    return model
