"""argmax and top-k: where the largest values are.

A softmax or log-softmax right before them changes no order and is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.softmax import SoftmaxOp
from irnn_tvm.quantization.slots import Index, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

ARGMAX = (torch.argmax,)
TOPK = (torch.topk,)


class _Selection(Op):
    """dim: the axis that is searched; scores: the captured tensor that is."""

    kind = "movement"
    dim: int
    scores: fx.Node

    def read_scores(self, dim: Any, *, order_only: bool) -> Slot:
        """Registers the use of the scores. order_only: no value leaves, so a softmax before may go."""
        node = self.argument(0, "input")
        self.scores = node
        before = self.planner.ops.get(node)
        if isinstance(before, SoftmaxOp) and order_only and before.mask is None and dim is not None:
            same_axis = int(self.plain(dim, "dim")) % node.meta["value"].dim() == before.dim
            self.scores = before.input if same_axis else node
        self.dim = 0 if dim is None else int(self.plain(dim, "dim")) % self.scores.meta["value"].dim()
        return self.slot(self.scores, "pwl")


@Registry.register(functions=ARGMAX, methods=("argmax",))
class ArgmaxOp(_Selection):
    """int32 index of the largest value; of equal ones the first."""

    def plan(self) -> Value:
        self.over_all = self.argument(1, "dim") is None
        self.keepdim = bool(self.plain(self.argument(2, "keepdim", False), "keepdim"))
        if self.over_all and self.keepdim:
            raise self.refuse("keepdim=True needs a dim")
        self.read_scores(self.argument(1, "dim"), order_only=True)
        return Index(self.node.name)

    def emit(self, emitter: Emitter) -> Any:
        x = emitter.env[self.scores]
        if self.over_all:
            x = emitter.graph.call_method("flatten", (x,))
        y = emitter.call("argmax", x, self.dim)
        return emitter.graph.call_method("unsqueeze", (y, self.dim)) if self.keepdim else y


@Registry.register(functions=TOPK, methods=("topk",))
class TopkOp(_Selection):
    """The k largest values, and their int32 indices; equal values in the order of their indices."""

    def plan(self) -> Value:
        self.k = int(self.plain(self.argument(1, "k"), "k"))
        if not self.plain(self.argument(3, "largest", True), "largest"):
            raise self.refuse("largest=False has no integer version; negate the scores")
        slot = self.read_scores(self.argument(2, "dim", -1), order_only=_values_unused(self.node))
        return (slot, Index(self.node.name))

    def emit(self, emitter: Emitter) -> Any:
        x, last = emitter.env[self.scores], self.scores.meta["value"].dim() - 1
        if self.dim != last:
            x = emitter.graph.call_method("transpose", (x, self.dim, last))
        both = emitter.call("topk", x, self.k)
        parts = [emitter.item(both, i) for i in range(2)]
        if self.dim != last:
            parts = [emitter.graph.call_method("transpose", (p, self.dim, last)) for p in parts]
        return tuple(parts)


def _values_unused(node: fx.Node) -> bool:
    """Whether only the indices of a top-k are read."""
    return all(user.args[1:2] in ((1,), ("indices",)) for user in node.users)


@Registry.register(
    modules=(nn.LogSoftmax,), functions=(F.log_softmax, torch.log_softmax), methods=("log_softmax",)
)
class LogSoftmaxOp(Op):
    """Only where nothing but the order of its values matters: then it is the identity."""

    kind = "identity"

    def plan(self) -> Value:
        source = self.slot(self.argument(0, "input"), "pwl")
        if not self.node.users or not all(self._orders(user) for user in self.node.users):
            raise self.refuse(
                "log_softmax has an integer version right before argmax or the indices of topk over the same axis, "
                "where it changes nothing; return the scores themselves instead"
            )
        return source

    def _orders(self, user: fx.Node) -> bool:
        name = self.planner.describe(user).removeprefix("Tensor.")
        if name not in ("argmax", "topk"):
            return False
        place = 1 if name == "argmax" else 2
        dim = (
            user.args[place] if len(user.args) > place else user.kwargs.get("dim", None if place == 1 else -1)
        )
        own = self.module.dim if isinstance(self.module, nn.LogSoftmax) else self.argument(1, "dim")
        rank = self.node.meta["value"].dim()
        same = isinstance(dim, int) and isinstance(own, int) and dim % rank == own % rank
        return same and (name == "argmax" or _values_unused(user))

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0] if args else kwargs["input"]

    def emit(self, emitter: Emitter) -> Any:
        return emitter.env[self.argument(0, "input")]
