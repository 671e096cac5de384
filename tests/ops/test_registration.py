"""The operators are well-behaved custom ops: schema, fake kernel, aliasing, export."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import irnn_tvm.ops  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1] / "bitexact"))

from cases import CASES, Case
from parameters import arguments


def _one_per_operator() -> list[Case]:
    first: dict[str, Case] = {}
    for case in CASES:
        first.setdefault(case.op, case)
    return list(first.values())


@pytest.mark.parametrize("case", _one_per_operator(), ids=lambda case: str(case.op))
def test_opcheck(case: Case) -> None:
    args = arguments(case)
    generator = torch.Generator().manual_seed(0)

    def tensor(spec: object) -> torch.Tensor:
        bits, limit, shape = spec.bits, spec.limit, spec.shape  # type: ignore[attr-defined]
        low, high = (0, limit) if limit else (-(1 << (bits - 1)), 1 << (bits - 1))
        dtype = {8: torch.int8, 16: torch.int16, 32: torch.int32}[bits]
        return torch.randint(low, high, shape, generator=generator, dtype=torch.int64).to(dtype)

    op = getattr(torch.ops.irnn, case.op).default
    values = (
        {name: tensor(spec) for name, spec in args.inputs.items()} | dict(args.constants) | dict(args.numbers)
    )
    if case.op == "concat":
        tensors = [values.pop(name) for name in args.inputs]
        torch.library.opcheck(op, (tensors,), values)
    else:
        torch.library.opcheck(op, (), values)


def test_every_operator_is_registered() -> None:
    names = {
        "requantize",
        "quantize",
        "dequantize",
        "pwl",
        "linear",
        "embedding",
        "conv1d",
        "clamp",
        "add",
        "mul",
    }
    for name in names | {"concat", "lstm", "gru"}:
        assert hasattr(torch.ops.irnn, name)
