"""Steps of recurrent variants once more, in plain Python integers; see scalar.py."""

from __future__ import annotations

from typing import Any

from scalar import Row, dot, gru_output, pwl, rescale, sat
from scalar_rows import units

KINDS = {1: "layer", 2: "mad"}


def lstm_general_step(x: Row, h: Row, c: Row, p: dict[str, Any]) -> tuple[Row, Row]:
    """One step of one sequence; p: the arguments of irnn::lstm_general as lists and ints."""
    size = len(c)
    gates = len(p["w_ih"]) // size
    f, g, o = gates - 3, gates - 2, gates - 1
    projected = p["w_hr"] is not None
    x_zp, h_zp = p["x_zp"], p["projection_zp" if projected else "h_zp"]
    for r in range(len(p["mogrifier_shift"])):
        letter = "r" if r % 2 else "q"
        source, value, zero = (x, h, h_zp) if r % 2 else (h, x, x_zp)
        w, b, m = (p[f"{kind}_{letter}"][r // 2] for kind in ("w", "bias", "mult"))
        k, out_zp = gates + 1 + r, p["mogrifier_out_zp"][r]
        result = []
        for j, v in enumerate(value):
            pre = rescale(
                (dot(w[j], source) + b[j]) * m[j],
                p["mogrifier_shift"][r],
                p["mogrifier_zp"][r],
                p["gate_bits"],
            )
            s = pwl(pre, p["tables"][k], p["table_shift"][k], p["gate_bits"]) - p["act_zp"][k]
            product = s * (v - zero) * p["mogrifier_mult"][r]
            result.append(rescale(product, p["mogrifier_out_shift"][r], out_zp, 8))
        if r % 2:
            h, h_zp = result, out_zp
        else:
            x, x_zp = result, out_zp
    sums = _gate_sums(x, h, p)
    old = [v - p["cell_zp"] for v in c]

    def activate(gate: int, j: int, cell: int) -> int:
        e = sums[gate * size + j]
        if p["mult_peephole"] is not None and gate != g:
            column = gate if gate < g else gates - 2
            e += cell * p["mult_peephole"][column * size + j]
        pre = rescale(e, p["gate_shift"][gate], p["gate_zp"][gate], p["gate_bits"])
        return pwl(pre, p["tables"][gate], p["table_shift"][gate], p["gate_bits"]) - p["act_zp"][gate]

    new, out = [], []
    for j in range(size):
        forget = activate(f, j, old[j])
        admit = p["one"] - forget if p["one"] else activate(0, j, old[j])
        acc = forget * old[j] * p["f_mult"] + admit * activate(g, j, old[j]) * p["i_mult"]
        value = rescale(acc, p["cell_shift"], p["cell_zp"], p["cell_bits"])
        new.append(max(p["cell_low"], min(p["cell_high"], value)))
        out.append(activate(o, j, new[j] - p["cell_zp"]))
    before = new
    if p["cell_norm"]:
        u = units(KINDS[p["cell_norm"]], new, p["cell_norm_eps"])
        before = [
            rescale(v * a + (b << 16), p["cell_norm_shift"], p["cell_norm_zp"], p["gate_bits"])
            for v, a, b in zip(u, p["cell_gain"], p["cell_bias"], strict=True)
        ]
    squashed = [
        pwl(v, p["tables"][gates], p["table_shift"][gates], p["gate_bits"]) - p["act_zp"][gates]
        for v in before
    ]
    inner = [
        rescale(a * b * p["h_mult"], p["h_shift"], p["h_zp"], 8) for a, b in zip(out, squashed, strict=True)
    ]
    if not projected:
        return inner, new
    rows = zip(p["w_hr"], p["bias_hr"], p["mult_hr"], strict=True)
    return [
        rescale((dot(w, inner) + b) * m, p["projection_shift"], p["projection_zp"], 8) for w, b, m in rows
    ], new


def _gate_sums(x: Row, h: Row, p: dict[str, Any]) -> Row:
    from_x = [(dot(w, x) + b) * m for w, b, m in zip(p["w_ih"], p["bias"], p["mult_ih"], strict=True)]
    if not p["norm"]:
        from_h = [dot(w, h) * m for w, m in zip(p["w_hh"], p["mult_hh"], strict=True)]
        return [a + b for a, b in zip(from_x, from_h, strict=True)]
    from_h = [(dot(w, h) + b) * m for w, b, m in zip(p["w_hh"], p["bias_hh"], p["mult_hh"], strict=True)]
    kind = KINDS[p["norm"]]
    u, v = (
        units(kind, [rescale(a, shift, 0, 16) for a in part], eps)
        for part, shift, eps in zip((from_x, from_h), p["norm_shift"], p["norm_eps"], strict=True)
    )
    parts = zip(u, p["gain_ih"], v, p["gain_hh"], p["gate_bias"], strict=True)
    return [a * ga + b * gb + (bias << 16) for a, ga, b, gb, bias in parts]


def gru_norm_step(x: Row, h: Row, p: dict[str, Any]) -> Row:
    """One step of one sequence; p: the arguments of irnn::gru_norm as lists and ints. Returns the state."""
    size, kind = len(h), KINDS[p["norm"]]
    h8 = [gru_output(v, p) for v in h]
    normed: list[Row] = []
    for vector, name, first in ((x, "ih", 0), (h8, "hh", 2)):
        rows = zip(p[f"w_{name}"], p[f"bias_{name}"], p[f"mult_{name}"], strict=True)
        acc = [(dot(w, vector) + b) * m for w, b, m in rows]
        parts = (acc[: 2 * size], acc[2 * size :])
        normed.append(
            [
                u
                for i, part in enumerate(parts)
                for u in units(
                    kind,
                    [rescale(a, p["norm_shift"][first + i], 0, 16) for a in part],
                    p["norm_eps"][first + i],
                )
            ]
        )

    def gate(k: int, e: int) -> int:
        pre = rescale(e, p["gate_shift"][k], p["gate_zp"][k], p["gate_bits"])
        return pwl(pre, p["tables"][k], p["table_shift"][k], p["gate_bits"]) - p["act_zp"][k]

    state = []
    for j in range(size):
        r, z = (
            gate(
                k,
                normed[0][row] * p["gain_ih"][row]
                + normed[1][row] * p["gain_hh"][row]
                + (p["gate_bias"][row] << 16),
            )
            for k, row in ((0, j), (1, size + j))
        )
        row = 2 * size + j
        hn = rescale(normed[1][row] * p["gain_hh"][row] + (p["reset_bias"][j] << 16), p["reset_shift"], 0, 16)
        n = gate(2, normed[0][row] * p["gain_ih"][row] + (p["gate_bias"][row] << 16) + r * hn * p["rn_mult"])
        mix = (p["z_one"] - z) * n * p["n_mult"] + z * (h[j] - p["state_zp"]) * p["h_mult"]
        state.append(rescale(mix, p["state_shift"], p["state_zp"], p["state_bits"]))
    return state


def rnn_step(x: Row, h: Row, p: dict[str, Any]) -> Row:
    """One step of one sequence; p: the arguments of irnn::rnn as lists and ints."""
    out = []
    for j in range(len(h)):
        e = (dot(p["w_ih"][j], x) + p["bias"][j]) * p["mult_ih"][j] + dot(p["w_hh"][j], h) * p["mult_hh"][j]
        if p["table"] is None:
            out.append(max(rescale(e, p["shift"], p["zp"], 8), sat(p["zp"], 8)))
        else:
            pre = rescale(e, p["shift"], p["zp"], p["gate_bits"])
            out.append(pwl(pre, p["table"], p["table_shift"], 8))
    return out
