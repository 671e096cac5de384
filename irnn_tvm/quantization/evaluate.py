"""Evaluation of one captured node on concrete float values, without touching what it reads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

# Hooks that set a weight before every forward.
WEIGHT_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)


def evaluate(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], module: nn.Module | None) -> Any:
    """The node's result for concrete arguments; layers with inplace=True work on a copy."""
    if node.op == "call_module":
        assert module is not None
        if getattr(module, "inplace", False):
            args = tuple(a.clone() if isinstance(a, Tensor) else a for a in args)
            kwargs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        return run_layer(module, args, kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    function: Any = node.target
    return function(*args, **kwargs)


def run_layer(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A layer's own forward. Hooks of the user are nodes of the graph; those that make its weights run here."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WEIGHT_HOOKS):
            hook(module, args)
    return type(module).forward(module, *args, **kwargs)
