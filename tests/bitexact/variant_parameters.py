"""Arguments of recurrent variants: see parameters.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from parameters import (
    Arguments,
    Input,
    _fix_states,
    _gates,
    _shift_for,
    _tensor,
    _weights,
    table_of,
)
from torch import Tensor

from irnn_tvm.ops.qparams import QParams, multiplier

NORMS = {None: 0, "layer": 1, "mad": 2}
# A normalised value rarely exceeds 3; as a gate input it should reach a few units, of which a step has 8 / 2**(bits-1).
UNIT = 2.0**16


def _gain(rng: np.random.Generator, n: int, bits: int, shift: int) -> Tensor:
    """Gains of both signs, up to about 1.5 in real terms on a grid of +-8."""
    real = rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n)
    return _tensor(np.round(real * 2.0 ** (bits - 4 + shift) / UNIT), 32)


def _extreme(constants: dict[str, Any], lowest: int, halves: bool) -> None:
    """Weights that kernels might get wrong, in place. lowest: of the first half of each matrix, where it is below -127;
    halves: the first half of each matrix is -127, so that elements next to each other saturate alike."""
    for name in ("w_ih", "w_hh"):
        if lowest < -127 or halves:
            constants[name].view(-1)[: constants[name].numel() // 2] = min(lowest, -127)


def _lstm_general(
    rng: np.random.Generator,
    *,
    x: int,
    h: int,
    batch: int = 1,
    steps: int = 5,
    reverse: bool = False,
    gate_bits: int = 16,
    cell_bits: int = 16,
    cell_zp: int = 0,
    pieces: int = 32,
    gain: float = 1.0,
    constant_state: bool = False,
    project: int = 0,
    peephole: bool = False,
    coupled: bool = False,
    clip: float | None = None,
    norm: str | None = None,
    cell_norm: str | None = None,
    rounds: int = 0,
    weight: int | None = None,
    lowest: int = -127,
    halves: bool = False,
) -> Arguments:
    names = ("sigmoid", "tanh", "sigmoid") if coupled else ("sigmoid", "sigmoid", "tanh", "sigmoid")
    gates, state = len(names), project or h
    cell = QParams(2.0**-5, cell_zp, 8) if cell_bits == 8 else QParams(8 / 32767, 0, 16)
    before_tanh = QParams(8 / 127, -2, 8) if gate_bits == 8 else QParams(8 / 32767, 0, 16)
    g = _gates(rng, names, x, h, gate_bits, pieces, gain, cell if cell_norm is None else before_tanh)
    constants: dict[str, Tensor | None] = dict(g.constants)
    constants["w_hh"] = _weights(rng, (gates * h, state))
    _extreme(constants, lowest, halves)
    if weight is not None:
        constants |= {k: constants[k] * 0 + weight for k in ("w_ih", "w_hh", "bias")}  # type: ignore[operator]
    tables, table_shift, act_zp = [g.tables], [*g.table_shift], [*g.act_zp]
    gate_shift, norm_shift, norm_eps = g.gate_shift, [1, 1], [1, 1]
    if norm is not None:
        norm_shift = [_shift_for(x, 16, 25.5, gain), _shift_for(state, 16, 25.5, gain)]
        norm_eps = [int(rng.integers(1, 2000)), int(rng.integers(1, 2**33))]
        gate_shift = [30 - k for k in range(gates)]
        gains = [[_gain(rng, h, gate_bits, s) for s in gate_shift] for _ in range(3)]
        names_of_gains = ("gain_ih", "gain_hh", "gate_bias")
        constants |= {k: _tensor(np.concatenate(v), 32) for k, v in zip(names_of_gains, gains, strict=True)}
        constants["bias_hh"] = _tensor(rng.integers(-3000, 3001, gates * h) * (weight is None), 32)
    if peephole:
        real = 2.0 ** (gate_bits - cell_bits) * (2.0 if cell_bits == 8 else 1.0)
        kept = [gate_shift[k] for k in range(gates) if k != gates - 2]
        rows = [rng.uniform(-0.6, 0.6, h) * real * 2.0**s for s in kept]
        limit = max(1.0, float(np.abs(rows).max()) / (2**31 - 1))
        constants["mult_peephole"] = _tensor(np.round(np.concatenate(rows) / limit), 32)
    cell_norm_shift = 29
    if cell_norm is not None:
        constants["cell_gain"] = _gain(rng, h, gate_bits, cell_norm_shift)
        constants["cell_bias"] = _gain(rng, h, gate_bits, cell_norm_shift)
    if project:
        constants["w_hr"] = _weights(rng, (project, h))
        constants["bias_hr"] = _tensor(rng.integers(-3000, 3001, project), 32)
        constants["mult_hr"] = _tensor(rng.integers(2**25, 2**26, project), 32)
    mogrifier: dict[str, list[int]] = {"shift": [], "zp": [], "mult": [], "out_shift": [], "out_zp": []}
    for r in range(rounds):
        zp = 5 - 3 * r if gate_bits == 8 else 0
        source = QParams(8 / 127, zp, 8) if gate_bits == 8 else QParams(8 / 32767, 0, 16)
        table = table_of("sigmoid", pieces, source, gate_bits)
        tables.append(_tensor(table.table[None], 16))
        table_shift.append(table.shift)
        act_zp.append(-128 if gate_bits == 8 else 0)
        mult, shift = multiplier(2.0 * g.sigmoid * 0.9)
        for key, value in zip(mogrifier, (
            _shift_for(state if r % 2 == 0 else x, gate_bits, 25.5), zp, int(mult), shift, 7 - 4 * r,
        ), strict=True):  # fmt: skip
            mogrifier[key].append(value)
    for letter, count, n, k in (("q", (rounds + 1) // 2, x, state), ("r", rounds // 2, state, x)):
        if count:
            constants[f"w_{letter}"] = _weights(rng, (count, n, k))
            constants[f"bias_{letter}"] = _tensor(rng.integers(-3000, 3001, (count, n)), 32)
            constants[f"mult_{letter}"] = _tensor(rng.integers(2**25, 2**26, (count, n)), 32)
    (f_mult, i_mult), cell_shift = multiplier(np.array([g.sigmoid, g.sigmoid * g.tanh / cell.scale]))
    h_mult, h_shift = multiplier(g.sigmoid * g.tanh * 2**7)
    inputs = {"x": Input((steps, batch, x)), "h0": Input((batch, state)), "c0": Input((batch, h), cell_bits)}
    constants["tables"] = _tensor(np.concatenate([t.numpy() for t in tables]), 16)
    low, high = cell.qmin, cell.qmax
    if clip is not None:
        low, high = (int(cell.quantize(sign * clip)) for sign in (-1, 1))
    if constant_state:
        _fix_states(inputs, constants, rng)  # type: ignore[arg-type]
    optional = (
        "bias_hh", "gain_ih", "gain_hh", "gate_bias", "mult_peephole", "cell_gain", "cell_bias", "w_hr", "bias_hr",
        "mult_hr", "w_q", "bias_q", "mult_q", "w_r", "bias_r", "mult_r",
    )  # fmt: skip
    numbers: dict[str, Any] = {name: None for name in optional if name not in constants}
    numbers |= {
        **{"gate_shift": gate_shift, "gate_zp": g.gate_zp, "gate_bits": gate_bits},
        **{"table_shift": table_shift, "act_zp": act_zp},
        **{"norm": NORMS[norm], "norm_shift": norm_shift, "norm_eps": norm_eps},
        **{"one": round(1 / g.sigmoid) if coupled else 0},
        **{"f_mult": int(f_mult), "i_mult": int(i_mult), "cell_shift": cell_shift},
        **{"cell_zp": cell_zp, "cell_bits": cell_bits, "cell_low": low, "cell_high": high},
        **{"cell_norm": NORMS[cell_norm], "cell_norm_eps": int(rng.integers(1, 3000))},
        **{"cell_norm_shift": cell_norm_shift, "cell_norm_zp": before_tanh.zero_point},
        **{"h_mult": int(h_mult), "h_shift": h_shift, "h_zp": 3},
        **{"projection_shift": _shift_for(h, 8, 25.5) + 1, "projection_zp": -6, "x_zp": 2},
        **{f"mogrifier_{key}": values for key, values in mogrifier.items()},
        **{"reverse": reverse},
    }
    return Arguments(inputs, constants, numbers)  # type: ignore[arg-type]


def _gru_norm(
    rng: np.random.Generator,
    *,
    x: int,
    h: int,
    batch: int = 1,
    steps: int = 5,
    reverse: bool = False,
    gate_bits: int = 16,
    state_bits: int = 16,
    state_zp: int = 0,
    pieces: int = 32,
    gain: float = 1.0,
    constant_state: bool = False,
    norm: str = "layer",
    weight: int | None = None,
    lowest: int = -127,
    halves: bool = False,
) -> Arguments:
    g = _gates(rng, ("sigmoid", "sigmoid", "tanh"), x, h, gate_bits, pieces, gain, None)
    state = 2.0**-7 if state_bits == 8 else 2.0**-15
    (n_mult, h_mult), state_shift = multiplier(np.array([g.sigmoid * g.tanh / state, g.sigmoid]))
    out_mult, out_shift = multiplier(state * 2**7)
    constants = dict(g.constants)
    _extreme(constants, lowest, halves)
    constants["bias_ih"] = constants.pop("bias")
    constants["bias_hh"] = _tensor(rng.integers(-3000, 3001, 3 * h), 32)
    if weight is not None:
        constants |= {k: constants[k] * 0 + weight for k in ("w_ih", "w_hh", "bias_ih", "bias_hh")}
    gate_shift, reset_shift = [30, 29, 28], 30
    for name, last in (("gain_ih", 28), ("gain_hh", reset_shift), ("gate_bias", 28)):
        bits = (gate_bits, gate_bits, 16 if name == "gain_hh" else gate_bits)
        parts = [_gain(rng, h, b, s).numpy() for b, s in zip(bits, (*gate_shift[:2], last), strict=True)]
        constants[name] = _tensor(np.concatenate(parts), 32)
    constants["reset_bias"] = _gain(rng, h, 16, reset_shift)
    constants["tables"] = g.tables
    inputs = {"x": Input((steps, batch, x)), "h0": Input((batch, h), state_bits)}
    if constant_state:
        _fix_states(inputs, constants, rng)
    numbers = {
        **{"norm": NORMS[norm], "norm_shift": [_shift_for(d, 16, 25.5, gain) for d in (x, x, h, h)]},
        **{"norm_eps": [int(e) for e in rng.integers(1, 3000, 4)]},
        **{"gate_shift": gate_shift, "gate_zp": g.gate_zp, "gate_bits": gate_bits},
        **{"table_shift": g.table_shift, "act_zp": g.act_zp, "reset_shift": reset_shift},
        # r * hn reaches the pre-activation with half of hn's own size when r is 1.
        **{"rn_mult": round(0.5 * g.sigmoid * 2.0 ** (gate_shift[2] - (16 - gate_bits)))},
        **{"z_one": round(1 / g.sigmoid), "n_mult": int(n_mult), "h_mult": int(h_mult)},
        **{"state_shift": state_shift, "state_zp": state_zp, "state_bits": state_bits},
        **{"out_mult": int(out_mult), "out_shift": out_shift, "out_zp": -9, "reverse": reverse},
    }
    return Arguments(inputs, constants, numbers)


def _rnn(
    rng: np.random.Generator,
    *,
    x: int,
    h: int,
    function: str,
    batch: int = 1,
    steps: int = 6,
    reverse: bool = False,
    gate_bits: int = 16,
    gain: float = 1.0,
    constant_state: bool = False,
) -> Arguments:
    g = _gates(rng, ("tanh",), x, h, gate_bits, 32, gain, None)
    constants = dict(g.constants)
    del constants["w_hh"]
    constants["w_hh"] = _weights(rng, (h, h))
    inputs = {"x": Input((steps, batch, x)), "h0": Input((batch, h))}
    numbers: dict[str, Any] = {"zp": g.gate_zp[0], "table_shift": 0, "shift": g.gate_shift[0]}
    if function == "relu":
        numbers |= {"table": None, "zp": -11, "shift": _shift_for(2 * max(x, h), 8, 25.5, gain)}
    else:
        source = QParams(8 / 127, g.gate_zp[0], 8) if gate_bits == 8 else QParams(8 / 32767, 0, 16)
        table = table_of("tanh", 32, source, 8)
        constants["table"] = _tensor(table.table, 16)
        numbers["table_shift"] = table.shift
    if constant_state:
        _fix_states(inputs, constants, rng)
    return Arguments(inputs, constants, numbers | {"gate_bits": gate_bits, "reverse": reverse})


MAKERS: dict[str, Callable[..., Arguments]] = {
    "lstm_general": _lstm_general,
    "gru_norm": _gru_norm,
    "rnn": _rnn,
}
