"""Small models whose bytes and products can be worked out by hand, and their libraries."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel

WORDS, HIDDEN = 19, 64


class Layer(nn.Module):
    """float32 [1, T, HIDDEN] -> [1, T, HIDDEN] through one recurrent layer."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = cell(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        return y


class Tagger(nn.Module):
    """ids [1, T] -> scores [1, T, 8]: embedding, LSTM, linear, a product with an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, HIDDEN)
        self.rnn = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.rnn(self.embedding(ids))[0]))


class Whole(nn.Module):
    """features [1, T, 6] -> [1, T, 8]: a convolution and self attention, which have no single step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return torch.nn.functional.scaled_dot_product_attention(y, y, y)


MODELS: dict[str, Any] = {
    "lstm": lambda: Layer(nn.LSTM),
    "gru": lambda: Layer(nn.GRU),
    "linear": lambda: nn.Linear(HIDDEN, 24),
    "tagger": Tagger,
    "whole": Whole,
}


def example(name: str, steps: int = 12) -> Tensor:
    """Float inputs, or ids."""
    if name == "tagger":
        return torch.randint(0, WORDS, (1, steps), dtype=torch.int32)
    return torch.randn(1, steps, 6 if name == "whole" else HIDDEN)


@cache
def integer_model(name: str) -> IntegerModel:
    """The quantized model, seeded."""
    torch.manual_seed(3)
    network = MODELS[name]().eval()
    return irnn_tvm.quantize(
        network, [example(name) for _ in range(2)], irnn_tvm.QuantConfig(weight_rounding="nearest")
    )
