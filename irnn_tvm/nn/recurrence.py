"""How the recurrences of irnn_tvm.nn compute: one place for every formula, with hooks where integers round.

The float layers run them with `Exact`; calibration records every tensor, and training rounds it, by other hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from irnn_tvm.nn.gate_norm import normalise

FUNCTIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


class Exact:
    """Leaves every value as it is."""

    def linear(self, name: str, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The product with the matrix `name`; x is the operand as integers see it."""
        return F.linear(x, weight, bias)

    def point(self, name: str, x: Tensor) -> Tensor:
        """A tensor that integers round to the grid `name`."""
        return x

    def normalise(
        self, name: str, x: Tensor, kind: str, gain: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        """The norm of a tensor that is on the grid `name`."""
        return normalise(x, kind, gain, bias, eps)

    def activate(self, name: str, function: str, x: Tensor) -> Tensor:
        """A function of a tensor that integers round to the grid `name` first."""
        return FUNCTIONS[function](x)

    def activate_gates(self, names: Sequence[str], functions: Sequence[str], x: Tensor) -> tuple[Tensor, ...]:
        """`activate` of gates that lie side by side in the last axis of x."""
        parts = zip(names, functions, x.chunk(len(names), dim=-1), strict=True)
        return tuple(self.activate(name, function, part) for name, function, part in parts)

    def activate_onto(self, name: str, function: str, x: Tensor, target: str) -> Tensor:
        """`activate` with a result on the grid of the point `target`."""
        return self.point(target, self.activate(name, function, x))

    def activate_cell(self, x: Tensor) -> Tensor:
        """tanh of the cell state, which is on its grid already."""
        return torch.tanh(x)


class Recorder(Exact):
    """Keeps every tensor: points and pre-activations by name in `seen`, operands of products in `operands`."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Tensor]] = {}
        self.operands: dict[str, list[Tensor]] = {}

    def linear(self, name: str, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        self.operands.setdefault(name, []).append(x)
        return F.linear(x, weight, bias)

    def point(self, name: str, x: Tensor) -> Tensor:
        self.seen.setdefault(name, []).append(x)
        return x

    def activate(self, name: str, function: str, x: Tensor) -> Tensor:
        self.seen.setdefault(name, []).append(x)
        return FUNCTIONS[function](x)


def over_time(values: Sequence[Tensor]) -> Tensor:
    """One tensor [T, B, ...] of what a hook saw step by step, or of the whole sequence at once."""
    return values[0] if len(values) == 1 and values[0].dim() == 3 else torch.stack(list(values))


def time_order(steps: int, reverse: bool) -> range:
    """Indices of the time steps in the order in which a direction visits them."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


def in_input_order(outputs: list[Any], reverse: bool) -> Tensor:
    """Outputs in the order of computation -> [T, ...] in the order of the input."""
    return torch.stack(outputs[::-1] if reverse else outputs)
