"""Where a NaN or an infinity comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from irnn_tvm.quantization.effective_weights import effective_weights
from irnn_tvm.quantization.ptq import evaluation_mode
from irnn_tvm.training.calls import is_finite, tensors_in

if TYPE_CHECKING:
    from irnn_tvm.training.twin import QatModel


def first_not_finite(twin: QatModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Name of the first weight or, in a forward pass, the first tensor that holds NaN or infinity, or None."""
    for name, parameter in twin.named_parameters():
        if not is_finite(parameter):
            return name
    found: list[str] = []

    def check(name: str, value: Any) -> None:
        if not found and not all(is_finite(t) for t in tensors_in(value)):
            found.append(name)

    with torch.no_grad():
        try:
            if twin.phase == "float":
                _run_float(twin.model, args, kwargs, check)
            else:
                layout, tensors = twin.flatten(args, kwargs)
                for name, tensor in zip(layout.names, tensors, strict=True):
                    check(name, tensor)
                with effective_weights(twin.model, again=True):
                    twin.simulate(tensors, check)
        except Exception:  # whatever a NaN breaks further on, its first appearance is what counts
            return found[0] if found else None
    return found[0] if found else None


def _run_float(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], check: Any) -> None:
    for i, tensor in enumerate(tensors_in([args, kwargs])):
        check(f"input {i}", tensor)
    names = {module: name or type(module).__name__ for name, module in model.named_modules()}
    handles = [
        module.register_forward_hook(lambda module, _, result: check(names[module], result))
        for module in names
    ]
    try:
        with evaluation_mode(model):
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()


def order_of_use(twin: QatModel) -> list[str]:
    """Names of the twin's parameters, in the order in which a forward pass reads them first."""
    names = {id(parameter): name for name, parameter in twin.named_parameters()}
    order: list[int] = []
    if twin.captured is not None:
        for node in twin.captured.graph.nodes:
            if node.op == "call_module":
                order += [id(p) for p in twin.captured.modules[str(node.target)].parameters()]
            elif node.op == "get_attr" and isinstance(
                value := twin.captured.attribute(str(node.target)), Tensor
            ):
                order.append(id(value))
    order += names
    return [names[key] for key in dict.fromkeys(order) if key in names]
