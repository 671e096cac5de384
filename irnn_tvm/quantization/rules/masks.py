"""Masks: they become lengths and causality of an attention, and leave no trace of their own in the integer graph."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from irnn_tvm.nn.masks import causal_mask, lengths_to_mask
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Index, Mask, Slot, Value

# Scores that masked_fill writes are below this: far enough from any other for a weight of 0.
LOWEST = -1e4
SUPPORTED = (
    "irnn_tvm.nn.lengths_to_mask(lengths, size), irnn_tvm.nn.causal_mask(size), their opposites (~), both"
)


class _MaskOp(Op):
    """A node whose result is a mask."""

    kind = "mask"

    def mask(self, argument: Any) -> Mask:
        """The mask of an argument."""
        found = self.planner.value(argument)
        if not isinstance(found, Mask):
            raise self.refuse(f"it is applied to something that is not a mask; supported: {SUPPORTED}")
        return found

    def emit(self, emitter: Emitter) -> Any:
        return emitter.reference


@Registry.register(functions=(lengths_to_mask,))
class LengthsMaskOp(_MaskOp):
    """lengths_to_mask(lengths, size)."""

    def plan(self) -> Value:
        lengths = self.argument(0, "lengths")
        if not isinstance(lengths, fx.Node) or not isinstance(self.planner.value(lengths), Index):
            raise self.refuse("lengths are an integer tensor of the model, an input for example")
        return Mask(lengths)


@Registry.register(functions=(causal_mask,))
class CausalMaskOp(_MaskOp):
    """causal_mask(size)."""

    def plan(self) -> Value:
        return Mask(causal=True)


@Registry.register(
    functions=(operator.invert, operator.inv, torch.logical_not, torch.bitwise_not),
    methods=("logical_not", "bitwise_not", "__invert__"),
)
class InvertedMaskOp(_MaskOp):
    """~mask."""

    def plan(self) -> Value:
        mask = self.mask(self.argument(0, "input"))
        return Mask(mask.lengths, causal=mask.causal, valid=not mask.valid)


@Registry.register(
    functions=(operator.and_, operator.or_, torch.logical_and, torch.logical_or),
    methods=("logical_and", "logical_or"),
)
class CombinedMaskOp(_MaskOp):
    """valid & valid, or invalid | invalid: a position is valid when both masks say so."""

    def plan(self) -> Value:
        a, b = self.mask(self.argument(0, "input")), self.mask(self.argument(1, "other"))
        both = self.planner.describe(self.node).removeprefix("Tensor.").rstrip("_").endswith("and")
        if a.valid != both or b.valid != both:
            raise self.refuse("masks of valid positions are combined with &, their opposites with |")
        if a.lengths is not None and b.lengths is not None and a.lengths is not b.lengths:
            raise self.refuse("masks of two different lengths have no integer version")
        return Mask(a.lengths or b.lengths, causal=a.causal or b.causal, valid=both)


@Registry.register(functions=(torch.masked_fill,), methods=("masked_fill",))
class MaskedFillOp(Op):
    """masked_fill(scores, ~valid, -inf) before a softmax, which takes the mask over."""

    kind = "mask"
    may_be_infinite = True

    def plan(self) -> Value:
        self.mask = find_mask(self, self.argument(1, "mask"), valid=False)
        value = self.plain(self.argument(2, "value"), "the value that is filled in")
        if isinstance(value, Tensor) or not float(value) <= LOWEST:
            raise self.refuse(
                f"masked_fill is supported with -inf or a number below {LOWEST:g}, before softmax"
            )
        source = self.planner.value(self.argument(0, "input"))
        if not isinstance(source, Slot):
            raise self.refuse("it is applied to something that is not a float tensor of the model")
        for user in self.node.users:
            if self.planner.describe(user).removeprefix("Tensor.").lower() != "softmax":
                raise self.refuse(f"its result is read by {self.planner.describe(user)}; supported: softmax")
        return source

    def emit(self, emitter: Emitter) -> Any:
        return emitter.env[self.argument(0, "input")]


def find_mask(op: Op, argument: Any, *, valid: bool) -> Mask | None:
    """The mask given to an attention; valid: what True means there. Refuses anything that is not a known mask."""
    if argument is None:
        return None
    found = op.planner.value(argument)
    if not isinstance(found, Mask):
        raise op.refuse(f"its mask is {argument}; supported: {SUPPORTED}")
    if found.valid != valid:
        meaning = "positions that take part" if valid else "positions that are left out"
        raise op.refuse(f"True in its mask means {meaning}; this mask marks the others: use ~mask")
    return found


def merge(op: Op, a: Mask | None, b: Mask | None) -> Mask:
    """What both masks leave valid."""
    lengths = [m.lengths for m in (a, b) if m is not None and m.lengths is not None]
    if len(lengths) == 2 and lengths[0] is not lengths[1]:
        raise op.refuse("masks of two different lengths have no integer version")
    causal = any(m is not None and m.causal for m in (a, b))
    return Mask(lengths[0] if lengths else None, causal=causal)


def check_shape(op: Op, node: Any, mask: Mask, scores: torch.Size, keys: int = -1) -> None:
    """Refuses a mask that does not lie over scores [B, ..., keys] as its lengths (and causality) say.

    node: the mask's tensor; keys: axis of the keys.
    """
    shape = list(node.meta["value"].shape)
    rank = len(scores)
    keys %= rank
    full = [1] * (rank - len(shape)) + shape
    expected = [1] * rank
    expected[keys] = scores[keys]
    if mask.lengths is not None:
        expected[0] = scores[0]
    if mask.causal:
        expected[-2] = scores[-2]
    fits = len(shape) <= rank and all(f in (e, s) for f, e, s in zip(full, expected, scores, strict=True))
    if (
        not fits
        or (mask.lengths is not None and len(shape) < rank and scores[0] != 1)
        or (mask.causal and keys != rank - 1)
    ):
        raise op.refuse(
            f"its mask has shape {tuple(shape)}, which does not lie over scores {tuple(scores)}; supported: "
            f"{tuple(expected)}"
        )
