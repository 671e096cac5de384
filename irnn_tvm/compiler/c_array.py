"""Constant arrays as C text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

PER_LINE = 24


def array_lines(values: np.ndarray[Any, np.dtype[Any]]) -> Iterator[str]:
    """Lines of an initializer, each with its last comma."""
    flat = values.ravel()
    for first in range(0, flat.size, PER_LINE):
        yield ", ".join(_literal(int(v)) for v in flat[first : first + PER_LINE]) + ","


def _literal(value: int) -> str:
    # -2147483648 is an expression of a wider type in C.
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)
