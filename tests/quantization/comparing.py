"""How float and integer results are compared."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def tensors(values: Any) -> list[Tensor]:
    """All tensors of a nested result, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return [t for element in values for t in tensors(element)]


def sqnr(exact: Tensor, noisy: Tensor) -> float:
    """Signal to noise ratio in dB, infinite for equal tensors."""
    signal, noise = exact.double().square().sum(), (exact.double() - noisy.double()).square().sum()
    return math.inf if noise == 0 else float(10 * torch.log10(signal / noise))


def arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A calibration item as args and kwargs."""
    if isinstance(batch, dict):
        return (), batch
    return (batch if isinstance(batch, tuple) else (batch,)), {}


def structure(values: Any) -> Any:
    """The nesting of a result, without its tensors."""
    if isinstance(values, Tensor):
        return tuple(values.shape)
    if isinstance(values, dict):
        return {key: structure(value) for key, value in values.items()}
    return type(values), [structure(value) for value in values]
