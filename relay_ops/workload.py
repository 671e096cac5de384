"""What a call of an operator has in common with others that the same choices suit: shapes, types and structure, without
the numbers (scales, zero points, weights) that kernels are made with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

# Attributes that are numbers of a formula; all others say what is computed.
_NUMBERS = re.compile(r"(?:^|_)(?:zp|mult|shift|eps|lo|hi|z_one)$")


@dataclass(frozen=True)
class Workload:
    """op: "irnn.lstm"; text: the same for calls that share choices. gates, rows: of its weights, 0 where it has none;
    depth: activations that a row multiplies."""

    op: str
    text: str
    gates: int
    rows: int
    depth: int


def workload_of(call: Any) -> Workload:
    """Of a Relax call of an irnn operator."""
    op = str(call.op.name)
    tensors = [_tensor(argument) for argument in call.args]
    attrs = {} if call.attrs is None else {str(k): v for k, v in dict(call.attrs.items()).items()}
    structure = [f"{k}={_number(v)}" for k, v in sorted(attrs.items()) if not _NUMBERS.search(k)]
    # Without quotation marks: MetaSchedule writes texts in traces as they are.
    text = f"{op}({', '.join(tensors)}; {', '.join(structure)})"
    gates, rows, depth = _weights(op, call)
    return Workload(op, text, gates, rows, depth)


def _number(value: Any) -> int | list[int]:
    return int(value) if isinstance(value, int | bool) else [int(v) for v in value]


def _tensor(argument: Any) -> str:
    dims = [_dimension(d) for d in argument.ty.shape.values]
    return f"{argument.ty.dtype}[{','.join(dims)}]"


def _dimension(dim: Any) -> str:
    """A size that is known at build time, or T, whatever the expression in it."""
    from tvm import tirx

    return str(int(dim)) if isinstance(dim, int | tirx.IntImm) else "T"


def _weights(op: str, call: Any) -> tuple[int, int, int]:
    """Gates, rows of each and depth of the products of recurrent and linear layers, and of convolutions."""
    kind = op.removeprefix("irnn.")
    if kind == "linear":
        rows, depth = (int(d) for d in call.args[1].ty.shape.values)
        return 1, rows, depth
    if kind == "conv1d" and int(call.attrs["groups"]) == 1:
        rows, channels, taps = (int(d) for d in call.args[1].ty.shape.values)
        return 1, rows, channels * taps
    gates = {"lstm": 4, "lstm_general": 4, "gru": 3, "gru_norm": 3, "rnn": 1}.get(kind)
    if gates is None:
        return 0, 0, 0
    matrices = [a for a in call.args if str(a.ty.dtype) == "int8" and len(a.ty.shape.values) == 2]
    sizes = [tuple(int(d) for d in m.ty.shape.values) for m in matrices]
    rows = max((r for r, _ in sizes if r % gates == 0), default=gates)
    return gates, rows // gates, sum(d for r, d in sizes if r == rows)
