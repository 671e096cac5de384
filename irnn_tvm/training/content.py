"""What a module's tensors hold: whether anything has changed since, however it was written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn


class Content:
    """Copies of a module's parameters and buffers. Versions of tensors do not count writes through `.data`, so
    contents are compared; that reads every weight once, which is little beside an evaluation."""

    def __init__(self, module: nn.Module) -> None:
        self.kept = {name: tensor.detach().clone() for name, tensor in _tensors(module)}

    def is_of(self, module: nn.Module) -> bool:
        """True when the module holds the same, bit for bit but for the sign of 0."""
        now = dict(_tensors(module))
        return now.keys() == self.kept.keys() and all(_same(now[n], t) for n, t in self.kept.items())


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())


def _same(a: Tensor, b: Tensor) -> bool:
    alike = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
    return alike and torch.equal(a.detach(), b)
