"""Bounds of what reads whole rows: layer_norm, mad_norm, pooling, argmax and top-k (docs/numerics.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from irnn_tvm.compiler.lift_states import op_name
from irnn_tvm.compiler.verify import INT32, _array, _int, _mult, _wide, _zero_point
from irnn_tvm.errors import AccumulatorOverflowError, BuildError
from irnn_tvm.ops.normalize import MAX_EPS, MAX_FEATURES, MAX_MAD_EPS, UNIT_BITS, largest_unit


def check_features(features: int, what: str) -> None:
    """Raises AccumulatorOverflowError for rows that are too long for exact 32-bit deviations."""
    if features > MAX_FEATURES:
        raise AccumulatorOverflowError(
            f"{what}: {features} features; n * x - sum(x) stays within int32 up to {MAX_FEATURES} of them"
        )


def check_eps(kind: str, eps: int, what: str) -> None:
    """Raises BuildError for an epsilon of 0 (a constant row would have no inverse) or one that is too large."""
    most = MAX_EPS if kind == "layer" else MAX_MAD_EPS
    if not 1 <= eps <= most:
        raise BuildError(f"{what}: eps {eps} is outside 1..{most}")


def _features(call: Any, what: str) -> int:
    """Size of the last axis."""
    from tvm import tirx

    size = call.args[0].ty.shape.values[-1]
    if not isinstance(size, int | tirx.IntImm):
        raise BuildError(f"{what}: its last axis has a run-time size; rows of a fixed size are supported")
    return int(size)


def _norm(kind: str) -> Any:
    def check(call: Any, what: str) -> None:
        features = _features(call, what)
        check_features(features, what)
        check_eps(kind, _int(call, "eps"), what)
        gamma, beta = np.abs(_array(call, 1, what)), np.abs(_array(call, 2, what))
        if gamma.shape != (features,) or beta.shape != (features,):
            raise BuildError(
                f"{what}: gamma {gamma.shape} and beta {beta.shape} do not fit {features} features"
            )
        unit = largest_unit(kind, features)
        worst = max(int(g) * unit + (int(b) << UNIT_BITS) for g, b in zip(gamma, beta, strict=True))
        _wide(worst, _int(call, "shift"), what)
        _zero_point(_int(call, "out_bits"), _int(call, "out_zp"), what)

    return check


def _reach(call: Any, what: str) -> int:
    """Largest |x - in_zp|."""
    bits, zp = int(str(call.args[0].ty.dtype).removeprefix("int")), _int(call, "in_zp")
    _zero_point(bits, zp, what)
    return (1 << (bits - 1)) + abs(zp)


def _sum(call: Any, length: int, shift: int, what: str) -> None:
    total = length * _reach(call, what)
    if total > INT32:
        raise AccumulatorOverflowError(
            f"{what}: the sum over {length} values can reach {total}, an int32 accumulator holds {INT32}"
        )
    _wide(total * int(_mult(_int(call, "mult"), what)), shift, what)


def _mean(call: Any, what: str) -> None:
    from tvm import tirx

    _mult(_int(call, "mult"), what)
    _wide(0, _int(call, "shift"), what)  # a run-time length of 1 adds nothing to it
    _reach(call, what)
    _zero_point(_int(call, "out_bits"), _int(call, "out_zp"), what)
    length = _axis_size(call)
    if isinstance(length, int | tirx.IntImm):
        _mean_of(call, int(length), what)


def _axis_size(call: Any) -> Any:
    shape = call.args[0].ty.shape.values
    return shape[_int(call, "dim") % len(shape)]


def _mean_of(call: Any, length: int, what: str) -> None:
    """The sum itself, and its product with the multiplier; a mean's shift grows with its length."""
    grows = op_name(call) == "irnn.mean_pool"
    _sum(call, length, _int(call, "shift") + grows * (length.bit_length() - 1), what)


def _windows(call: Any, what: str) -> None:
    kernel, stride, padding = (_int(call, n) for n in ("kernel", "stride", "padding"))
    if kernel < 1 or stride < 1 or not 0 <= 2 * padding <= kernel:
        raise BuildError(
            f"{what}: kernel {kernel}, stride {stride}, padding {padding}; a window holds at least one value when "
            "kernel and stride are at least 1 and the padding is at most half of the kernel"
        )


def _average(call: Any, what: str) -> None:
    _windows(call, what)
    _zero_point(_int(call, "out_bits"), _int(call, "out_zp"), what)
    _sum(call, _int(call, "kernel"), _int(call, "shift"), what)


def _top(call: Any, what: str) -> None:
    size, k = _features(call, what), _int(call, "k")
    if not 1 <= k <= size:
        raise BuildError(f"{what}: the {k} largest of {size} values; k is 1 to the size of the row")


CHECKS = {
    "irnn.layer_norm": _norm("layer"),
    "irnn.mad_norm": _norm("mad"),
    "irnn.mean_pool": _mean,
    "irnn.sum_pool": _mean,
    "irnn.avg_pool1d": _average,
    "irnn.max_pool1d": _windows,
    "irnn.topk": _top,
}


def verify_lengths(main: Any, max_steps: int) -> None:
    """Bounds that depend on the run-time length: means and sums over axes that up to `max_steps` steps make long.

    Raises AccumulatorOverflowError naming the operator and the length.
    """
    from irnn_tvm.compiler.plan import evaluate, expression

    for block in main.body.blocks:
        for binding in block.bindings:
            name = op_name(binding.value)
            if name not in ("irnn.mean_pool", "irnn.sum_pool"):
                continue
            size = _axis_size(binding.value)
            if isinstance(expression(size), str):
                length = max(1, evaluate(size, max_steps))
                _mean_of(binding.value, length, f"{name} ({binding.var.name})")
