"""Kernels with next to no products, for measuring what the rest of them takes (irnn_tvm/profiling): every dot product
of a row stops after its first group of activations. They compute nothing of use; no build of a library makes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SHORT: ContextVar[bool] = ContextVar("short_products", default=False)


@contextmanager
def short_products() -> Iterator[None]:
    """Everything that is lowered inside has short products."""
    token = _SHORT.set(True)
    try:
        yield
    finally:
        _SHORT.reset(token)


def depth_of(depth: int, group: int) -> int:
    """How many of `depth` products of a row are made. group: activations that a row multiplies at a time."""
    return min(depth, group) if _SHORT.get() else depth
