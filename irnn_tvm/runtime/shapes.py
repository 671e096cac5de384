"""Shapes of inputs and outputs: tuples of integers and of expressions in the sequence length T.

An expression is text such as "T", "2*T" or "(T - 3)//2 + 1": T, integers, + - * // and parentheses, nothing
else. It is parsed, never passed to eval.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from typing import Union

from irnn_tvm.errors import LoadError

Dimension = Union[int, str]


@lru_cache(maxsize=1024)
def parse(expression: str) -> ast.expr:
    """The syntax tree of an expression that uses only what this module allows; LoadError otherwise."""
    try:
        tree = ast.parse(expression, mode="eval").body
        _check(tree)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise LoadError(
            f"{expression!r} is not a dimension: only T, integers, + - * // and parentheses may stand there."
        ) from error
    return tree


def dimension(expression: Dimension, length: int) -> int:
    """The value of one dimension for T = length."""
    return expression if isinstance(expression, int) else _value(parse(expression), length)


def shape(expressions: Sequence[Dimension], length: int) -> tuple[int, ...]:
    """The shape for T = length, a tuple of integers >= 0."""
    return tuple(max(dimension(entry, length), 0) for entry in expressions)


def time_axis(expressions: Sequence[Dimension]) -> int | None:
    """The axis whose size is exactly T, None when there is none."""
    for axis, entry in enumerate(expressions):
        if isinstance(entry, str) and entry.strip() == "T":
            return axis
    return None


def depends_on_length(expressions: Sequence[Dimension]) -> bool:
    """True when some dimension changes with T."""
    return any(
        isinstance(node, ast.Name)
        for entry in expressions
        if isinstance(entry, str)
        for node in ast.walk(parse(entry))
    )


def c_expression(expression: Dimension) -> str:
    """The same expression in C, over `int64_t T` and a function `floor_div(int64_t, int64_t)`."""
    return f"INT64_C({expression})" if isinstance(expression, int) else _c(parse(expression))


def _check(node: ast.AST) -> None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv)):
        _check(node.left)
        _check(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check(node.operand)
    elif not ((isinstance(node, ast.Name) and node.id == "T") or _is_number(node)):
        raise ValueError(ast.dump(node))


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 2**31


def _value(node: ast.expr, length: int) -> int:
    if isinstance(node, ast.BinOp):
        a, b = _value(node.left, length), _value(node.right, length)
        if isinstance(node.op, ast.Add):
            return a + b
        if isinstance(node.op, ast.Sub):
            return a - b
        if isinstance(node.op, ast.Mult):
            return a * b
        if b == 0:
            raise LoadError(f"A dimension divides by zero for T = {length}.")
        return a // b
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, length)
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    return length


def _c(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        return f"floor_div({_c(node.left)}, {_c(node.right)})"
    if isinstance(node, ast.BinOp):
        sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
        return f"({_c(node.left)} {sign} {_c(node.right)})"
    if isinstance(node, ast.UnaryOp):
        return f"(-{_c(node.operand)})"
    if isinstance(node, ast.Constant):
        return f"INT64_C({node.value!r})"
    return "T"
