"""Evaluation of one captured node on concrete float values, without touching what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from irnn_tvm.quantization.kept_state import with_state

if TYPE_CHECKING:
    from irnn_tvm.quantization.capture import Captured

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


def run_graph(
    captured: Captured,
    tensors: tuple[Tensor, ...],
    start: Mapping[fx.Node, Mapping[int, Tensor]] | None = None,
    see: Callable[..., None] | None = None,
) -> dict[fx.Node, Any]:
    """The value of every node of a captured graph for one call's tensors.

    start: states by number, from which calls of recurrent layers start instead. see(node, args, kwargs, value) is
    called for every node.
    """
    leaves = iter(tensors)
    values: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in captured.graph.nodes:
            if node.op == "output":
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
            if node.op == "placeholder":
                args, kwargs = (), {}
                value: Any = next(leaves)
            elif node.op == "get_attr":
                value = captured.attribute(str(node.target))
            else:
                if start is not None and node in start:
                    args, kwargs = with_state(args, kwargs, start[node])
                module = captured.modules[str(node.target)] if node.op == "call_module" else None
                value = evaluate(node, args, kwargs, module)
            values[node] = value
            if see is not None:
                see(node, args, kwargs, value)
    return values


def current(captured: Captured, node: fx.Node) -> Any:
    """The value of a constant node (a parameter, or what is computed from parameters alone) as it is now, with its
    gradient."""
    if node.op == "get_attr":
        return captured.attribute(str(node.target))
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: current(captured, n))
    module = captured.modules[str(node.target)] if node.op == "call_module" else None
    return evaluate(node, args, kwargs, module)


def run_layer(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A layer's own forward. Hooks of the user are nodes of the graph; those that make its weights run here."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WEIGHT_HOOKS):
            hook(module, args)
    return type(module).forward(module, *args, **kwargs)
