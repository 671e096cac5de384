"""Type rule of binary elementwise ops: torch's broadcasting, width from the `out_bits` attribute."""

from typing import Any

from tvm import tirx

from .registry import attr, shape_of, tensor


def infer_broadcast(call: Any) -> Any:
    a, b = shape_of(call.args[0]), shape_of(call.args[1])
    rank = max(len(a), len(b))
    a, b = [1] * (rank - len(a)) + a, [1] * (rank - len(b)) + b
    shape = [y if isinstance(x, int | tirx.IntImm) and int(x) == 1 else x for x, y in zip(a, b, strict=True)]
    return tensor(shape, attr(call, "out_bits"))
