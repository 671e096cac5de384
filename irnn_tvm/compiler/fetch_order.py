"""The order in which a library calls NAME_fetch, as a table: found by running through the loops of the kernels.

A call of a kernel fetches the tiles of its products, of several matrices in turn (an LSTM's of the input and of the
state), and does so anew for every time step or row. So the table has groups, one for each call of a kernel: entries
that follow each other, and how often they are repeated in a sequence of T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from irnn_tvm.compiler.abi import Interface, Tile, TileGroup
from irnn_tvm.compiler.kernels import Kernel
from irnn_tvm.compiler.plan import ITEM_BYTES, Call, Plan, evaluate
from irnn_tvm.compiler.statements import nodes
from irnn_tvm.errors import BuildError


def fetch_order(io: Interface, plan: Plan, kernels: Mapping[str, Kernel]) -> list[TileGroup]:
    """Groups in the order of the calls. In a library that streams they are those of one time step.

    BuildError where an order cannot be told, which no kernel of today has."""
    streams = io.streamable and io.fixed_steps is None and io.at_once == 1
    groups = []
    for call in plan.calls:
        if not any(kernels[name].fetches for name in call.kernels):
            continue
        if call.inputs is not None or call.single is not None or call.any_order:
            raise BuildError(f"{call.kernel} fetches weights in an order that depends on the time step")
        kernel = kernels[call.kernel]
        steps = [1] if streams or io.fixed_steps is not None else [io.min_steps + n for n in range(3)]
        steps = [io.fixed_steps] if io.fixed_steps is not None else steps
        found = [_of_call(call, kernel, count) for count in steps]
        unit = _unit(found[0])
        repeats = [len(tiles) // len(unit) for tiles in found]
        if any(tiles != unit * count for tiles, count in zip(found, repeats, strict=True)):
            raise BuildError(f"the order in which {call.kernel} fetches weights depends on the length")
        per_step = 0 if len(repeats) == 1 else repeats[1] - repeats[0]
        once = repeats[0] - per_step * steps[0]
        if any(per_step * t + once != count for t, count in zip(steps, repeats, strict=True)):
            raise BuildError(f"how often {call.kernel} fetches weights is no multiple of the length")
        groups.append(TileGroup(tuple(unit), per_step, once))
    if streams:  # every step calls all of them
        return [TileGroup(tuple(tile for group in groups for tile in group.tiles * group.once), 1, 0)]
    return groups


def _of_call(call: Call, kernel: Kernel, steps: int) -> list[Tile]:
    """Tiles that a call on so many time steps fetches."""
    scalars = [evaluate(scalar, steps) for scalar in call.scalars]
    # A step's kernel may be told by which end of the tiles to begin: by the first one where it fetches (time_loop.py).
    turns = [0] * (kernel.scalars - len(scalars))
    sizes = [evaluate(call.values[position].shape[axis], steps) for position, axis in kernel.sizes]
    func = kernel.lowered[kernel.symbol]
    parameters = list(func.params)[len(kernel.dtypes) :]
    known = dict(zip(parameters, [*scalars, *turns, *sizes], strict=True))
    order = list(_tiles(func, call, kernel, known))
    return order if call.scan is None else order * evaluate(call.values[0].shape[0], steps)


def _tiles(func: Any, call: Call, kernel: Kernel, known: dict[Any, int]) -> Iterator[Tile]:
    positions = {str(param.name): n for n, param in enumerate(list(func.params)[: len(kernel.dtypes)])}
    for load, size in _fetched(func.body, known):
        value = call.values[positions[str(load.source.name)]]
        if value.kind != "weight" or len(load.indices) != 1:
            raise BuildError(f"{call.kernel} fetches what is no constant")
        yield Tile(value.index, _number(load.indices[0], known) * ITEM_BYTES[value.dtype], size)


def _fetched(statement: Any, known: dict[Any, int]) -> Iterator[tuple[Any, int]]:
    """What the calls of fetch read when a statement runs, in order, and how many bytes. known: variables."""
    kind = type(statement).__name__
    if kind == "Bind":
        with suppress(_Unknown):
            known[statement.var] = _number(statement.value, known)
        return
    if kind == "SeqStmt":
        for part in statement.seq:
            yield from _fetched(part, known)
        return
    if not any(_is_fetch(node) for node in nodes(statement)):
        return
    if kind == "For":
        first, extent = _number(statement.min, known), _number(statement.extent, known)
        for value in range(first, first + extent):
            known[statement.loop_var] = value
            yield from _fetched(statement.body, known)
    elif kind == "IfThenElse":
        chosen = statement.then_case if _number(statement.condition, known) else statement.else_case
        if chosen is not None:
            yield from _fetched(chosen, known)
    elif kind in ("Evaluate", "BufferStore"):
        for node in nodes(statement.value):
            if _is_fetch(node):
                yield node.args[1].args[0], int(node.args[2])
    elif hasattr(statement, "body"):
        yield from _fetched(statement.body, known)
    else:
        raise BuildError(f"a {kind} around a fetch is not followed")


def _is_fetch(node: Any) -> bool:
    from tvm.ir import Call as Expression

    from irnn_tvm.relay_ops.products import FETCH

    return (
        isinstance(node, Expression) and bool(node.args) and str(getattr(node.args[0], "value", "")) == FETCH
    )


class _Unknown(BuildError):
    """A number that depends on data."""


_BINARY: dict[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "FloorDiv": lambda a, b: a // b,
    "FloorMod": lambda a, b: a % b,
    "Div": lambda a, b: a // b,
    "Mod": lambda a, b: a % b,
    "Min": min,
    "Max": max,
    "LT": lambda a, b: a < b,
    "LE": lambda a, b: a <= b,
    "GT": lambda a, b: a > b,
    "GE": lambda a, b: a >= b,
    "EQ": lambda a, b: a == b,
    "NE": lambda a, b: a != b,
    "And": lambda a, b: bool(a and b),
    "Or": lambda a, b: bool(a or b),
}


def _number(value: Any, known: Mapping[Any, int]) -> int:
    """The value of an expression of integers."""
    kind = type(value).__name__
    if isinstance(value, int) or kind == "IntImm":
        return int(value)
    if value in known:
        return known[value]
    if kind in _BINARY:
        return int(_BINARY[kind](_number(value.a, known), _number(value.b, known)))
    if kind == "Cast":
        return _number(value.value, known)
    if kind == "Not":
        return int(not _number(value.a, known))
    if kind == "Select":
        chosen = value.true_value if _number(value.condition, known) else value.false_value
        return _number(chosen, known)
    if kind == "Call" and str(value.op.name) in ("tirx.shift_left", "tirx.shift_right"):
        a, b = (_number(part, known) for part in value.args)
        return a << b if str(value.op.name).endswith("left") else a >> b
    raise _Unknown(f"{value} is not known before a library runs")


def _unit(tiles: list[Tile]) -> list[Tile]:
    """The shortest piece that these are repetitions of."""
    for length in range(1, len(tiles) + 1):
        if len(tiles) % length == 0 and tiles[:length] * (len(tiles) // length) == tiles:
            return tiles[:length]
    return tiles
