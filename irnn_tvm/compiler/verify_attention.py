"""Bounds of products of activations, softmax and attention (docs/numerics.md, "Overflow bounds")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from irnn_tvm.compiler import verify as v
from irnn_tvm.compiler.lift_states import op_name
from irnn_tvm.errors import AccumulatorOverflowError, BuildError

# Weights of an attention have 22 fraction bits; rounding adds at most half a unit for each key, and
# 255 * (2**22 + 2**22) is below 2**31.
MAX_KEYS = 1 << 23
NARROW = (8, 16)


def check_keys(main: Any, max_steps: int) -> None:
    """Raises AccumulatorOverflowError when a run-time number of keys may exceed what an attention can add up."""
    if max_steps > MAX_KEYS and any(
        op_name(b.value) == "irnn.attention" for block in main.body.blocks for b in block.bindings
    ):
        raise AccumulatorOverflowError(
            f"max_seq_len={max_steps}: an attention sums up to {MAX_KEYS} values; choose a smaller max_seq_len"
        )


def _bits(arg: Any) -> int:
    return int(str(arg.ty.dtype).removeprefix("int"))


def _types(call: Any, what: str, allowed: list[tuple[int, ...]]) -> None:
    for index, (arg, widths) in enumerate(zip(call.args, allowed, strict=True)):
        if str(arg.ty.dtype) not in {f"int{bits}" for bits in widths}:
            supported = " or ".join(f"int{bits}" for bits in widths)
            raise BuildError(f"{what}: argument {index} is {arg.ty.dtype}; supported: {supported}")


def _lengths(call: Any) -> list[tuple[int, ...]]:
    return [(32,)] if int(call.attrs["has_lengths"]) else []


def _reach(bits: int, zero_point: int) -> int:
    """Largest |q - zero_point|."""
    return max((1 << (bits - 1)) + zero_point, (1 << (bits - 1)) - 1 - zero_point)


def _exponential(call: Any, widest: int, what: str) -> None:
    """The rescale of distances up to `widest` to the grid of exp, and its table."""
    v._wide(widest * int(v._mult(v._int(call, "mult"), what)), v._int(call, "shift"), f"{what} scores")
    v._tables(v._array(call, len(call.args) - 1, what)[None], [v._int(call, "table_shift")], what)


def _softmax(call: Any, what: str) -> None:
    _types(call, what, [NARROW, *_lengths(call), (16,)])
    if v._int(call, "out_bits") not in NARROW:
        raise BuildError(f"{what}: weights are int8 or int16, not int{v._int(call, 'out_bits')}")
    _exponential(call, (1 << _bits(call.args[0])) - 1, what)


def _attention(call: Any, what: str) -> None:
    _types(call, what, [(8,), (8,), (8,), *_lengths(call), (16,)])
    heads = v._int(call, "heads")
    width, values = (int(call.args[i].ty.shape.values[2]) for i in (0, 2))
    if heads < 1 or width % heads or values % heads:
        raise BuildError(f"{what}: {heads} heads do not divide {width} features and {values} values")
    if int(call.attrs["has_lengths"]) and int(call.args[0].ty.shape.values[0]) % int(
        call.args[3].ty.shape.values[0]
    ):
        raise BuildError(f"{what}: the number of lengths does not divide the batch")
    for name in ("q_zp", "v_zp"):
        v._zero_point(8, v._int(call, name), what)
    v._zero_point(v._int(call, "out_bits"), v._int(call, "out_zp"), what)
    score = width // heads * _reach(8, v._int(call, "q_zp")) * 128
    if score > v.INT32:
        raise AccumulatorOverflowError(f"{what}: a score can reach {score}, int32 holds {v.INT32}")
    _exponential(call, 2 * score, what)
    v._wide(v.INT32 * int(v._mult(v._int(call, "out_mult"), what)), v._int(call, "out_shift"), what)
    keys = call.args[1].ty.shape.values[1]
    if hasattr(keys, "value") and int(keys.value) > MAX_KEYS:
        raise AccumulatorOverflowError(f"{what}: {int(keys.value)} keys; an attention sums up to {MAX_KEYS}")


def _matmul(call: Any, what: str) -> None:
    _types(call, what, [NARROW, NARROW])
    for arg, name in zip(call.args, ("a_zp", "b_zp"), strict=True):
        v._zero_point(_bits(arg), v._int(call, name), what)
    v._zero_point(v._int(call, "out_bits"), v._int(call, "out_zp"), what)
    # The sum saturates at 32 bits before it is rescaled.
    v._wide((v.INT32 + 1) * int(v._mult(v._int(call, "mult"), what)), v._int(call, "shift"), what)


def _append(call: Any, what: str) -> None:
    _types(call, what, [NARROW, (32,), (_bits(call.args[0]),)])


def _additive_scores(call: Any, what: str) -> None:
    _types(call, what, [NARROW, NARROW, (8,), (16,)])
    total = 0
    for arg, name in zip(call.args[:2], ("q", "k"), strict=True):
        v._zero_point(_bits(arg), v._int(call, f"{name}_zp"), what)
        mult = int(v._mult(v._int(call, f"{name}_mult"), what))
        total += _reach(_bits(arg), v._int(call, f"{name}_zp")) * mult
    v._wide(total, v._int(call, "pre_shift"), what)
    v._zero_point(v._int(call, "pre_bits"), v._int(call, "pre_zp"), what)
    v._tables(v._array(call, 3, what)[None], [v._int(call, "table_shift")], what)
    score = int(np.abs(v._array(call, 2, what)).sum()) * 128
    if score > v.INT32:
        raise AccumulatorOverflowError(f"{what}: a score can reach {score}, int32 holds {v.INT32}")
    v._wide(score * int(v._mult(v._int(call, "mult"), what)), v._int(call, "shift"), what)
    v._zero_point(v._int(call, "out_bits"), v._int(call, "out_zp"), what)


CHECKS: dict[str, Callable[[Any, str], None]] = {
    "irnn.softmax": _softmax,
    "irnn.attention": _attention,
    "irnn.matmul": _matmul,
    "irnn.append": _append,
    "irnn.additive_scores": _additive_scores,
}
