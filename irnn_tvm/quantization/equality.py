"""When two tensors, or two results of a model, are the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same, bit for bit but for the sign of 0 (NaN equals NaN)."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = a.detach(), b.detach()
    return bool(torch.equal(a, b)) or bool(((a == b) | ((a != a) & (b != b))).all())


def same(a: Any, b: Any) -> bool:
    """The same of nested results; lists and tuples are alike, and what is no tensor is not compared."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return same_tensor(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return isinstance(a, Tensor) == isinstance(b, Tensor)
