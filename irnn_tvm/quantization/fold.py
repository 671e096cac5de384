"""BatchNorm1d directly after Conv1d or Linear: its scale and shift go into the layer's weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from irnn_tvm.errors import UnsupportedModuleError
from irnn_tvm.quantization.capture import Captured

NORMS = (nn.BatchNorm1d,)


@dataclass
class Folded:
    """weights: new (weight, bias) per layer node. norms: the norm nodes that became part of them, and of
    which.
    """

    weights: dict[fx.Node, tuple[Tensor, Tensor]] = field(default_factory=dict)
    norms: dict[fx.Node, fx.Node] = field(default_factory=dict)
    after: dict[fx.Node, fx.Node] = field(default_factory=dict)
    parts: dict[fx.Node, tuple[nn.Linear | nn.Conv1d, nn.BatchNorm1d]] = field(default_factory=dict)

    def live(self, node: fx.Node) -> tuple[Tensor, Tensor]:
        """(weight, bias) of a layer with its norm folded in, as they are now, with their gradients."""
        return _fold(*self.parts[node])

    def source(self, node: fx.Node) -> fx.Node:
        """The node whose float value the layer computes: the norm's, when one was folded in."""
        return self.after.get(node, node)


def find(captured: Captured) -> Folded:
    """All foldable norms. Raises UnsupportedModuleError for a BatchNorm1d without running statistics."""
    folded = Folded()
    calls: dict[str, int] = {}
    for node in captured.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in captured.graph.nodes:
        if node.op != "call_module" or not isinstance(captured.modules[str(node.target)], NORMS):
            continue
        norm = captured.modules[str(node.target)]
        assert isinstance(norm, nn.BatchNorm1d)
        source = node.all_input_nodes[0]
        layer = captured.modules.get(str(source.target)) if source.op == "call_module" else None
        flat = isinstance(layer, nn.Linear) and source.meta["value"].dim() == 2
        convolution = isinstance(layer, nn.Conv1d) and source.meta["value"].dim() == 3
        alone = len(source.users) == 1 and calls.get(str(source.target)) == 1
        if norm.running_mean is None or norm.running_var is None:
            raise UnsupportedModuleError(
                f"layer {node.target!r} of type BatchNorm1d has no integer version: without running statistics it "
                "depends on the batch; use track_running_stats=True"
            )
        if not (flat or convolution) or not alone:
            continue  # a layer of its own, see rules/batch_norm.py
        assert isinstance(layer, nn.Linear | nn.Conv1d)
        weight, bias = _fold(layer, norm, torch.float64)
        folded.weights[source] = (weight.detach(), bias.detach())
        folded.parts[source] = (layer, norm)
        folded.norms[node] = source
        folded.after[source] = node
    return folded


def _fold(
    layer: nn.Linear | nn.Conv1d, norm: nn.BatchNorm1d, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Weight and bias of layer and norm as one, with running statistics; in the parameters' own type by default."""
    weight = layer.weight.to(dtype)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    gain = torch.rsqrt(norm.running_var.to(weight.dtype) + norm.eps)
    if norm.weight is not None:
        gain = gain * norm.weight
    bias = layer.bias.to(weight.dtype) if layer.bias is not None else torch.zeros_like(gain)
    bias = (bias - norm.running_mean) * gain
    if norm.bias is not None:
        bias = bias + norm.bias
    return weight * gain.reshape(-1, *[1] * (weight.dim() - 1)), bias
