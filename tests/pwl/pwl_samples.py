"""Grids and functions of the tests of irnn_tvm.pwl."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irnn_tvm.pwl import QParams

Function = Callable[[np.ndarray], np.ndarray]

IN8, IN16 = QParams(6 / 127, 0, 8), QParams(8 / 32767, 0, 16)
OUT8, OUT16 = QParams(2**-7, -3, 8), QParams(2**-15, 0, 16)


def wavy(seed: int, size: int = 256) -> Function:
    """A smooth random function with a jump, as values per input: fits every grid of this size."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, size)
    values = np.sin(rng.uniform(2, 9) * x + rng.uniform(0, 6)) * rng.uniform(0.1, 1.2) + rng.uniform(
        -0.5, 0.5
    )
    values[rng.integers(size) :] += rng.uniform(-0.4, 0.4)
    return lambda _: values


def bumps(seed: int, size: int = 256) -> np.ndarray:
    """A histogram with empty stretches."""
    rng = np.random.default_rng(seed)
    return np.asarray(np.maximum(rng.normal(size=size).cumsum(), 0.0) + (np.arange(size) == 0))
