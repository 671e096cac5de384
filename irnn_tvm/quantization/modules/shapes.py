"""Shape checks of the integer layers; silent while a model is exported, where sizes are symbols."""

from __future__ import annotations

import torch
from torch import Tensor

from irnn_tvm.errors import InputError


def check_size(x: Tensor, dim: int, expected: int, what: str) -> None:
    """Raises InputError when x has another size than `expected` along dim."""
    if torch.compiler.is_compiling():
        return
    if x.shape[dim] != expected:
        raise InputError(f"{what}: expected size {expected} in dimension {dim}, got shape {tuple(x.shape)}")


def check_dtype(x: Tensor, dtype: torch.dtype, what: str) -> None:
    """Raises InputError when x has another dtype."""
    if x.dtype != dtype:
        raise InputError(f"{what}: expected {dtype}, got {x.dtype}")
