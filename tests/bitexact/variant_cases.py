"""Rows of recurrent variants for the table in cases.py: shapes, widths, parts and edge cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LSTM_GENERAL: dict[str, Mapping[str, Any]] = {
    "bare": dict(x=5, h=9),
    "projection": dict(x=5, h=9, project=4),
    "projection-wider-than-hidden": dict(x=5, h=3, project=17, batch=3),
    "projection-reverse-batch3": dict(x=7, h=12, project=5, batch=3, reverse=True),
    "projection-all8": dict(x=7, h=12, project=5, gate_bits=8, cell_bits=8, cell_zp=-17),
    "peephole": dict(x=5, h=9, peephole=True),
    "peephole-cell8": dict(x=5, h=9, peephole=True, cell_bits=8, cell_zp=11),
    "peephole-gates8-batch3": dict(x=5, h=9, peephole=True, gate_bits=8, batch=3),
    "coupled": dict(x=5, h=16, coupled=True),
    "coupled-all8": dict(x=17, h=33, coupled=True, gate_bits=8, cell_bits=8, cell_zp=3),
    "coupled-peephole-projection": dict(x=5, h=9, coupled=True, peephole=True, project=6, reverse=True),
    "clip": dict(x=5, h=9, clip=0.7),
    "clip-cell8": dict(x=5, h=9, clip=0.9, cell_bits=8, cell_zp=-5, batch=3),
    "layer-norm": dict(x=5, h=9, norm="layer"),
    "layer-norm-h1": dict(x=1, h=1, norm="layer", cell_norm="layer"),
    "layer-norm-coupled-h1": dict(x=1, h=1, norm="layer", coupled=True),
    "layer-norm-one-step": dict(x=5, h=9, norm="layer", cell_norm="layer", steps=1),
    "layer-norm-h33-batch3": dict(x=17, h=33, norm="layer", cell_norm="layer", batch=3),
    "layer-norm-all8": dict(x=7, h=12, norm="layer", cell_norm="layer", gate_bits=8, cell_bits=8, cell_zp=9),
    "layer-norm-reverse": dict(x=7, h=12, norm="layer", cell_norm="layer", reverse=True),
    "layer-norm-constant-rows": dict(x=5, h=9, norm="layer", cell_norm="layer", weight=0),
    "layer-norm-saturating": dict(x=9, h=11, norm="layer", cell_norm="layer", gain=64),
    "mad-norm": dict(x=5, h=9, norm="mad", cell_norm="mad"),
    "mad-norm-h1": dict(x=3, h=1, norm="mad", cell_norm="mad"),
    "mad-norm-gates8": dict(x=7, h=12, norm="mad", cell_norm="mad", gate_bits=8),
    "mad-norm-constant-rows": dict(x=5, h=9, norm="mad", cell_norm="mad", weight=0),
    "mad-norm-projection-peephole": dict(x=5, h=16, norm="mad", cell_norm="mad", project=7, peephole=True),
    "cell-norm-alone": dict(x=5, h=9, cell_norm="layer"),
    "mogrify1": dict(x=5, h=9, rounds=1),
    "mogrify2-batch3": dict(x=9, h=5, rounds=2, batch=3),
    "mogrify5": dict(x=7, h=12, rounds=5),
    "mogrify4-gates8": dict(x=7, h=12, rounds=4, gate_bits=8, pieces=16),
    "mogrify-projection": dict(x=7, h=12, rounds=3, project=5),
    "mogrify-h1-one-step": dict(x=1, h=1, rounds=3, steps=1),
    "everything": dict(x=7, h=12, rounds=5, project=5, peephole=True, coupled=True, clip=1.5, norm="layer",
                       cell_norm="mad"),
    "everything-all8-batch3": dict(x=5, h=9, rounds=2, project=11, peephole=True, clip=0.8, norm="mad",
                                   cell_norm="layer", gate_bits=8, cell_bits=8, cell_zp=4, batch=3),
    "everything-constant-state": dict(x=5, h=9, rounds=3, project=4, peephole=True, norm="layer",
                                      cell_norm="layer", constant_state=True),
}  # fmt: skip

GRU_NORM: dict[str, Mapping[str, Any]] = {
    "h5": dict(x=3, h=5),
    "h1": dict(x=1, h=1),
    "h33-batch3": dict(x=17, h=33, batch=3),
    "one-step": dict(x=5, h=9, steps=1),
    "reverse": dict(x=7, h=12, reverse=True),
    "gates8": dict(x=7, h=12, gate_bits=8),
    "all8-batch3": dict(x=5, h=9, gate_bits=8, state_bits=8, state_zp=-7, batch=3),
    "constant-rows": dict(x=5, h=9, weight=0),
    "constant-state": dict(x=5, h=9, constant_state=True),
    "saturating": dict(x=9, h=11, gain=64),
    "mad": dict(x=5, h=16, norm="mad"),
    "mad-h1": dict(x=3, h=1, norm="mad"),
    "mad-all8-reverse": dict(x=5, h=9, norm="mad", gate_bits=8, state_bits=8, state_zp=127, reverse=True),
    "mad-constant-rows": dict(x=5, h=9, norm="mad", weight=0),
}

RNN: dict[str, Mapping[str, Any]] = {
    f"{name}-{function}": {**settings, "function": function}
    for function in ("tanh", "relu")
    for name, settings in {
        "h1": dict(x=1, h=1, gain=0.25),
        "h4": dict(x=3, h=4),
        "h33": dict(x=17, h=33),
        "batch3": dict(x=5, h=9, batch=3),
        "one-step": dict(x=5, h=9, steps=1),
        "reverse": dict(x=7, h=12, reverse=True),
        "gates8": dict(x=7, h=12, gate_bits=8),
        "constant-state": dict(x=5, h=9, constant_state=True),
        "saturating": dict(x=9, h=11, gain=64),
    }.items()
}

VARIANTS: dict[str, dict[str, Mapping[str, Any]]] = {
    "lstm_general": LSTM_GENERAL,
    "gru_norm": GRU_NORM,
    "rnn": RNN,
}
