"""Registration of the `irnn::` operators: one decorator pair per op, so that each op's file holds only its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def irnn_op(fn: Callable[..., Any]) -> Any:
    """Registers `fn` as torch.ops.irnn.<name>, for every device; the schema comes from the type hints."""
    return torch.library.custom_op(f"irnn::{fn.__name__}", fn, mutates_args=())
