"""Evaluation of one captured node on concrete float values, without touching what it reads."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor, fx, nn

INPLACE_OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def writes_in_place(node: fx.Node, module: nn.Module | None) -> bool:
    """True when the original code overwrites its first argument (relu_, +=, inplace=True)."""
    if node.op == "call_module":
        return bool(getattr(module, "inplace", False))
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        inplace = name.endswith("_") and not name.endswith("__")
        return inplace or bool(node.kwargs.get("inplace")) or node.target in INPLACE_OPERATORS
    return False


def evaluate(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], module: nn.Module | None) -> Any:
    """The node's result for concrete arguments; in-place operations work on a copy."""
    if writes_in_place(node, module):
        args = tuple(a.clone() if isinstance(a, Tensor) else a for a in args)
        kwargs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
    if node.op == "call_module":
        assert module is not None
        return module(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    function: Any = INPLACE_OPERATORS.get(node.target, node.target)
    return function(*args, **kwargs)
