"""Which sequence lengths a program takes: those for which every tensor has a size and all sizes fit each other.

A layer after `flatten` fits one length, `y[:, 6]` needs 7 steps, `reshape(B, T // 2, 8)` an even number. These rules
are read from the shapes of the imported program and from the equations among the guards of its export. (Other guards
of an export also hold what torch assumes of sizes 0 and 1, which no kernel here does.)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from irnn_tvm.compiler.lift_states import STATE_ARGS, op_name
from irnn_tvm.compiler.plan import evaluate, expression
from irnn_tvm.errors import BuildError
from irnn_tvm.runtime.tensors import TimeRange

# Lengths that are tried one by one; what holds for all of them and repeats goes on for ever.
TRIED = 1 << 16
# Longest period of the rule that is looked for: T % 60 covers halves to sixths, and fifths of them.
LONGEST_PERIOD = 64
_SIZE = re.compile(r"L\['(\w+)'\]\.size\(\)\[(\d+)\]")


@dataclass(frozen=True)
class Condition:
    """left == right, or left >= right where `least`: sizes as expressions of T. reason: of the rule, in words."""

    left: Any
    right: Any
    least: bool
    reason: str

    def holds(self, steps: np.ndarray) -> np.ndarray:
        """For each length, whether it is met."""
        left, right = (
            np.broadcast_to(evaluate(side, steps), steps.shape) for side in (self.left, self.right)
        )
        return left >= right if self.least else left == right

    @property
    def fixed(self) -> bool:
        """Whether it says nothing about T."""
        return isinstance(expression(self.left), int) and isinstance(expression(self.right), int)


def accepted_lengths(main: Any, time: Any, guards: Sequence[str] = ()) -> tuple[TimeRange, str]:
    """The lengths that an imported program takes, and the reason of the rule ("" where every length goes).

    time: its symbolic length, None of a program for one length, which is checked all the same. guards: of the export,
    as text. Raises BuildError, naming operator and sizes, when no length up to 65536 fits.
    """
    steps = np.arange(1, TRIED + 1 if time is not None else 2)
    accepted = np.ones(len(steps), bool)
    reasons: list[str] = []
    seen = set()
    with np.errstate(divide="ignore", invalid="ignore"):
        for condition in [*_conditions(main), *_guarded(main, guards)]:
            key = (str(condition.left), str(condition.right), condition.least)
            if key in seen:
                continue
            seen.add(key)
            met = condition.holds(steps)
            if met.all():
                continue
            if condition.fixed or not (accepted & met).any():
                before = f" ({reasons[-1]})" if reasons and met.any() else ""
                raise BuildError(
                    f"no sequence length fits: {condition.reason}{before}"
                    if time is not None
                    else f"the sizes of the program do not fit each other: {condition.reason}"
                )
            accepted &= met
            reasons.append(condition.reason)
    return _regular(accepted), reasons[-1] if reasons else ""


def _regular(accepted: np.ndarray) -> TimeRange:
    """The rule for a set of lengths (accepted[T - 1]): where it starts and ends, and the remainders that repeat.

    A beginning that follows no rule is left out: its lengths are refused.
    """
    lengths = np.flatnonzero(accepted) + 1
    last = int(lengths[-1])
    endless = last > len(accepted) - LONGEST_PERIOD
    part = accepted[: len(accepted) if endless else last]
    best: tuple[int, int] | None = None
    for period in range(1, min(LONGEST_PERIOD, len(part)) + 1):
        breaks = np.flatnonzero(part[:-period] != part[period:])
        # From behind the last break on, everything repeats; before the first accepted length there is nothing.
        start = int(breaks[-1]) + 1 if len(breaks) else 0
        following = np.flatnonzero(part[start:])
        if not len(following):
            continue
        start += int(following[0]) + 1
        if best is None or start < best[0]:
            best = start, period
        if start == lengths[0]:
            break
    assert best is not None
    start, period = best
    remainders = sorted({int(length) % period for length in lengths if length >= start})
    return TimeRange(start, None if endless else last, period, tuple(remainders))


def _conditions(main: Any) -> Iterator[Condition]:
    from tvm import relax

    for param in main.params:
        yield from _positive(param.ty, f"input {param.name}")
    for block in main.body.blocks:
        for binding in block.bindings:
            name = op_name(binding.value)
            what = f"{name.removeprefix('irnn.').removeprefix('relax.')} ({binding.var.name})"
            if isinstance(binding.value, relax.Call):
                yield from _fits(name, binding.value, what)
            ty = binding.var.ty
            for part in ty.fields if isinstance(ty, relax.TupleType) else [ty]:
                yield from _positive(part, what)


def _positive(ty: Any, what: str) -> Iterator[Condition]:
    from tvm import relax

    if isinstance(ty, relax.TensorType) and ty.shape is not None:
        for dim in ty.shape.values:
            yield Condition(dim, 1, True, f"{what} has the size {expression(dim)}, which must be at least 1")


def _shape(expr: Any) -> list[Any]:
    shape = getattr(expr.ty, "shape", None)
    return [] if shape is None else list(shape.values)


def _product(dims: Sequence[Any]) -> Any:
    return reduce(lambda a, b: a * b, dims, 1)


def _fits(name: str, call: Any, what: str) -> Iterator[Condition]:
    """What the operands of one operator must have in common."""
    shapes = [_shape(arg) for arg in call.args]

    def same(left: Any, right: Any, words: str) -> Condition:
        return Condition(left, right, False, f"{what}: {words} ({expression(left)}, {expression(right)})")

    if name == "relax.reshape":
        yield same(_product(shapes[0]), _product(_shape(call)), "a view of as many values")
    elif name == "relax.broadcast_to":
        aligned = _shape(call)[len(_shape(call)) - len(shapes[0]) :]
        yield from _broadcast(shapes[0], aligned, same)
    elif name == "relax.strided_slice":
        yield from _slice(call, what)
    elif name in ("irnn.linear", "irnn.conv1d"):
        groups = int(call.attrs["groups"]) if name == "irnn.conv1d" else 1
        axis = 1 if name == "irnn.conv1d" else -1
        yield same(shapes[0][axis], shapes[1][1] * groups, "features of the input and of the weights")
    elif name in STATE_ARGS:
        weights = len(STATE_ARGS[name]) + 1
        yield same(shapes[0][2], shapes[weights][1], "features of the input and of the weights")
        for index in STATE_ARGS[name]:
            yield same(shapes[0][1], shapes[index][0], "batch sizes of the input and of the state")
    elif name in ("irnn.add", "irnn.mul"):
        rank = min(len(shapes[0]), len(shapes[1]))
        yield from _broadcast(shapes[0][len(shapes[0]) - rank :], shapes[1][len(shapes[1]) - rank :], same)
    elif name in ("irnn.concat", "relax.concat"):
        dim = int(call.attrs["dim"]) % len(shapes[0]) if name == "irnn.concat" else None
        for other in shapes[1:]:
            for axis, (a, b) in enumerate(zip(shapes[0], other, strict=True)):
                if dim is not None and axis != dim:
                    yield same(a, b, f"sizes of axis {axis} of what is joined")
    elif name == "irnn.matmul":
        depth = shapes[1][-1] if int(call.attrs["transpose_b"]) else shapes[1][-2]
        yield same(shapes[0][-1], depth, "inner sizes of the product")
        for a, b in zip(shapes[0][:-2], shapes[1][:-2], strict=True):
            yield same(a, b, "batch sizes of the product")
    elif name == "irnn.attention":
        yield same(shapes[0][0], shapes[1][0], "batch sizes of queries and keys")
        yield same(shapes[0][2], shapes[1][2], "features of queries and keys")
        yield same(shapes[1][0], shapes[2][0], "batch sizes of keys and values")
        yield same(shapes[1][1], shapes[2][1], "numbers of keys and values")
    elif name == "irnn.additive_scores":
        yield same(shapes[0][0], shapes[1][0], "batch sizes of queries and keys")
        yield same(shapes[0][2], shapes[1][2], "features of queries and keys")
    elif name in ("irnn.layer_norm", "irnn.mad_norm"):
        yield same(shapes[0][-1], shapes[1][0], "features of the input and of the norm")
    elif name == "irnn.topk":
        k = int(call.attrs["k"])
        yield Condition(
            shapes[0][-1], k, True, f"{what}: the {k} largest of {expression(shapes[0][-1])} values"
        )


def _broadcast(a: Sequence[Any], b: Sequence[Any], same: Any) -> Iterator[Condition]:
    for x, y in zip(a, b, strict=True):
        if 1 not in (expression(x), expression(y)):
            yield same(x, y, "sizes of the operands")


def _slice(call: Any, what: str) -> Iterator[Condition]:
    shape = _shape(call.args[0])
    axes, begins, ends = (list(call.args[i].fields) for i in (1, 2, 3))
    for axis, begin, end in zip((int(a) for a in axes), begins, ends, strict=True):
        size = shape[axis]
        text = f"{what}: steps {expression(begin)} to {expression(end)} of {expression(size)}"
        yield Condition(begin, 0, True, text)
        yield Condition(size, end, True, text)


def _guarded(main: Any, guards: Sequence[str]) -> Iterator[Condition]:
    """The equations among the guards of an export, and what is said of remainders, where all sizes are inputs'."""
    params = {str(p.name): list(p.ty.shape.values) for p in main.params}
    for guard in guards:
        try:
            tree = ast.parse(guard, mode="eval").body
        except SyntaxError:
            continue
        if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
            continue
        # How large the parts of a split are depends on how large remainders are. That one is not 0 only says which
        # of two ways torch found a shape, which is checked by itself.
        sizes_of_parts = "%" in guard and not isinstance(tree.ops[0], ast.NotEq)
        if not isinstance(tree.ops[0], ast.Eq) and not sizes_of_parts:
            continue
        left, right = (_size_of(side, params) for side in (tree.left, tree.comparators[0]))
        if left is not None and right is not None:
            text = _SIZE.sub(lambda found: f"{found[1]}.size({found[2]})", guard)
            yield from _compared(tree.ops[0], left, right, f"the model's own sizes: {text}")


def _compared(relation: ast.cmpop, a: Any, b: Any, reason: str) -> Iterator[Condition]:
    match relation:
        case ast.Eq():
            yield Condition(a, b, False, reason)
        case ast.GtE():
            yield Condition(a, b, True, reason)
        case ast.Gt():
            yield Condition(a, b + 1, True, reason)
        case ast.LtE():
            yield Condition(b, a, True, reason)
        case ast.Lt():
            yield Condition(b, a + 1, True, reason)


def _size_of(node: ast.expr, params: dict[str, list[Any]]) -> Any | None:
    """A side of a guard as an expression of T, None where it holds anything else."""
    from tvm import tirx

    found = _SIZE.fullmatch(ast.unparse(node).replace('"', "'"))
    if found is not None:
        shape = params.get(found[1], [])
        return shape[int(found[2])] if int(found[2]) < len(shape) else None
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return tirx.IntImm("int64", node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _size_of(node.operand, params)
        return None if inner is None else inner * -1
    if not isinstance(node, ast.BinOp):
        return None
    a, b = _size_of(node.left, params), _size_of(node.right, params)
    if a is None or b is None:
        return None
    make = {ast.Add: lambda: a + b, ast.Sub: lambda: a - b, ast.Mult: lambda: a * b,
            ast.FloorDiv: lambda: tirx.floordiv(a, b), ast.Mod: lambda: tirx.floormod(a, b)}  # fmt: skip
    operation = make.get(type(node.op))
    return None if operation is None else operation()
