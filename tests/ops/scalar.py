"""The formulas of docs/numerics.md once more, in plain Python integers, one scalar at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = list[int]
Table = tuple[Row, Row, Row]


def sat(value: int, bits: int) -> int:
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def rs(value: int, shift: int) -> int:
    return (value + (1 << (shift - 1))) >> shift


def rescale(acc: int, shift: int, zero_point: int, bits: int) -> int:
    return sat(rs(acc, shift) + zero_point, bits)


def pwl(q: int, table: Table, shift: int, bits: int) -> int:
    knots, slopes, values = table
    piece = max((i for i, k in enumerate(knots) if k <= q), default=0)
    line = slopes[piece] * (q - knots[piece]) + (values[piece] << shift)
    return sat(rs(line, shift) if shift else line, bits)


def dot(w: Sequence[int], x: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(w, x, strict=True))


def lstm_step(x: Row, h: Row, c: Row, p: dict[str, Any]) -> tuple[Row, Row]:
    """One step of one sequence; p: the arguments of irnn::lstm as lists and ints."""
    size = len(h)
    new_h, new_c = [], []
    for j in range(size):
        act = []
        for gate in range(4):
            row = gate * size + j
            acc = (dot(p["w_ih"][row], x) + p["bias"][row]) * p["mult_ih"][row]
            acc += dot(p["w_hh"][row], h) * p["mult_hh"][row]
            pre = rescale(acc, p["gate_shift"][gate], p["gate_zp"][gate], p["gate_bits"])
            value = pwl(pre, p["tables"][gate], p["table_shift"][gate], p["gate_bits"])
            act.append(value - p["act_zp"][gate])
        i, f, g, o = act
        acc = f * (c[j] - p["cell_zp"]) * p["f_mult"] + i * g * p["i_mult"]
        cell = rescale(acc, p["cell_shift"], p["cell_zp"], p["cell_bits"])
        tanh = pwl(cell, p["tables"][4], p["table_shift"][4], p["gate_bits"]) - p["act_zp"][4]
        new_c.append(cell)
        new_h.append(rescale(o * tanh * p["h_mult"], p["h_shift"], p["h_zp"], 8))
    return new_h, new_c


def gru_output(h: int, p: dict[str, Any]) -> int:
    return rescale((h - p["state_zp"]) * p["out_mult"], p["out_shift"], p["out_zp"], 8)


def gru_step(x: Row, h: Row, p: dict[str, Any]) -> Row:
    """One step of one sequence; p: the arguments of irnn::gru as lists and ints. Returns the state."""
    size = len(h)
    h8 = [gru_output(v, p) for v in h]

    def gate(k: int, acc: int) -> int:
        pre = rescale(acc, p["gate_shift"][k], p["gate_zp"][k], p["gate_bits"])
        value = pwl(pre, p["tables"][k], p["table_shift"][k], p["gate_bits"])
        return value - p["act_zp"][k]

    def product(row: int) -> int:
        return (dot(p["w_ih"][row], x) + p["bias"][row]) * p["mult_ih"][row]

    def recurrent(row: int, vector: Row) -> int:
        return dot(p["w_hh"][row], vector)

    m = p["mult_hh"]
    r = [gate(0, product(j) + recurrent(j, h8) * m[j]) for j in range(size)]
    z = [gate(1, product(size + j) + recurrent(size + j, h8) * m[size + j]) for j in range(size)]
    real = [v - p["state_zp"] for v in h]
    rh = [rescale(a * b * p["rh_mult"], p["rh_shift"], p["rh_zp"], 8) for a, b in zip(r, real, strict=True)]
    out = []
    for j in range(size):
        row = 2 * size + j
        if p["reset_after"]:
            acc = (recurrent(row, h8) + p["bias_hn"][j]) * m[row]
            hn = rescale(acc, p["hn_shift"], 0, p["gate_bits"])
            n = gate(2, product(row) + r[j] * hn * p["rn_mult"])
        else:
            n = gate(2, product(row) + recurrent(row, rh) * m[row])
        mix = (p["z_one"] - z[j]) * n * p["n_mult"] + z[j] * real[j] * p["h_mult"]
        out.append(rescale(mix, p["state_shift"], p["state_zp"], p["state_bits"]))
    return out
