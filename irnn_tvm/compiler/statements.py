"""Walks statements and expressions of TIR, whatever their classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PARTS = ("seq", "block", "init", "body", "then_case", "else_case", "value", "indices", "args", "a", "b", "condition",
          "true_value", "false_value", "vectors", "base")  # fmt: skip


def nodes(node: Any) -> Iterator[Any]:
    """A statement and all statements and expressions in it."""
    yield node
    for name in _PARTS:
        part = getattr(node, name, None)
        if part is None or isinstance(part, str | int):
            continue
        for child in part if hasattr(part, "__iter__") else [part]:
            yield from nodes(child)
