"""Fixtures of training: a seed for every test, and a twin after a few steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from twins import train_twin

import irnn_tvm


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.fixture
def trained() -> Callable[..., irnn_tvm.QatModel]:
    """trained("gru", config, steps): a twin that took that many optimizer steps."""
    return train_twin
