"""Registration of the `irnn::` operators: one decorator pair per op, so that each op's file holds only its formula."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def irnn_op(fn: Callable[..., Any]) -> Any:
    """Registers `fn` as torch.ops.irnn.<name>, for every device; the schema comes from the type hints."""
    return torch.library.custom_op(f"irnn::{fn.__name__}", fn, mutates_args=())


def observable_op(fn: Callable[..., Any]) -> Any:
    """`irnn_op` of a function whose last parameter is `narrow`, a replacement of `saturate` that the operator itself
    does not have: what counts clipped values calls `fn` directly. fn is called <name>_steps."""

    @wraps(fn)
    def op(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    signature = inspect.signature(fn)
    kept = [p for p in signature.parameters.values() if p.name != "narrow"]
    op.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    op.__name__ = fn.__name__.removesuffix("_steps")
    return irnn_op(op)
