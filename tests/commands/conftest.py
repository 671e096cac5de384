"""A folder as the examples in --help assume it: model.pt2, x.npy, and the library of the model in out/."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import irnn_tvm


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


@pytest.fixture(scope="session")
def scores() -> irnn_tvm.IntegerModel:
    torch.manual_seed(0)
    return irnn_tvm.quantize(Scores().eval(), [torch.randn(4, 10, 6) for _ in range(2)])


@pytest.fixture
def folder(
    scores: irnn_tvm.IntegerModel,
    once: Callable[[str, Callable[[Path], object]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    def make(path: Path) -> None:
        path.mkdir()
        irnn_tvm.save_program(scores, path / "model.pt2")
        np.save(path / "x.npy", np.random.default_rng(0).normal(size=(1, 10, 6)).astype(np.float32))
        irnn_tvm.build(scores, "host", out=path / "out")

    shutil.copytree(once("commands", make), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
