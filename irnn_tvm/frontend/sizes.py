"""The fixed sizes of an exported program: its batch, and its sequence length where that is fixed, too.

A program's batch is a number in its views and initial states and cannot be another one afterwards. A sequence length
that is a run-time value can be fixed later, by exporting the program once more.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, SupportsIndex

from irnn_tvm.errors import InputError

if TYPE_CHECKING:
    import torch

LARGEST = (1 << 31) - 1  # lengths are int32 in the C interface


def check_sizes(**sizes: object) -> None:
    """InputError for the first of these sizes, by its name, that is not None and no integer from 1 to 2^31 - 1."""
    for name, value in sizes.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, SupportsIndex):
            raise InputError(
                f"{name}={value!r} is a {type(value).__name__}; {name} is an integer of at least 1"
            )
        number = operator.index(value)
        if number < 1:
            raise InputError(f"{name}={value!r} is not supported; it must be at least 1")
        if number > LARGEST:
            raise InputError(f"{name}={value!r} is not supported; it must be at most {LARGEST}")


def with_sizes(
    program: torch.export.ExportedProgram,
    specs: dict[str, Any],
    what: str,
    *,
    batch: int | None,
    seq_len: int | None,
    max_seq_len: int | None,
) -> torch.export.ExportedProgram:
    """The program with these sizes, as far as they are not None: itself where it has them, else with its run-time
    length fixed to seq_len.

    specs: what was saved with it; what: the program's name in messages. InputError where it has other fixed sizes, and
    for a length that it does not take.
    """
    found = specs.get("batch") or fixed_batch(program)
    # Where nothing tells which size is the batch, any size of an input may be it.
    may_be = found == batch or (found is None and any(batch in shape for shape in _input_shapes(program)))
    if batch is not None and not may_be:
        raise InputError(
            f"batch={batch}: {what} is fixed to a batch of {found or 'another size'}, which cannot be changed in an "
            f"exported program: export it again with irnn_tvm.save_program(integer, path, batch={batch})"
        )
    steps = _fixed_length(program)
    if steps is None:
        return program if seq_len is None else _with_length(program, what, seq_len)
    if seq_len is not None and seq_len != steps:
        raise InputError(
            f"seq_len={seq_len}: {what} is fixed to sequences of {steps or 'another length'}: export it again with "
            f"irnn_tvm.save_program(integer, path, seq_len={seq_len})"
        )
    if max_seq_len is not None and steps and max_seq_len < steps:
        raise InputError(f"max_seq_len={max_seq_len}: {what} is fixed to sequences of {steps}")
    return program


def fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Sequences of a call, by the first recurrent operator or the first input; None where nothing tells."""
    from irnn_tvm.frontend.exporting import OVER_TIME, STATE_ARGS, _target

    for kinds, axis in ((STATE_ARGS, 1), (OVER_TIME, 0)):
        for node in program.graph.nodes:
            if node.op == "call_function" and _target(node) in kinds:
                size = node.args[0].meta["val"].shape[axis]
                if isinstance(size, int):
                    return size
    sizes = [shape[0] for shape in _input_shapes(program) if len(shape)]
    return sizes[0] if sizes and isinstance(sizes[0], int) else None


def _input_shapes(program: torch.export.ExportedProgram) -> list[Any]:
    names = program.graph_signature.user_inputs
    return [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and hasattr(node.meta.get("val"), "shape")
    ]


def _run_time_sizes(program: torch.export.ExportedProgram) -> list[Any]:
    return [size for shape in _input_shapes(program) for size in shape if not isinstance(size, int)]


def _fixed_length(program: torch.export.ExportedProgram) -> int | None:
    """None where some size is a run-time value; else the length of the first recurrent operator's sequences, the second
    size of the first input of three or more, or 0 where there is neither."""
    from irnn_tvm.frontend.exporting import STATE_ARGS, _target

    if _run_time_sizes(program):
        return None
    for node in program.graph.nodes:
        if node.op == "call_function" and _target(node) in STATE_ARGS:
            return int(node.args[0].meta["val"].shape[0])
    return next((int(shape[1]) for shape in _input_shapes(program) if len(shape) > 2), 0)


def _with_length(
    program: torch.export.ExportedProgram, what: str, seq_len: int
) -> torch.export.ExportedProgram:
    """The program, exported once more with every run-time size fixed."""
    import torch

    sizes = [size.node.expr for size in _run_time_sizes(program)]
    symbols = sorted({symbol for size in sizes for symbol in size.free_symbols}, key=str)
    if len(symbols) != 1:
        raise InputError(
            f"seq_len={seq_len}: {what} has {len(symbols)} run-time sizes, not one that is its sequence length"
        )
    symbol, length = symbols[0], next((size for size in sizes if size.is_Symbol), sizes[0])
    # An input of the plain length says what the symbol is; where all are like 2*s, the first of them.
    value = (
        seq_len
        if length == symbol
        else next((n for n in range(1, seq_len + 1) if length.subs({symbol: n}) == seq_len), None)
    )
    if value is None:
        raise InputError(f"seq_len={seq_len}: the sequences of {what} have a length of {length}")
    limits = program.range_constraints.get(symbol)
    # torch writes 2 for what may be 1, too: it tells sizes of 1 apart.
    least = 1 if limits is None or limits.lower <= 2 else limits.lower
    if value < least or (limits is not None and value > limits.upper):
        most = "" if limits is None or not limits.upper.is_finite else f" to {limits.upper}"
        raise InputError(f"seq_len={seq_len}: {what} takes sequences from {least}{most}")
    inputs = tuple(
        torch.zeros(
            [
                s if isinstance(s, int) else int(s.node.expr.subs({symbol: value}))
                for s in node.meta["val"].shape
            ],
            dtype=node.meta["val"].dtype,
        )
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    )
    try:
        with torch.no_grad():
            return torch.export.export(program.module(check_guards=False), inputs)
    except Exception as error:  # torch raises many types for guards of the first export
        raise InputError(f"seq_len={seq_len}: {what} does not take this length: {error}") from error
