"""From a row of the table to the arguments of one call: seeded constants, and specs of run-time inputs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from cases import Case
from torch import Tensor

from irnn_tvm.ops.pwl_fit import PwlTable, fit
from irnn_tvm.ops.qparams import QParams, multiplier

DTYPES = {8: torch.int8, 16: torch.int16, 32: torch.int32}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Input:
    """A run-time tensor. limit: it holds indices below it."""

    shape: Shape
    bits: int = 8
    limit: int | None = None


@dataclass(frozen=True)
class Arguments:
    """Keyword arguments of an operator: run-time inputs, constant tensors, and numbers."""

    inputs: Mapping[str, Input]
    constants: Mapping[str, Tensor]
    numbers: Mapping[str, Any]


def arguments(case: Case) -> Arguments:
    """The same arguments in every process: the generator is seeded by the case's name."""
    from attention_parameters import MAKERS as ATTENTION_MAKERS  # they build on this module
    from row_parameters import MAKERS as ROW_MAKERS
    from variant_parameters import MAKERS

    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    return (_MAKERS | MAKERS | ROW_MAKERS | ATTENTION_MAKERS)[case.op](rng, **case.settings)


def _tensor(values: Any, bits: int) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=DTYPES[bits])


def _weights(rng: np.random.Generator, shape: Shape) -> Tensor:
    return _tensor(rng.integers(-127, 128, shape), 8)


def _shift_for(depth: int, bits: int, mult_bits: float, gain: float = 1.0) -> int:
    """Shift that leaves a product of `depth` random terms, times 2**mult_bits, in a quarter of the output range."""
    spread = math.log2(74 * 74 * math.sqrt(depth))
    return max(1, round(spread + mult_bits - (bits - 3) - math.log2(gain)))


def _requantize(
    rng: np.random.Generator, *, bits: int, to: int, shape: Shape = (3, 67), **numbers: int
) -> Arguments:
    return Arguments({"x": Input(shape, bits)}, {}, {**numbers, "out_bits": to})


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "exp": np.exp,
    "steps": lambda x: np.floor(x),
}
# Output scale of 8 bits (zero point -5 unless it is a gate's) and of 16 bits.
_OUTPUTS = {
    "sigmoid": {8: QParams(2**-8, -128, 8), 16: QParams(2**-15, 0, 16)},
    "tanh": {8: QParams(2**-7, 0, 8), 16: QParams(2**-15, 0, 16)},
}


@cache
def table_of(fn: str, pieces: int, source: QParams, to: int) -> PwlTable:
    """A fitted table; the 16-bit ones take half a second, so each is made once."""
    out = _OUTPUTS.get(fn, {8: QParams(8 / 127, -5, 8), 16: QParams(8 / 32767, 0, 16)})[to]
    return fit(FUNCTIONS[fn], pieces, source, out)


def _pwl(
    rng: np.random.Generator,
    *,
    bits: int,
    to: int,
    fn: str = "",
    pieces: int = 0,
    table: Sequence[Any] | None = None,
) -> Arguments:
    if table is None:
        fitted = table_of(fn, pieces, QParams(8 / 127, 5, 8) if bits == 8 else QParams(8 / 32767, 0, 16), to)
        rows, shift = fitted.table, fitted.shift
    else:
        rows, shift = np.array(table[:3], np.int16), table[3]
    return Arguments(
        {"x": Input((2, 259), bits)}, {"table": _tensor(rows, 16)}, {"shift": shift, "out_bits": to}
    )


def _linear(
    rng: np.random.Generator,
    *,
    n: int,
    k: int,
    to: int = 8,
    lead: Shape = (3, 2),
    out_zp: int | None = None,
    weight: int | None = None,
    gain: float = 1.0,
) -> Arguments:
    w = _weights(rng, (n, k)) if weight is None else torch.full((n, k), weight, dtype=torch.int8)
    constants = {
        "w": w,
        "bias": _tensor(rng.integers(-5000, 5001, n), 32),
        "mult": _tensor(rng.integers(2**29, 2**30, n), 32),
    }
    zero = {8: 4, 16: 0, 32: 0}[to] if out_zp is None else out_zp
    numbers = {"shift": _shift_for(k, to, 29.5, gain), "out_zp": zero, "out_bits": to}
    return Arguments({"x": Input((*lead, k))}, constants, numbers)


def _embedding(rng: np.random.Generator, *, rows: int, width: int, shape: Shape = (3,)) -> Arguments:
    return Arguments({"ids": Input(shape, 32, rows)}, {"w": _weights(rng, (rows, width))}, {})


def _conv1d(
    rng: np.random.Generator,
    *,
    c: int,
    o: int,
    k: int,
    to: int = 8,
    batch: int = 1,
    length: int = 17,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    in_zp: int = 0,
    out_zp: int = 0,
) -> Arguments:
    constants = {
        "w": _weights(rng, (o, c // groups, k)),
        "bias": _tensor(rng.integers(-5000, 5001, o), 32),
        "mult": _tensor(rng.integers(2**29, 2**30, o), 32),
    }
    numbers = {
        "shift": _shift_for(c // groups * k, to, 29.5),
        **{"in_zp": in_zp, "out_zp": out_zp, "out_bits": to},
        **{"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    }
    return Arguments({"x": Input((batch, c, length))}, constants, numbers)


def _clamp(rng: np.random.Generator, *, bits: int, lo: int, hi: int) -> Arguments:
    return Arguments({"x": Input((3, 67), bits)}, {}, {"lo": lo, "hi": hi})


def _add(
    rng: np.random.Generator,
    *,
    a: int,
    b: int,
    to: int,
    a_zp: int = 0,
    b_zp: int = 0,
    out_zp: int = 0,
    shapes: tuple[Shape, Shape] = ((3, 37), (3, 37)),
    gain: float = 1.0,
) -> Arguments:
    (a_mult, b_mult), shift = multiplier(gain * np.array([0.6 * 2.0 ** (to - a), 0.35 * 2.0 ** (to - b)]))
    numbers = {"a_zp": a_zp, "b_zp": b_zp, "a_mult": int(a_mult), "b_mult": int(b_mult), "shift": shift}
    return Arguments(
        {"a": Input(shapes[0], a), "b": Input(shapes[1], b)}, {}, numbers | {"out_zp": out_zp, "out_bits": to}
    )


def _mul(
    rng: np.random.Generator,
    *,
    a: int,
    b: int,
    to: int,
    a_zp: int = 0,
    b_zp: int = 0,
    out_zp: int = 0,
    shapes: tuple[Shape, Shape] = ((3, 37), (3, 37)),
    gain: float = 1.0,
) -> Arguments:
    mult, shift = multiplier(gain * 1.3 * 2.0 ** (to + 1 - a - b))
    numbers = {
        "a_zp": a_zp,
        "b_zp": b_zp,
        "mult": int(mult),
        "shift": shift,
        "out_zp": out_zp,
        "out_bits": to,
    }
    return Arguments(
        {"a": Input(shapes[0], a), "b": Input(shapes[1], b)}, {}, numbers | {"out_zp": out_zp, "out_bits": to}
    )


def _concat(rng: np.random.Generator, *, bits: int, shapes: tuple[Shape, ...], dim: int) -> Arguments:
    return Arguments({f"t{i}": Input(s, bits) for i, s in enumerate(shapes)}, {}, {"dim": dim})


@dataclass(frozen=True)
class _Gates:
    """What LSTM and GRU share: gate tables, products and their rescale."""

    bits: int
    tables: Tensor
    table_shift: list[int]
    act_zp: list[int]
    gate_zp: list[int]
    gate_shift: list[int]
    constants: dict[str, Tensor]

    @property
    def sigmoid(self) -> float:
        return 2.0**-8 if self.bits == 8 else 2.0**-15

    @property
    def tanh(self) -> float:
        return 2.0**-7 if self.bits == 8 else 2.0**-15


def _gates(
    rng: np.random.Generator,
    names: Sequence[str],
    x: int,
    h: int,
    bits: int,
    pieces: int,
    gain: float,
    cell: QParams | None,
    lowest: int = -127,
) -> _Gates:
    gates = len(names)
    zps = [3, -7, 0, 11][:gates] if bits == 8 else [0] * gates
    sources = [QParams(8 / 127, zp, 8) if bits == 8 else QParams(8 / 32767, 0, 16) for zp in zps]
    tables = [table_of(fn, pieces, source, bits) for fn, source in zip(names, sources, strict=True)]
    if cell is not None:
        tables.append(table_of("tanh", pieces, cell, bits))
        names = [*names, "tanh"]
    shift = _shift_for(2 * max(x, h), bits, 25.5, gain)
    constants = {
        "w_ih": _weights(rng, (gates * h, x)),
        "w_hh": _weights(rng, (gates * h, h)),
        "bias": _tensor(rng.integers(-3000, 3001, gates * h), 32),
        "mult_ih": _tensor(rng.integers(2**25, 2**26, gates * h), 32),
        "mult_hh": _tensor(rng.integers(2**25, 2**26, gates * h), 32),
    }
    if lowest < -127:  # runs of them, so that neighbours meet in one sum
        for name in ("w_ih", "w_hh"):
            constants[name].view(-1)[: constants[name].numel() // 2] = lowest
    width = max(t.table.shape[1] for t in tables)
    assert all(t.table.shape[1] == width for t in tables)
    return _Gates(
        bits,
        _tensor(np.stack([t.table for t in tables]), 16),
        [t.shift for t in tables],
        [_OUTPUTS[fn][bits].zero_point for fn in names],
        zps,
        [shift + i % 2 for i in range(gates)],
        constants,
    )


def _fix_states(inputs: dict[str, Input], constants: dict[str, Tensor], rng: np.random.Generator) -> None:
    """Moves the initial states from the run-time inputs to the constants."""
    for name in [n for n in inputs if n != "x"]:
        spec = inputs.pop(name)
        half = 1 << (spec.bits - 1)
        constants[name] = _tensor(rng.integers(-half, half, spec.shape), spec.bits)


def _lstm(
    rng: np.random.Generator,
    *,
    x: int,
    h: int,
    batch: int = 1,
    steps: int = 7,
    reverse: bool = False,
    gate_bits: int = 16,
    cell_bits: int = 16,
    cell_zp: int = 0,
    pieces: int = 32,
    gain: float = 1.0,
    constant_state: bool = False,
    lowest: int = -127,
) -> Arguments:
    cell = QParams(2.0**-5, cell_zp, 8) if cell_bits == 8 else QParams(8 / 32767, 0, 16)
    g = _gates(rng, ("sigmoid", "sigmoid", "tanh", "sigmoid"), x, h, gate_bits, pieces, gain, cell, lowest)
    (f_mult, i_mult), cell_shift = multiplier(np.array([g.sigmoid, g.sigmoid * g.tanh / cell.scale]))
    h_mult, h_shift = multiplier(g.sigmoid * g.tanh * 2**7)
    inputs = {"x": Input((steps, batch, x)), "h0": Input((batch, h)), "c0": Input((batch, h), cell_bits)}
    constants = {**g.constants, "tables": g.tables}
    if constant_state:
        _fix_states(inputs, constants, rng)
    numbers = {
        **{"gate_shift": g.gate_shift, "gate_zp": g.gate_zp, "gate_bits": gate_bits},
        **{"table_shift": g.table_shift, "act_zp": g.act_zp},
        **{"f_mult": int(f_mult), "i_mult": int(i_mult), "cell_shift": cell_shift},
        **{"cell_zp": cell_zp, "cell_bits": cell_bits},
        **{"h_mult": int(h_mult), "h_shift": h_shift, "h_zp": 3, "reverse": reverse},
    }
    return Arguments(inputs, constants, numbers)


def _gru(
    rng: np.random.Generator,
    *,
    x: int,
    h: int,
    reset_after: bool,
    batch: int = 1,
    steps: int = 7,
    reverse: bool = False,
    gate_bits: int = 16,
    state_bits: int = 16,
    state_zp: int = 0,
    pieces: int = 32,
    gain: float = 1.0,
    constant_state: bool = False,
    lowest: int = -127,
) -> Arguments:
    g = _gates(rng, ("sigmoid", "sigmoid", "tanh"), x, h, gate_bits, pieces, gain, None, lowest)
    state = 2.0**-7 if state_bits == 8 else 2.0**-15
    (n_mult, h_mult), state_shift = multiplier(np.array([g.sigmoid * g.tanh / state, g.sigmoid]))
    out_mult, out_shift = multiplier(state * 2**7)
    rh_mult, rh_shift = multiplier(g.sigmoid * state * 2**7)
    inputs = {"x": Input((steps, batch, x)), "h0": Input((batch, h), state_bits)}
    constants = {**g.constants, "tables": g.tables}
    constants["bias_hn"] = _tensor(rng.integers(-3000, 3001, h) * reset_after, 32)
    if constant_state:
        _fix_states(inputs, constants, rng)
    numbers = {
        **{"gate_shift": g.gate_shift, "gate_zp": g.gate_zp, "gate_bits": gate_bits},
        **{
            "table_shift": g.table_shift,
            "act_zp": g.act_zp,
            "hn_shift": _shift_for(h, gate_bits, 25.5, gain),
        },
        # r * hn reaches the pre-activation with half of hn's own size when r is 1.
        **{"rn_mult": round(0.5 * g.sigmoid * 2.0 ** g.gate_shift[2])},
        **{"rh_mult": int(rh_mult), "rh_shift": rh_shift, "rh_zp": -6, "z_one": round(1 / g.sigmoid)},
        **{"n_mult": int(n_mult), "h_mult": int(h_mult), "state_shift": state_shift},
        **{"state_zp": state_zp, "state_bits": state_bits},
        **{"out_mult": int(out_mult), "out_shift": out_shift, "out_zp": -9},
        **{"reset_after": reset_after, "reverse": reverse},
    }
    return Arguments(inputs, constants, numbers)


_MAKERS: dict[str, Callable[..., Arguments]] = {
    "requantize": _requantize,
    "pwl": _pwl,
    "linear": _linear,
    "embedding": _embedding,
    "conv1d": _conv1d,
    "clamp": _clamp,
    "add": _add,
    "mul": _mul,
    "concat": _concat,
    "lstm": _lstm,
    "gru": _gru,
}
