"""Proves that no accumulator can leave its width, for the constants of a program, before it is compiled.

int32: sum |w| * 128 + |bias| per row. int64: the products with multipliers, plus rounding. 16-bit tensors have
zero point 0, so that products of two of them fit 32 bits. Bounds: docs/numerics.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from irnn_tvm.compiler.lift_states import STATE_ARGS, op_name
from irnn_tvm.errors import AccumulatorOverflowError, BuildError

INT32 = 2**31 - 1
INT64 = 2**63 - 1
INT8 = 128


# Widths of every op's tensors in bits, in argument order; the bounds below rest on them.
_NARROW, _ANY = (8, 16), (8, 16, 32)
_MATRIX = ((8,), (8,), (32,), (32,))
WIDTHS: dict[str, tuple[tuple[int, ...], ...]] = {
    "irnn.linear": _MATRIX,
    "irnn.conv1d": _MATRIX,
    "irnn.lstm": ((8,), (8,), _NARROW, (8,), (8,), (32,), (32,), (32,), (16,)),
    "irnn.gru": ((8,), _NARROW, (8,), (8,), (32,), (32,), (32,), (32,), (16,)),
    "irnn.add": (_NARROW, _NARROW),
    "irnn.mul": (_NARROW, _NARROW),
    "irnn.requantize": (_ANY,),
    "irnn.pwl": (_NARROW, (16,)),
    "irnn.embedding": ((32,), (8,)),
    "irnn.clamp": (_ANY,),
    "irnn.layer_norm": (_NARROW, (32,), (32,)),
    "irnn.mad_norm": (_NARROW, (32,), (32,)),
    "irnn.mean_pool": (_NARROW,),
    "irnn.sum_pool": (_NARROW,),
    "irnn.max_pool": (_NARROW,),
    "irnn.avg_pool1d": (_NARROW,),
    "irnn.max_pool1d": (_NARROW,),
    "irnn.argmax": (_NARROW,),
    "irnn.topk": (_NARROW,),
}


def verify(main: Any) -> None:
    """Checks every irnn op of an imported program.

    Raises AccumulatorOverflowError naming op and row, BuildError for parameters outside the contract.
    """
    checks = {"irnn.linear": _matrix, "irnn.conv1d": _matrix, "irnn.lstm": _lstm, "irnn.gru": _gru,
              "irnn.add": _elementwise, "irnn.mul": _elementwise, "irnn.requantize": _elementwise,
              "irnn.pwl": _pwl}  # fmt: skip
    from irnn_tvm.compiler.verify_attention import CHECKS as ATTENTION  # they build on this module
    from irnn_tvm.compiler.verify_recurrent import CHECKS as RECURRENT
    from irnn_tvm.compiler.verify_rows import CHECKS as ROWS

    checks |= ATTENTION | RECURRENT | ROWS
    for block in main.body.blocks:
        for binding in block.bindings:
            name = op_name(binding.value)
            what = f"{name} ({binding.var.name})"
            if name in STATE_ARGS:
                _batch(binding.value, what)
            if name in WIDTHS:
                _widths(binding.value, name, what)
            if name in checks:
                checks[name](binding.value, what)


def _batch(call: Any, what: str) -> None:
    """A recurrent layer's batch is known when it is built: its states have a place of a fixed size."""
    from irnn_tvm.compiler.plan import expression

    batch = expression(call.args[0].ty.shape.values[1])
    if isinstance(batch, str):
        raise BuildError(
            f"{what}: it runs {batch} sequences at once, and that depends on the sequence length T (a recurrent layer "
            "within each frame, or time and batch exchanged); a fixed number is supported: build with seq_len="
        )


def _widths(call: Any, name: str, what: str) -> None:
    for index, (arg, allowed) in enumerate(zip(call.args, WIDTHS[name], strict=True)):
        dtype = str(arg.ty.dtype)
        if dtype not in {f"int{bits}" for bits in allowed}:
            supported = " or ".join(f"int{bits}" for bits in allowed)
            raise BuildError(f"{what}: argument {index} is {dtype}; supported: {supported}")


def _array(call: Any, index: int, what: str) -> np.ndarray:
    from tvm.ir import GenericConst

    if not isinstance(call.args[index], GenericConst):
        raise BuildError(f"{what}: argument {index} must be a constant of the program")
    return np.asarray(call.args[index].value.numpy(), dtype=np.int64)


def _int(call: Any, name: str) -> int:
    return int(call.attrs[name])


def _ints(call: Any, name: str) -> list[int]:
    return [int(v) for v in call.attrs[name]]


def _rows(w: np.ndarray, bias: np.ndarray, what: str) -> np.ndarray:
    """Largest |accumulator| per row; raises when one exceeds int32."""
    bound = np.abs(w.reshape(w.shape[0], -1)).sum(1) * INT8 + np.abs(bias)
    worst = int(bound.argmax())
    if bound[worst] > INT32:
        raise AccumulatorOverflowError(
            f"{what}: row {worst} can reach {int(bound[worst])}, an int32 accumulator holds {INT32}; "
            "split the layer or reduce its bias"
        )
    return bound


def _wide(total: int, shift: int, what: str) -> None:
    if not 1 <= shift <= 62:
        raise BuildError(f"{what}: shift {shift} is outside 1..62")
    if total + (1 << (shift - 1)) > INT64:
        raise AccumulatorOverflowError(f"{what}: a 64-bit sum can reach {total}, int64 holds {INT64}")


def _mult(values: np.ndarray | int, what: str) -> np.ndarray:
    array = np.asarray(values, np.int64)
    if array.min() < 1 or array.max() > INT32:
        raise BuildError(f"{what}: a multiplier is outside 1..{INT32}")
    return array


def _zero_point(bits: int, zp: int, what: str) -> None:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if not low <= zp <= high or (bits == 16 and zp != 0):
        raise BuildError(
            f"{what}: zero point {zp} is not supported for int{bits}; 16-bit tensors have zero point 0"
        )


def _matrix(call: Any, what: str) -> None:
    w, bias, mult = (_array(call, i, what) for i in (1, 2, 3))
    bound = _rows(w, bias, what)
    _mult(mult, what)
    _wide(max(int(b) * int(m) for b, m in zip(bound, mult, strict=True)), _int(call, "shift"), what)
    _zero_point(_int(call, "out_bits"), _int(call, "out_zp"), what)


def _recurrent(
    call: Any, what: str, first: int, gates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    w_ih, w_hh, bias = (_array(call, first + i, what) for i in range(3))
    rows_x = _rows(w_ih, bias, f"{what} input product")
    bits = _int(call, "gate_bits")
    for zp in [*_ints(call, "gate_zp"), *_ints(call, "act_zp")]:
        _zero_point(bits, zp, what)
    assert len(_ints(call, "gate_shift")) == gates
    return rows_x, w_hh, bias, w_ih


def _lstm(call: Any, what: str) -> None:
    rows_x, w_hh, _, _ = _recurrent(call, what, 3, 4)
    m_ih, m_hh = _mult(_array(call, 6, what), what), _mult(_array(call, 7, what), what)
    rows_h = _rows(w_hh, np.zeros(w_hh.shape[0], np.int64), f"{what} state product")
    _gates(rows_x, m_ih, rows_h, m_hh, _ints(call, "gate_shift"), what)
    unit = 1 << (_int(call, "gate_bits") - 1)
    cell = 1 << (_int(call, "cell_bits") - 1)
    _zero_point(_int(call, "cell_bits"), _int(call, "cell_zp"), what)
    keep = 2 * unit * 2 * cell if _int(call, "cell_bits") == 8 else unit * cell
    new = unit * unit if unit > 128 else 4 * unit * unit
    for name in ("f_mult", "i_mult", "h_mult"):
        _mult(_int(call, name), what)
    _wide(keep * _int(call, "f_mult") + new * _int(call, "i_mult"), _int(call, "cell_shift"), what)
    _wide(new * _int(call, "h_mult"), _int(call, "h_shift"), what)
    _tables(_array(call, 8, what), _ints(call, "table_shift"), what)


def _gates(rows_x: Any, m_ih: Any, rows_h: Any, m_hh: Any, shifts: list[int], what: str) -> None:
    hidden = len(rows_x) // len(shifts)
    for row, (a, ma, b, mb) in enumerate(zip(rows_x, m_ih, rows_h, m_hh, strict=True)):
        _wide(int(a) * int(ma) + int(b) * int(mb), shifts[row // hidden], f"{what} gate row {row}")


def _gru(call: Any, what: str) -> None:
    rows_x, w_hh, _, _ = _recurrent(call, what, 2, 3)
    hidden = w_hh.shape[1]
    bias_h = np.zeros(3 * hidden, np.int64)
    after = bool(int(call.attrs["reset_after"]))
    if after:
        bias_h[2 * hidden :] = _array(call, 5, what)
    m_ih, m_hh = _mult(_array(call, 6, what), what), _mult(_array(call, 7, what), what)
    rows_h = _rows(w_hh, bias_h, f"{what} state product")
    shifts = _ints(call, "gate_shift")
    if after:
        rz = slice(0, 2 * hidden)
        _gates(rows_x[rz], m_ih[rz], rows_h[rz], m_hh[rz], shifts[:2], what)
        worst = max(int(a) * int(m) for a, m in zip(rows_h[2 * hidden :], m_hh[2 * hidden :], strict=True))
        _wide(worst, _int(call, "hn_shift"), f"{what} hn")
    else:
        _gates(rows_x, m_ih, rows_h, m_hh, shifts, what)
    unit = 1 << (_int(call, "gate_bits") - 1)
    state_bits = _int(call, "state_bits")
    _zero_point(state_bits, _int(call, "state_zp"), what)
    state = (1 << (state_bits - 1)) * (2 if state_bits == 8 else 1)
    act = unit if unit > 128 else 2 * unit
    if after:
        worst = max(int(a) * int(m) for a, m in zip(rows_x[2 * hidden :], m_ih[2 * hidden :], strict=True))
        _wide(worst + act * unit * _int(call, "rn_mult"), shifts[2], f"{what} gate n")
    else:
        _wide(act * state * _int(call, "rh_mult"), _int(call, "rh_shift"), f"{what} r*h")
    one = _int(call, "z_one")
    low, high = _table_range(_array(call, 8, what)[1], _ints(call, "table_shift")[1], _int(call, "gate_bits"))
    z_zp = _ints(call, "act_zp")[1]
    rest = max(abs(one - (low - z_zp)), abs(one - (high - z_zp)))
    products = rest * act * _int(call, "n_mult") + act * state * _int(call, "h_mult")
    if rest * act > INT32 or act * state > INT32:
        raise AccumulatorOverflowError(f"{what}: the state update can leave int32")
    _wide(products, _int(call, "state_shift"), f"{what} state")
    _wide(state * _int(call, "out_mult"), _int(call, "out_shift"), f"{what} output")
    _tables(_array(call, 8, what), _ints(call, "table_shift"), what)


def _elementwise(call: Any, what: str) -> None:
    widths = [int(str(a.ty.dtype).removeprefix("int")) for a in call.args]
    _zero_point(_int(call, "out_bits"), _int(call, "out_zp"), what)
    if op_name(call) == "irnn.requantize":
        _zero_point(widths[0], _int(call, "in_zp"), what)
        total = (1 << widths[0]) * int(_mult(_int(call, "mult"), what))
    else:
        for bits, zp in zip(widths, (_int(call, "a_zp"), _int(call, "b_zp")), strict=True):
            _zero_point(bits, zp, what)
        a, b = ((1 << bits) if bits == 8 else (1 << (bits - 1)) for bits in widths)
        # A difference is a sum with a negative multiplier.
        factors = [
            int(_mult(abs(_int(call, name)), what))
            for name in ("a_mult", "b_mult", "mult")
            if name in call.attrs
        ]
        total = a * factors[0] + b * factors[1] if op_name(call) == "irnn.add" else a * b * factors[0]
    _wide(total, _int(call, "shift"), what)


def _pwl(call: Any, what: str) -> None:
    table = _array(call, 1, what)
    _tables(table[None], [_int(call, "shift")], what)


def _tables(tables: np.ndarray, shifts: list[int], what: str) -> None:
    """Every line of every table stays within int32 between its knot and the next."""
    for number, (table, shift) in enumerate(zip(tables, shifts, strict=True)):
        knots, slopes, values = table
        pieces = knots.size
        if pieces & (pieces - 1) or not 0 <= shift <= 14:
            raise BuildError(
                f"{what}: table {number} has {pieces} pieces and shift {shift}; a power of two and 0..14 go"
            )
        if np.any(np.diff(knots) < 0):
            raise BuildError(f"{what}: the knots of table {number} do not ascend")
        ends = np.append(knots[1:], 32767)
        reach = np.abs(slopes) * (ends - knots) + np.abs(values) * (1 << shift) + (1 << shift)
        below = np.abs(slopes[0]) * (knots[0] + 32768) + abs(int(values[0])) * (1 << shift)
        # A table for int8 inputs is never evaluated outside [-128, 127]; its last knot tells which grid it is for.
        if knots[-1] <= 127 and knots[0] >= -128:
            ends = np.append(knots[1:], 127)
            reach = np.abs(slopes) * (ends - knots) + np.abs(values) * (1 << shift) + (1 << shift)
            below = np.abs(slopes[0]) * (knots[0] + 128) + abs(int(values[0])) * (1 << shift)
        if max(int(reach.max()), int(below)) > INT32:
            raise AccumulatorOverflowError(f"{what}: table {number} can leave int32 between two knots")


def _table_range(table: np.ndarray, shift: int, bits: int) -> tuple[int, int]:
    """Smallest and largest output of a table: lines take their extremes at the ends of their pieces."""
    knots, slopes, values = table
    top = 127 if knots[-1] <= 127 and knots[0] >= -128 and bits == 8 else 32767
    ends = np.append(np.maximum(knots[1:] - 1, knots[:-1]), top)
    half = (1 << shift) >> 1
    outs = [(slopes * (q - knots) + (values << shift) + half) >> shift for q in (knots, ends)]
    # Below the first knot its line goes on.
    lowest = -128 if top == 127 else -32768
    outs.append((slopes[:1] * (lowest - knots[:1]) + (values[:1] << shift) + half) >> shift)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    both = np.clip(np.concatenate(outs), low, high)
    return int(both.min()), int(both.max())
