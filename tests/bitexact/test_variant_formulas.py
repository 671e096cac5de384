"""The rows of recurrent variants against plain Python integers that share no code with the torch operators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle import Bundle
from cases import CASES, Case
from torch import Tensor
from variant_cases import VARIANTS

sys.path.append(str(Path(__file__).parents[1] / "ops"))
from scalar import gru_output
from scalar_variants import gru_norm_step, lstm_general_step, rnn_step

ROWS = [case for case in CASES if case.op in VARIANTS]


@pytest.mark.parametrize("variant", ["random", "alternating"])
@pytest.mark.parametrize("case", ROWS, ids=[case.name for case in ROWS])
def test_every_step(case: Case, variant: str) -> None:
    bundle = Bundle([case])
    args = bundle.arguments[case.name]
    inputs = dict(zip(args.inputs, bundle.inputs(variant), strict=True))
    tensors = {**args.constants, **inputs}
    outputs = bundle(*bundle.inputs(variant))
    plain: dict[str, Any] = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in tensors.items()}
    plain |= args.numbers
    steps, batch, _ = tensors["x"].shape
    order = reversed(range(steps)) if args.numbers["reverse"] else range(steps)
    expected = torch.empty_like(outputs[0])
    states = [plain["h0"], plain["c0"]] if case.op == "lstm_general" else [plain["h0"]]
    for t in order:
        for b in range(batch):
            x = plain["x"][t][b]
            if case.op == "lstm_general":
                h, c = lstm_general_step(x, states[0][b], states[1][b], plain)
                states[0][b], states[1][b] = h, c
                expected[t, b] = torch.tensor(h)
            elif case.op == "gru_norm":
                states[0][b] = gru_norm_step(x, states[0][b], plain)
                expected[t, b] = torch.tensor([gru_output(v, plain) for v in states[0][b]])
            else:
                states[0][b] = rnn_step(x, states[0][b], plain)
                expected[t, b] = torch.tensor(states[0][b])
    assert torch.equal(outputs[0], expected)
    for found, wanted in zip(outputs[1:], states, strict=True):
        assert found.tolist() == wanted
