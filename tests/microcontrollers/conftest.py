"""A small network, built for microcontrollers once per target."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel, Library


class Tiny(nn.Module):
    """features [1, T, 10] -> a score per step: sizes that fill no block."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(10, 13, batch_first=True), nn.GRU(13, 9, batch_first=True)
        self.head = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(self.lstm(x)[0])[0])


@cache
def tiny() -> IntegerModel:
    torch.manual_seed(4)
    return irnn_tvm.quantize(Tiny().eval(), [torch.randn(4, 12, 10) for _ in range(3)])


@pytest.fixture(scope="session")
def model() -> IntegerModel:
    return tiny()


@pytest.fixture(scope="session")
def sequence() -> np.ndarray:
    """Integer inputs of 11 steps."""
    x: np.ndarray = (
        tiny().quantize_inputs(torch.randn(1, 11, 10, generator=torch.Generator().manual_seed(9)))[0].numpy()
    )
    return x


@pytest.fixture(scope="session")
def library(built: Callable[..., Library]) -> Callable[..., Library]:
    """library("cortex-m4", sources=True)"""

    def get(target: str, **options: object) -> Library:
        label = "".join(f"-{name}" for name, value in options.items() if value)
        return built(f"tiny{label}", target, tiny, name="tiny", **options)

    return get
