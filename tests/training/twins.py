"""Twins after a few steps of training, for any of the models in trainable.py."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from trainable import TRAINABLES

import irnn_tvm

BATCH, STEPS = 4, 9


def leaves(value: Any) -> list[Tensor]:
    """Tensors of a nested result, in order."""
    return [value] if isinstance(value, Tensor) else [t for item in value for t in leaves(item)]


def loss_of(result: Any) -> Tensor:
    """Something to minimise that every output takes part in."""
    return sum(((y - 0.3) ** 2).mean() for y in leaves(result))  # type: ignore[return-value]


@cache
def shared_twin(name: str, config: irnn_tvm.QatConfig, steps: int) -> irnn_tvm.QatModel:
    """The same, made once per process for tests that only look at it."""
    torch.manual_seed(3)
    return train_twin(name, config, steps)


@cache
def shared_integers(name: str, config: irnn_tvm.QatConfig, steps: int) -> irnn_tvm.IntegerModel:
    """What `shared_twin` converts to."""
    return irnn_tvm.convert(shared_twin(name, config, steps).eval())


@contextmanager
def training_without_dropout(twin: irnn_tvm.QatModel) -> Iterator[None]:
    """Training mode inside; afterwards the twin is as it was, so that others can look at it, too."""
    dropping = [
        (module, name) for module in twin.modules() for name in ("p", "dropout") if hasattr(module, name)
    ]
    rates = [getattr(module, name) for module, name in dropping]
    state = copy.deepcopy(twin.state_dict())
    try:
        for module, name in dropping:
            setattr(module, name, 0.0)
        twin.train()
        yield
    finally:
        for (module, name), rate in zip(dropping, rates, strict=True):
            setattr(module, name, rate)
        twin.load_state_dict(state)
        twin.eval()


def train_twin(name: str, config: irnn_tvm.QatConfig, steps: int) -> irnn_tvm.QatModel:
    """A twin that took that many optimizer steps."""
    trainable = TRAINABLES[name]
    example = trainable.example(BATCH, STEPS)
    twin = irnn_tvm.prepare_qat(trainable.make(), config, example)
    optimizer = torch.optim.Adam(twin.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(twin(*trainable.example(BATCH, STEPS)))
        loss.backward()
        optimizer.step()
        twin.step(loss)
    return twin
