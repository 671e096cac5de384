"""The table of operator cases that every target must reproduce. A row is a name and what is special about it.

`parameters.py` turns a row into constants and run-time inputs; here stand only shapes, widths and edge cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attention_cases import ATTENDING
from row_cases import ROWS
from variant_cases import VARIANTS


@dataclass(frozen=True)
class Case:
    """One call of torch.ops.irnn.<op>. settings: keyword arguments of the op's function in parameters.py."""

    name: str
    op: str
    settings: Mapping[str, Any]


def _rows(op: str, rows: Mapping[str, Mapping[str, Any]]) -> list[Case]:
    return [Case(f"{op}-{name}", op, settings) for name, settings in rows.items()]


REQUANTIZE = _rows(
    "requantize",
    {
        "8to8": dict(bits=8, to=8, in_zp=-3, mult=1518500250, shift=31, out_zp=7),
        "8to8-one-element": dict(bits=8, to=8, in_zp=0, mult=1 << 30, shift=30, out_zp=0, shape=(1,)),
        "8to8-lowest-zero-points": dict(bits=8, to=8, in_zp=-128, mult=3 << 28, shift=29, out_zp=-128),
        "8to8-highest-zero-points": dict(bits=8, to=8, in_zp=127, mult=3 << 28, shift=29, out_zp=127),
        "8to8-saturating": dict(bits=8, to=8, in_zp=-128, mult=1 << 30, shift=30, out_zp=127),
        "8to8-ties": dict(bits=8, to=8, in_zp=0, mult=1, shift=1, out_zp=0, shape=(2, 3, 43)),
        "8to8-largest-multiplier": dict(bits=8, to=8, in_zp=5, mult=2**31 - 1, shift=32, out_zp=-9),
        "8to8-largest-shift": dict(bits=8, to=8, in_zp=0, mult=2**31 - 1, shift=62, out_zp=11),
        "8to16": dict(bits=8, to=16, in_zp=9, mult=1234567890, shift=24, out_zp=0),
        "8to16-saturating": dict(bits=8, to=16, in_zp=9, mult=2**31 - 1, shift=3, out_zp=0),
        "8to32": dict(bits=8, to=32, in_zp=-128, mult=987654321, shift=7, out_zp=1000),
        "8to32-saturating": dict(bits=8, to=32, in_zp=1, mult=2**31 - 1, shift=1, out_zp=-(2**31)),
        "16to8": dict(bits=16, to=8, in_zp=0, mult=1811939328, shift=39, out_zp=-5),
        "16to8-ties": dict(bits=16, to=8, in_zp=0, mult=1 << 20, shift=28, out_zp=0, shape=(257,)),
        "16to16": dict(bits=16, to=16, in_zp=0, mult=1400000001, shift=31, out_zp=0, shape=(3, 17, 5)),
        "16to32": dict(bits=16, to=32, in_zp=0, mult=2**31 - 1, shift=15, out_zp=-77),
        "32to8": dict(bits=32, to=8, in_zp=0, mult=1 << 30, shift=54, out_zp=3),
        "32to16": dict(bits=32, to=16, in_zp=0, mult=999999937, shift=45, out_zp=0),
        "32to32": dict(bits=32, to=32, in_zp=-12345, mult=1 << 30, shift=30, out_zp=6789),
        "32to32-shift-1": dict(bits=32, to=32, in_zp=0, mult=1, shift=1, out_zp=0),
    },
)

PWL = _rows(
    "pwl",
    {
        f"{bits}to{to}-{fn}-{pieces}": dict(bits=bits, to=to, fn=fn, pieces=pieces)
        for bits, to, fn, pieces in (
            *((8, 8, fn, pieces) for fn in ("sigmoid", "tanh", "silu") for pieces in (8, 16, 32, 64)),
            *((8, 16, "sigmoid", pieces) for pieces in (8, 16, 32, 64)),
            *((16, 8, "tanh", pieces) for pieces in (8, 16, 32, 64)),
            *((16, 16, "sigmoid", pieces) for pieces in (8, 16, 32, 64)),
            (8, 8, "exp", 1),
            (8, 8, "sigmoid", 3),
            (16, 16, "gelu", 256),
            (8, 16, "steps", 256),
        )
    },
) + _rows(
    "pwl",
    {
        "steepest-slopes": dict(bits=8, to=16, table=((-128, 0), (32767, -32768), (-32768, 32767), 0)),
        "largest-shift": dict(
            bits=8, to=8, table=((-128, -1, 0, 5), (5000, -9, 16384, 1), (9, -9, 0, 3), 14)
        ),
        "starts-inside-the-grid": dict(bits=8, to=8, table=((-3, 40), (77, -100), (1, 5), 5)),
        "one-line": dict(bits=16, to=16, table=((-32768,), (-16384,), (16384,), 14)),
        "equal-knots": dict(bits=8, to=8, table=((-128, 7, 7, 127), (1, 99, -7, 0), (-128, 3, 100, -5), 0)),
    },
)

SIZES = (1, 3, 5, 17, 33, 64)
LINEAR = _rows(
    "linear",
    {
        **{f"n{n}-k{k}-to{to}": dict(n=n, k=k, to=to)
           for n, k, to in zip((*SIZES, *SIZES, *SIZES), (*SIZES[2:], *SIZES[:2], *SIZES[::-1], *SIZES),
                               (8, 16, 32) * 6, strict=True)},
        "rank2": dict(n=7, k=19, lead=(5,)),
        "rank1": dict(n=6, k=20, lead=()),
        "rank4": dict(n=9, k=8, lead=(2, 3, 2), to=16),
        "largest-accumulator": dict(n=5, k=1040, lead=(2,), weight=127, to=32, out_zp=-1),
        "smallest-weights": dict(n=5, k=1040, lead=(2,), weight=-127, to=8),
        "out-zp": dict(n=13, k=31, to=8, out_zp=-128),
        "saturating": dict(n=13, k=31, to=8, gain=64),
    },
)  # fmt: skip

EMBEDDING = _rows(
    "embedding",
    {
        "v1-e1": dict(rows=1, width=1),
        "v29-e5": dict(rows=29, width=5, shape=(4,)),
        "v300-e33": dict(rows=300, width=33, shape=(7, 1)),
        "v17-e64-rank3": dict(rows=17, width=64, shape=(2, 3, 2)),
    },
)

CONV1D = _rows(
    "conv1d",
    {
        "kernel1": dict(c=5, o=7, k=1),
        "kernel3": dict(c=5, o=7, k=3),
        "one-channel": dict(c=1, o=1, k=2),
        "padding": dict(c=4, o=6, k=3, padding=1, in_zp=-7),
        "padding-wider-than-kernel": dict(c=3, o=2, k=3, padding=4, in_zp=100),
        "stride": dict(c=6, o=5, k=4, stride=3),
        "stride-padding": dict(c=6, o=5, k=5, stride=2, padding=2, in_zp=3),
        "dilation": dict(c=3, o=4, k=3, dilation=4),
        "all": dict(c=6, o=9, k=3, stride=2, padding=3, dilation=2, groups=3, in_zp=-128),
        "groups": dict(c=8, o=6, k=3, groups=2),
        "depthwise": dict(c=9, o=9, k=5, padding=2, groups=9, in_zp=127),
        "depthwise-multiplier": dict(c=4, o=12, k=3, groups=4),
        "batch": dict(c=3, o=5, k=3, batch=3, padding=1, in_zp=1),
        "many-windows": dict(c=16, o=33, k=3, length=67, padding=1, in_zp=-9),
        "many-windows-stride": dict(c=1, o=20, k=25, length=211, stride=5, batch=2),
        "many-windows-dilation": dict(c=5, o=64, k=3, length=50, stride=2, padding=4, dilation=3, in_zp=11),
        "to16": dict(c=16, o=17, k=3, to=16),
        "to32": dict(c=16, o=3, k=3, to=32, out_zp=5),
    },
)

CLAMP = _rows(
    "clamp",
    {
        "relu": dict(bits=8, lo=-11, hi=127),
        "relu6": dict(bits=8, lo=-128, hi=32),
        "hardtanh-16": dict(bits=16, lo=-12345, hi=23456),
        "one-value": dict(bits=8, lo=5, hi=5),
        "int32": dict(bits=32, lo=-(2**30), hi=2**31 - 1),
    },
)

ADD = _rows(
    "add",
    {
        "8-8": dict(a=8, b=8, to=8, a_zp=3, b_zp=-4, out_zp=5),
        "8-8-extreme-zero-points": dict(a=8, b=8, to=8, a_zp=-128, b_zp=127, out_zp=-128),
        "8-16": dict(a=8, b=16, to=8, a_zp=17, out_zp=-1),
        "16-8": dict(a=16, b=8, to=16, b_zp=-99),
        "16-16": dict(a=16, b=16, to=16),
        "16-16-to8": dict(a=16, b=16, to=8, out_zp=64),
        "8-8-to32": dict(a=8, b=8, to=32, a_zp=1, b_zp=2, out_zp=3),
        "saturating": dict(a=8, b=8, to=8, a_zp=3, b_zp=-4, gain=16),
        "row": dict(a=8, b=8, to=8, shapes=((4, 5), (5,)), a_zp=9),
        "column": dict(a=8, b=8, to=8, shapes=((4, 5), (4, 1)), b_zp=9),
        "left-rank-grows": dict(a=8, b=16, to=16, shapes=((5,), (3, 1, 5)), a_zp=7),
        "both-grow": dict(a=8, b=8, to=8, shapes=((3, 1, 5), (1, 4, 1)), a_zp=7, b_zp=1),
        "scalar": dict(a=16, b=16, to=16, shapes=((3, 7), (1,))),
    },
)

MUL = _rows(
    "mul",
    {
        "8-8": dict(a=8, b=8, to=8, a_zp=3, b_zp=-4, out_zp=5),
        "8-8-extreme-zero-points": dict(a=8, b=8, to=8, a_zp=-128, b_zp=127, out_zp=127),
        "8-16": dict(a=8, b=16, to=16, a_zp=-128),
        "16-8": dict(a=16, b=8, to=8, b_zp=12, out_zp=-3),
        "16-16": dict(a=16, b=16, to=16),
        "16-16-to32": dict(a=16, b=16, to=32, out_zp=-5),
        "saturating": dict(a=8, b=8, to=8, a_zp=3, b_zp=-4, gain=16),
        "row": dict(a=8, b=8, to=8, shapes=((4, 5), (5,)), a_zp=9),
        "both-grow": dict(a=8, b=16, to=16, shapes=((3, 1, 5), (1, 4, 1)), a_zp=7),
    },
)

CONCAT = _rows(
    "concat",
    {
        "last": dict(bits=8, shapes=((3, 2, 5), (3, 2, 1), (3, 2, 8)), dim=-1),
        "first": dict(bits=8, shapes=((1, 4), (3, 4)), dim=0),
        "middle": dict(bits=16, shapes=((2, 3, 5), (2, 1, 5)), dim=1),
        "alone": dict(bits=8, shapes=((2, 3),), dim=1),
        "int32": dict(bits=32, shapes=((2, 3), (2, 4)), dim=1),
        "five": dict(bits=8, shapes=((2, 1), (2, 2), (2, 3), (2, 4), (2, 5)), dim=1),
    },
)

RECURRENT = {
    "h1": dict(x=1, h=1),
    "h5": dict(x=3, h=5),
    "h16": dict(x=16, h=16),
    "h33": dict(x=17, h=33),
    "x33-h5": dict(x=33, h=5),
    "batch3": dict(x=5, h=9, batch=3),
    "one-step": dict(x=5, h=9, steps=1),
    "one-step-reverse": dict(x=5, h=9, steps=1, reverse=True),
    "two-steps": dict(x=5, h=9, steps=2),
    "reverse": dict(x=7, h=12, reverse=True),
    "reverse-batch3": dict(x=5, h=16, batch=3, reverse=True),
    "gates8": dict(x=7, h=12, gate_bits=8),
    "gates8-h33": dict(x=17, h=33, gate_bits=8),
    "gates8-reverse-batch3": dict(x=5, h=9, gate_bits=8, batch=3, reverse=True),
    "pieces8": dict(x=5, h=9, pieces=8),
    "saturating-gates": dict(x=9, h=11, gain=32),
    "constant-state": dict(x=5, h=9, constant_state=True),
}

LSTM = _rows(
    "lstm",
    {
        **RECURRENT,
        "cell8": dict(x=7, h=12, cell_bits=8, cell_zp=5),
        "all8": dict(x=7, h=12, gate_bits=8, cell_bits=8, cell_zp=-17),
        "all8-h33-batch3": dict(x=5, h=33, gate_bits=8, cell_bits=8, cell_zp=3, batch=3),
        "all8-one-step": dict(x=5, h=5, gate_bits=8, cell_bits=8, cell_zp=127, steps=1),
        "all8-reverse": dict(x=5, h=16, gate_bits=8, cell_bits=8, cell_zp=-128, reverse=True),
    },
)

GRU = _rows(
    "gru",
    {
        f"{name}-reset-{'after' if after else 'before'}": settings | {"reset_after": after}
        for after in (True, False)
        for name, settings in {
            **RECURRENT,
            "state8": dict(x=7, h=12, state_bits=8, state_zp=5),
            "all8": dict(x=7, h=12, gate_bits=8, state_bits=8, state_zp=-17),
            "all8-h33-batch3": dict(x=5, h=33, gate_bits=8, state_bits=8, state_zp=3, batch=3),
            "all8-one-step": dict(x=5, h=5, gate_bits=8, state_bits=8, state_zp=127, steps=1),
            "all8-reverse": dict(x=5, h=16, gate_bits=8, state_bits=8, state_zp=-128, reverse=True),
        }.items()
    },
)

# Cases are built together, as few models with many outputs. The first recurrent case has several steps, which
# makes its bundle a model over sequences.
BUNDLES: dict[str, tuple[Case, ...]] = {
    "recurrent": (*LSTM, *GRU),
    "variants": tuple(case for op, rows in VARIANTS.items() for case in _rows(op, rows)),
    "stateless": (*REQUANTIZE, *PWL, *LINEAR, *EMBEDDING, *CONV1D, *CLAMP, *ADD, *MUL, *CONCAT),
}
BUNDLES["attention"] = tuple(case for op, rows in ATTENDING.items() for case in _rows(op, rows))
BUNDLES["rows"] = tuple(case for op, rows in ROWS.items() for case in _rows(op, rows))
CASES = tuple(case for cases in BUNDLES.values() for case in cases)

# Recurrent layers on targets that have their kernels in tiles, whose sizes test_tiles.py goes through on every
# instruction set, or from the same schedules as another target of these: each way through a layer, once.
FEW = {
    "lstm": """h1 h5 one-step one-step-reverse two-steps gates8-reverse-batch3 constant-state cell8 all8-h33-batch3
        all8-one-step""",
    "gru": """h1 h33 one-step one-step-reverse two-steps gates8-reverse-batch3 constant-state state8 all8-h33-batch3
        all8-one-step""",
    "lstm_general": """projection-wider-than-hidden projection-reverse-batch3 peephole-cell8 coupled-all8
        coupled-peephole-projection clip-cell8 layer-norm-h1 layer-norm-one-step layer-norm-h33-batch3 layer-norm-all8
        mad-norm-gates8 mad-norm-projection-peephole cell-norm-alone mogrify2-batch3 mogrify-projection
        mogrify-h1-one-step everything-all8-batch3 everything-constant-state""",
    "gru_norm": "h33-batch3 one-step all8-batch3 constant-rows constant-state mad-h1 mad-all8-reverse",
    "rnn": "h1-tanh h33-tanh one-step-relu reverse-relu gates8-tanh constant-state-relu",
}
# What `make test` builds for a target: layers in their most entangled forms, and every eighth of the other cases.
ESSENTIAL = {
    "lstm": "h5 all8-h33-batch3",
    "gru": "one-step all8-h33-batch3",
    "lstm_general": "layer-norm-h33-batch3 everything-all8-batch3",
    "gru_norm": "mad-all8-reverse",
    "rnn": "reverse-relu",
}
ALL_SIZES = ("host", "cortex-m4", "cortex-m55", "c")


def _chosen(cases: tuple[Case, ...], names: Mapping[str, str]) -> tuple[Case, ...]:
    def label(case: Case) -> str:
        return (
            case.name.removeprefix(f"{case.op}-").removesuffix("-reset-after").removesuffix("-reset-before")
        )

    return tuple(case for case in cases if case.op in names and label(case) in names[case.op].split())


def _some_operators() -> tuple[Case, ...]:
    operators = dict.fromkeys(case.op for case in CASES if case.op not in ESSENTIAL)
    return tuple(case for op in operators for case in [c for c in CASES if c.op == op][::8])


FEW_BUNDLES = {f"{name}-few": _chosen(BUNDLES[name], FEW) for name in ("recurrent", "variants")}
SAMPLE = {"sample-layers": _chosen(CASES, ESSENTIAL), "sample-operators": _some_operators()}


def bundles_for(target: str) -> dict[str, tuple[Case, ...]]:
    """What is built for a target in all, bundles by name."""
    if target in ALL_SIZES:
        return BUNDLES
    return FEW_BUNDLES | {name: cases for name, cases in BUNDLES.items() if f"{name}-few" not in FEW_BUNDLES}
