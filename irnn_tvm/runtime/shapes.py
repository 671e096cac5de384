"""Shapes of inputs and outputs: tuples of integers and of expressions in the sequence length T.

An expression is text such as "T", "2*T" or "(T - 3)//2 + 1": T, integers, + - * // and parentheses, nothing
else. It is parsed, never passed to eval.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache

from irnn_tvm.errors import LoadError

Dimension = int | str


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
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv(), right=right):
            _check(left)
            _check(right)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(operand)
        case ast.Name(id="T"):
            pass
        case ast.Constant(value=int() as value) if not isinstance(value, bool) and abs(value) < 2**31:
            pass
        case _:
            raise ValueError(ast.dump(node))


def _value(node: ast.expr, length: int) -> int:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _value(left, length), _value(right, length)
            if isinstance(op, ast.Add):
                return a + b
            if isinstance(op, ast.Sub):
                return a - b
            if isinstance(op, ast.Mult):
                return a * b
            if b == 0:
                raise LoadError(f"A dimension divides by zero for T = {length}.")
            return a // b
        case ast.UnaryOp(operand=operand):
            return -_value(operand, length)
        case ast.Constant(value=int() as value):
            return value
        case _:
            return length


def _c(node: ast.expr) -> str:
    match node:
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
            return f"floor_div({_c(left)}, {_c(right)})"
        case ast.BinOp(left=left, op=op, right=right):
            sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(op)]
            return f"({_c(left)} {sign} {_c(right)})"
        case ast.UnaryOp(operand=operand):
            return f"(-{_c(operand)})"
        case ast.Constant(value=value):
            return f"INT64_C({value!r})"
        case _:
            return "T"
