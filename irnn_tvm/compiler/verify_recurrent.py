"""Bounds of the recurrent variants: lstm_general, gru_norm, rnn. Formulas: docs/numerics.md, "Overflow bounds"."""

from __future__ import annotations

from typing import Any

import numpy as np

from irnn_tvm.compiler import verify as base
from irnn_tvm.errors import AccumulatorOverflowError, BuildError
from irnn_tvm.ops.norm_bounds import largest_eps, largest_unit
from irnn_tvm.ops.normalize import MAX_FEATURES, UNIT_BITS


def signed(values: np.ndarray, what: str) -> np.ndarray:
    """|multipliers| of either sign. Raises BuildError beyond 31 bits."""
    found = np.abs(values)
    if found.size and int(found.max()) > base.INT32:
        raise BuildError(f"{what}: a multiplier is outside -{base.INT32}..{base.INT32}")
    return found


def norm_parameters(kind: int, eps: int, features: int, what: str) -> None:
    """Raises BuildError for a norm outside the contract of irnn_tvm/ops/normalize.py."""
    if kind not in (1, 2):
        raise BuildError(f"{what}: norm {kind} is unknown; supported: 1 (layer), 2 (mad)")
    most = largest_eps(kind)
    if not 1 <= eps <= most:
        raise BuildError(f"{what}: epsilon {eps} is outside 1..{most}")
    if features > MAX_FEATURES:
        raise BuildError(f"{what}: a norm over {features} values; supported: {MAX_FEATURES}")


class Recurrent:
    """Arguments of one call by name, and the bounds that variants share."""

    def __init__(
        self, call: Any, what: str, widths: dict[str, tuple[int, ...]], optional: tuple[str, ...]
    ) -> None:
        from irnn_tvm.relay_ops.registry import optional_arguments

        required = tuple(name for name in widths if name not in optional)
        self.call, self.what = call, what
        self.arguments = optional_arguments(call, required, optional)
        for name, expr in self.arguments.items():
            dtype = str(expr.ty.dtype)
            if dtype not in {f"int{bits}" for bits in widths[name]}:
                allowed = " or ".join(f"int{bits}" for bits in widths[name])
                raise BuildError(f"{what}: argument {name} is {dtype}; supported: {allowed}")
        self.gate_bits = self.integer("gate_bits")
        # Largest |activation| without its zero point.
        self.act = 1 << (15 if self.gate_bits == 16 else 8)

    def has(self, name: str) -> bool:
        return name in self.arguments

    def array(self, name: str) -> np.ndarray:
        """A constant argument as int64."""
        from tvm.ir import GenericConst

        if not self.has(name):
            raise BuildError(f"{self.what}: argument {name} is missing")
        expr = self.arguments[name]
        if not isinstance(expr, GenericConst):
            raise BuildError(f"{self.what}: argument {name} must be a constant of the program")
        return np.asarray(expr.value.numpy(), np.int64)

    def integer(self, name: str) -> int:
        return base._int(self.call, name)

    def integers(self, name: str) -> list[int]:
        return base._ints(self.call, name)

    def multiplier(self, name: str) -> np.ndarray:
        return base._mult(self.array(name) if self.has(name) else self.integer(name), self.what)

    def rows(self, w: np.ndarray, bias: np.ndarray | None, part: str) -> np.ndarray:
        """Largest |accumulator| of each row of a product."""
        zeros = np.zeros(w.shape[0], np.int64)
        return base._rows(w, zeros if bias is None else bias, f"{self.what} {part}")

    def rescaled(self, bound: np.ndarray, mult: np.ndarray, shift: int, part: str) -> None:
        worst = max(int(b) * int(m) for b, m in zip(bound, mult, strict=True))
        base._wide(worst, shift, f"{self.what} {part}")

    def gate_zero_points(self) -> None:
        for zp in [*self.integers("gate_zp"), *self.integers("act_zp")]:
            base._zero_point(self.gate_bits, zp, self.what)

    def tables(self, count: int) -> np.ndarray:
        """All activation tables, proved; raises BuildError when there are not `count`."""
        tables = self.array("tables")
        if len(tables) != count:
            raise BuildError(f"{self.what}: {len(tables)} activation tables, expected {count}")
        base._tables(tables, self.integers("table_shift"), self.what)
        return tables


_LSTM_WIDTHS: dict[str, tuple[int, ...]] = {
    "x": (8,), "h0": (8,), "c0": (8, 16), "w_ih": (8,), "w_hh": (8,), "bias": (32,), "mult_ih": (32,),
    "mult_hh": (32,), "tables": (16,), "bias_hh": (32,), "gain_ih": (32,), "gain_hh": (32,), "gate_bias": (32,),
    "mult_peephole": (32,), "cell_gain": (32,), "cell_bias": (32,), "w_hr": (8,), "bias_hr": (32,), "mult_hr": (32,),
    "w_q": (8,), "bias_q": (32,), "mult_q": (32,), "w_r": (8,), "bias_r": (32,), "mult_r": (32,),
}  # fmt: skip


def lstm_general(call: Any, what: str) -> None:
    """Raises AccumulatorOverflowError or BuildError for a call outside the contract."""
    from irnn_tvm.relay_ops.lstm_general import OPTIONAL

    r = Recurrent(call, what, _LSTM_WIDTHS, OPTIONAL)
    w_ih, w_hh, bias = r.array("w_ih"), r.array("w_hh"), r.array("bias")
    hidden = int(r.arguments["c0"].ty.shape.values[1])
    gates = w_ih.shape[0] // hidden
    rounds = len(r.integers("mogrifier_shift"))
    one = r.integer("one")
    if w_ih.shape[0] % hidden or gates != (3 if one > 0 else 4) or len(r.integers("gate_shift")) != gates:
        raise BuildError(f"{what}: {w_ih.shape[0]} rows for {hidden} units; 4 gates, or 3 when coupled, go")
    r.gate_zero_points()
    tables = r.tables(gates + 1 + rounds)
    cell_bits = r.integer("cell_bits")
    base._zero_point(cell_bits, r.integer("cell_zp"), what)
    low, high = -(1 << (cell_bits - 1)), (1 << (cell_bits - 1)) - 1
    if not low <= r.integer("cell_low") <= r.integer("cell_high") <= high:
        raise BuildError(
            f"{what}: cell limits {r.integer('cell_low')}..{r.integer('cell_high')} are outside int{cell_bits}"
        )
    cell = 1 << (15 if cell_bits == 16 else 8)  # largest |c - cell_zp|
    _gate_sums(r, gates, hidden, cell, r.rows(w_ih, bias, "input product"), w_hh)
    # Cell update.
    i = r.act
    if one > 0:
        f_low, f_high = base._table_range(tables[0], r.integers("table_shift")[0], r.gate_bits)
        zf = r.integers("act_zp")[0]
        i = max(abs(one - (f_low - zf)), abs(one - (f_high - zf)))
    if i * r.act > base.INT32 or r.act * cell > base.INT32:
        raise AccumulatorOverflowError(f"{what}: a product of the cell update can leave int32")
    for name in ("f_mult", "i_mult", "h_mult"):
        base._mult(r.integer(name), what)
    base._wide(
        r.act * cell * r.integer("f_mult") + i * r.act * r.integer("i_mult"),
        r.integer("cell_shift"),
        f"{what} cell",
    )
    if r.integer("cell_norm"):
        norm_parameters(r.integer("cell_norm"), r.integer("cell_norm_eps"), hidden, what)
        base._zero_point(r.gate_bits, r.integer("cell_norm_zp"), what)
        unit = largest_unit(r.integer("cell_norm"), hidden)
        sums = signed(r.array("cell_gain"), what) * unit + (signed(r.array("cell_bias"), what) << UNIT_BITS)
        base._wide(int(sums.max()), r.integer("cell_norm_shift"), f"{what} normalised cell")
    base._zero_point(8, r.integer("h_zp"), what)
    base._wide(r.act * r.act * r.integer("h_mult"), r.integer("h_shift"), f"{what} output")
    if r.has("w_hr"):
        bound = r.rows(r.array("w_hr"), r.array("bias_hr"), "projection")
        r.rescaled(bound, r.multiplier("mult_hr"), r.integer("projection_shift"), "projection")
        base._zero_point(8, r.integer("projection_zp"), what)
    _mogrifier(r, rounds)


def _gate_sums(
    r: Recurrent, gates: int, hidden: int, cell: int, rows_x: np.ndarray, w_hh: np.ndarray
) -> None:
    """The 64-bit sum of every gate."""
    m_ih, m_hh = r.multiplier("mult_ih"), r.multiplier("mult_hh")
    norm = r.integer("norm")
    if norm:
        rows_h = r.rows(w_hh, r.array("bias_hh"), "state product")
        features = gates * hidden
        for eps in r.integers("norm_eps"):
            norm_parameters(norm, eps, features, r.what)
        for bound, mult, shift, part in zip(
            (rows_x, rows_h), (m_ih, m_hh), r.integers("norm_shift"), ("input", "state"), strict=True
        ):
            r.rescaled(bound, mult, shift, f"{part} product before its norm")
        unit = largest_unit(norm, features)
        gains = [signed(r.array(n), r.what) for n in ("gain_ih", "gain_hh", "gate_bias")]
        total = gains[0].astype(object) * unit + gains[1].astype(object) * unit
        total = total + gains[2].astype(object) * (1 << UNIT_BITS)
    else:
        rows_h = r.rows(w_hh, None, "state product")
        total = rows_x.astype(object) * m_ih.astype(object) + rows_h.astype(object) * m_hh.astype(object)
    if r.has("mult_peephole"):
        peeps = signed(r.array("mult_peephole"), r.what).astype(object) * cell
        for column, gate in enumerate(k for k in range(gates) if k != gates - 2):
            total[gate * hidden : (gate + 1) * hidden] += peeps[column * hidden : (column + 1) * hidden]
    for row, value in enumerate(total):
        base._wide(int(value), r.integers("gate_shift")[row // hidden], f"{r.what} gate row {row}")


def _mogrifier(r: Recurrent, rounds: int) -> None:
    zero_points = [r.integer("x_zp"), *r.integers("mogrifier_out_zp")]
    for zp in zero_points:
        base._zero_point(8, zp, r.what)
    for number in range(rounds):
        name = "r" if number % 2 else "q"
        part = f"Mogrifier round {number + 1}"
        bound = r.rows(r.array(f"w_{name}")[number // 2], r.array(f"bias_{name}")[number // 2], part)
        mult = base._mult(r.array(f"mult_{name}")[number // 2], r.what)
        r.rescaled(bound, mult, r.integers("mogrifier_shift")[number], part)
        base._zero_point(r.gate_bits, r.integers("mogrifier_zp")[number], r.what)
        out = int(base._mult(r.integers("mogrifier_mult")[number], r.what))
        if r.act * 255 > base.INT32:
            raise AccumulatorOverflowError(f"{r.what}: {part} can leave int32")
        base._wide(r.act * 255 * out, r.integers("mogrifier_out_shift")[number], f"{r.what} {part}")


_GRU_WIDTHS: dict[str, tuple[int, ...]] = {
    "x": (8,), "h0": (8, 16), "w_ih": (8,), "w_hh": (8,), "bias_ih": (32,), "bias_hh": (32,), "mult_ih": (32,),
    "mult_hh": (32,), "gain_ih": (32,), "gain_hh": (32,), "gate_bias": (32,), "reset_bias": (32,), "tables": (16,),
}  # fmt: skip


def gru_norm(call: Any, what: str) -> None:
    """Raises AccumulatorOverflowError or BuildError for a call outside the contract."""
    r = Recurrent(call, what, _GRU_WIDTHS, ())
    w_ih, w_hh = r.array("w_ih"), r.array("w_hh")
    size = w_hh.shape[1]
    rows_x = r.rows(w_ih, r.array("bias_ih"), "input product")
    rows_h = r.rows(w_hh, r.array("bias_hh"), "state product")
    r.gate_zero_points()
    norm, shifts, eps = r.integer("norm"), r.integers("norm_shift"), r.integers("norm_eps")
    parts = (slice(0, 2 * size), slice(2 * size, 3 * size))
    mults = (r.multiplier("mult_ih"), r.multiplier("mult_hh"))
    for number, (bound, mult, rows) in enumerate(
        (bound, mult, rows) for bound, mult in zip((rows_x, rows_h), mults, strict=True) for rows in parts
    ):
        norm_parameters(norm, eps[number], rows.stop - rows.start, what)
        r.rescaled(bound[rows], mult[rows], shifts[number], "product before its norm")
    unit = np.repeat([largest_unit(norm, 2 * size), largest_unit(norm, size)], (2 * size, size)).astype(
        object
    )
    gain_x, gain_h = (signed(r.array(n), what).astype(object) * unit for n in ("gain_ih", "gain_hh"))
    bias = signed(r.array("gate_bias"), what).astype(object) * (1 << UNIT_BITS)
    reset = gain_h[parts[1]] + signed(r.array("reset_bias"), what).astype(object) * (1 << UNIT_BITS)
    for value in reset:
        base._wide(int(value), r.integer("reset_shift"), f"{what} reset term")
    base._mult(r.integer("rn_mult"), what)
    if r.act << 15 > base.INT32:
        raise AccumulatorOverflowError(f"{what}: r * hn can leave int32")
    gated = (r.act << 15) * r.integer("rn_mult")
    for row in range(3 * size):
        total = gain_x[row] + bias[row] + (gain_h[row] if row < 2 * size else gated)
        base._wide(int(total), r.integers("gate_shift")[row // size], f"{what} gate row {row}")
    tables = r.tables(3)
    state_bits = r.integer("state_bits")
    base._zero_point(state_bits, r.integer("state_zp"), what)
    state = 1 << (15 if state_bits == 16 else 8)
    low, high = base._table_range(tables[1], r.integers("table_shift")[1], r.gate_bits)
    one, z_zp = r.integer("z_one"), r.integers("act_zp")[1]
    rest = max(abs(one - (low - z_zp)), abs(one - (high - z_zp)))
    if rest * r.act > base.INT32 or r.act * state > base.INT32:
        raise AccumulatorOverflowError(f"{what}: the state update can leave int32")
    for name in ("n_mult", "h_mult", "out_mult"):
        base._mult(r.integer(name), what)
    update = rest * r.act * r.integer("n_mult") + r.act * state * r.integer("h_mult")
    base._wide(update, r.integer("state_shift"), f"{what} state")
    base._zero_point(8, r.integer("out_zp"), what)
    base._wide(state * r.integer("out_mult"), r.integer("out_shift"), f"{what} output")


_RNN_WIDTHS: dict[str, tuple[int, ...]] = {
    "x": (8,), "h0": (8,), "w_ih": (8,), "w_hh": (8,), "bias": (32,), "mult_ih": (32,), "mult_hh": (32,),
    "table": (16,),
}  # fmt: skip


def rnn(call: Any, what: str) -> None:
    """Raises AccumulatorOverflowError or BuildError for a call outside the contract."""
    r = Recurrent(call, what, _RNN_WIDTHS, ("table",))
    rows_x = r.rows(r.array("w_ih"), r.array("bias"), "input product")
    rows_h = r.rows(r.array("w_hh"), None, "state product")
    m_ih, m_hh = r.multiplier("mult_ih"), r.multiplier("mult_hh")
    for row, (a, ma, b, mb) in enumerate(zip(rows_x, m_ih, rows_h, m_hh, strict=True)):
        base._wide(int(a) * int(ma) + int(b) * int(mb), r.integer("shift"), f"{what} row {row}")
    base._zero_point(r.gate_bits if r.has("table") else 8, r.integer("zp"), what)
    if r.has("table"):
        base._tables(r.array("table")[None], [r.integer("table_shift")], what)


CHECKS = {"irnn.lstm_general": lstm_general, "irnn.gru_norm": gru_norm, "irnn.rnn": rnn}
