"""Two quantized models that between them use every operator: one runs step by step, one needs the whole sequence."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel
from irnn_tvm.nn import GRU

Arrays = tuple[npt.NDArray[Any], ...]
WORDS = 23


class Tagger(nn.Module):
    """ids [T, B] -> a score per step: embedding, LSTM, both kinds of GRU, a residual sum and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 64)
        self.lstm, self.after, self.before = nn.LSTM(64, 64), nn.GRU(64, 64), GRU(64, 64, reset_after=False)
        self.head = nn.Linear(64, 6)

    def forward(self, ids: Tensor) -> Tensor:
        first = self.lstm(self.embedding(ids))[0]
        second = self.after(first)[0] + first
        third = self.before(second)[0]
        return torch.tanh(self.head(third * torch.sigmoid(second)))


class Encoder(nn.Module):
    """features [B, T, 6] -> a class: convolution, relu, both directions of an LSTM, the last states."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 8, 3, padding=1)
        self.lstm = nn.LSTM(8, 11, bidirectional=True, batch_first=True)
        self.head = nn.Linear(22, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        _, (h, _) = self.lstm(features)
        return self.head(torch.cat([h[0], h[1]], dim=-1))


def _floats(name: str, steps: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if name == "tagger":
        return torch.randint(0, WORDS, (steps, 1), generator=generator, dtype=torch.int32)
    return torch.randn(1, steps, 6, generator=generator)


MODELS = {"tagger": Tagger, "encoder": Encoder}


@cache
def integer_model(name: str) -> IntegerModel:
    """The quantized model: seeded weights, three calibration batches."""
    torch.manual_seed(11)
    return irnn_tvm.quantize(MODELS[name]().eval(), [_floats(name, 12, seed) for seed in range(3)])


def sample(name: str, steps: int, seed: int = 50) -> Arrays:
    """Integer inputs of one sequence."""
    return tuple(x.numpy() for x in integer_model(name).quantize_inputs(_floats(name, steps, seed)))


def reference(name: str, inputs: Arrays) -> npt.NDArray[Any]:
    """What torch computes for them."""
    result: npt.NDArray[np.integer] = integer_model(name)(*(torch.from_numpy(x) for x in inputs)).numpy()
    return result
