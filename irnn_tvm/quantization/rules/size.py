"""Sizes: shape queries and Python arithmetic on them are copied to the integer graph, where shapes are the
same.
"""

from __future__ import annotations

from typing import Any

import torch

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.slots import Static, Value


def is_plain(value: Any) -> bool:
    """True for values that are not tensors and hold none."""
    if isinstance(value, tuple | list):
        return all(is_plain(v) for v in value)
    return value is None or isinstance(value, int | float | bool | str | torch.dtype | torch.device)


class SizeOp(Op):
    """x.size(0), x.shape, a * b ... with a result that is not a tensor."""

    kind = "size"

    def plan(self) -> Value:
        return Static()

    def emit(self, emitter: Emitter) -> Any:
        return emitter.copy(self.node)
