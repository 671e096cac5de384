"""Recurrent variants outside the contract are refused before anything is compiled: see test_contract.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from parameters import Arguments
from test_contract import OVERFLOW, REFUSED, constant, filled, number, program

from irnn_tvm.compiler.verify import verify

Change = Callable[[Arguments], Arguments]
EVERYTHING = "lstm_general-everything"
CHANGES: list[tuple[str, Change, type[Exception], str]] = [
    ("lstm_general-bare", filled("bias", 2**31 - 1, row=7), OVERFLOW, "input product: row 7"),
    ("lstm_general-bare", filled("mult_hh", 0), REFUSED, "multiplier"),
    ("lstm_general-bare", number(one=32768), REFUSED, "4 gates, or 3 when coupled"),
    ("lstm_general-bare", number(cell_low=5, cell_high=4), REFUSED, "cell limits 5..4"),
    ("lstm_general-bare", number(cell_high=32768), REFUSED, "cell limits"),
    ("lstm_general-bare", number(gate_zp=[0, 0, 0, 1]), REFUSED, "zero point 1 is not supported for int16"),
    ("lstm_general-bare", number(h_zp=128), REFUSED, "zero point 128"),
    ("lstm_general-peephole", filled("mult_peephole", -(2**31)), REFUSED, "a multiplier is outside"),
    ("lstm_general-peephole", number(cell_shift=63), REFUSED, "shift 63"),
    ("lstm_general-coupled", number(one=1 << 20), OVERFLOW, "cell update can leave int32"),
    ("lstm_general-projection", filled("bias_hr", -(2**31), row=2), OVERFLOW, "projection: row 2"),
    ("lstm_general-projection", number(projection_shift=0), REFUSED, "shift 0"),
    ("lstm_general-projection", number(projection_zp=-129), REFUSED, "zero point -129"),
    ("lstm_general-layer-norm", number(norm=3), REFUSED, "norm 3 is unknown"),
    ("lstm_general-layer-norm", number(norm_eps=[0, 5]), REFUSED, "epsilon 0 is outside"),
    ("lstm_general-layer-norm", number(norm_shift=[0, 30]), REFUSED, "shift 0"),
    ("lstm_general-layer-norm", filled("bias_hh", 2**31 - 1, row=1), OVERFLOW, "state product: row 1"),
    ("lstm_general-mad-norm", number(gate_shift=[0, 29, 28, 27]), REFUSED, "gate row 0: shift 0"),
    ("lstm_general-cell-norm-alone", number(cell_norm_shift=0), REFUSED, "shift 0"),
    ("lstm_general-cell-norm-alone", number(cell_norm_eps=2**62), REFUSED, "epsilon"),
    ("lstm_general-mogrify2-batch3", filled("bias_r", 2**31 - 1), OVERFLOW, "Mogrifier round 2: row"),
    ("lstm_general-mogrify2-batch3", number(mogrifier_mult=[1, 0]), REFUSED, "multiplier"),
    ("lstm_general-mogrify2-batch3", number(mogrifier_out_zp=[0, 128]), REFUSED, "zero point 128"),
    (
        "lstm_general-mogrify2-batch3",
        constant("tables", lambda t: t[:6]),
        REFUSED,
        "activation tables, expected 7",
    ),
    (EVERYTHING, number(x_zp=200), REFUSED, "zero point 200"),
    ("gru_norm-h5", filled("bias_ih", -(2**31), row=0), OVERFLOW, "input product: row 0"),
    ("gru_norm-h5", number(reset_shift=63), REFUSED, "shift 63"),
    ("gru_norm-h5", number(rn_mult=0), REFUSED, "multiplier"),
    ("gru_norm-h5", number(norm_eps=[1, 1, 1, 0]), REFUSED, "epsilon 0"),
    ("gru_norm-h5", number(z_one=1 << 20), OVERFLOW, "the state update can leave int32"),
    ("gru_norm-h5", number(state_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    ("gru_norm-h5", filled("gain_hh", -(2**31)), REFUSED, "a multiplier is outside"),
    ("rnn-h4-tanh", filled("bias", 2**31 - 1, row=3), OVERFLOW, "input product: row 3"),
    ("rnn-h4-tanh", number(shift=0), REFUSED, "shift 0"),
    ("rnn-h4-tanh", number(zp=3), REFUSED, "zero point 3 is not supported for int16"),
    ("rnn-h4-tanh", constant("table", lambda t: t.flip(1)), REFUSED, "do not ascend"),
    ("rnn-h4-relu", number(zp=-129), REFUSED, "zero point -129"),
    ("rnn-h4-relu", filled("mult_ih", -1), REFUSED, "multiplier"),
]


@pytest.mark.parametrize(
    ("case", "change", "error", "words"),
    [pytest.param(*row, id=f"{row[0]}-{n}") for n, row in enumerate(CHANGES)],
)
def test_refused(case: str, change: Change, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        verify(program(case, change))


@pytest.mark.parametrize("case", sorted({row[0] for row in CHANGES}))
def test_accepted_unchanged(case: str) -> None:
    verify(program(case, lambda args: args))
