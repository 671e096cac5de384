"""Arguments outside the contract (docs/numerics.md) are refused before anything is compiled.

Each row takes a case of the table that builds, changes one argument of it, and names the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from bundle import Bundle
from cases import CASES
from parameters import DTYPES, Arguments, Input, arguments
from torch import Tensor

from irnn_tvm.compiler.verify import verify
from irnn_tvm.errors import AccumulatorOverflowError, BuildError
from irnn_tvm.frontend.import_program import import_program

BY_NAME = {case.name: case for case in CASES}
Change = Callable[[Arguments], Arguments]


def number(**changes: Any) -> Change:
    return lambda args: replace(args, numbers={**args.numbers, **changes})


def filled(name: str, value: int, row: int | None = None) -> Change:
    """A constant tensor, or one row of it, with every element of the same value."""

    def change(args: Arguments) -> Arguments:
        tensor = args.constants[name].clone()
        (
            tensor if row is None else tensor[..., row, :] if name in ("table", "tables") else tensor[row]
        ).fill_(value)
        return replace(args, constants={**args.constants, name: tensor})

    return change


def constant(name: str, value: Callable[[Tensor], Tensor]) -> Change:
    return lambda args: replace(args, constants={**args.constants, name: value(args.constants[name])})


def width(name: str, bits: int) -> Change:
    return lambda args: replace(args, inputs={**args.inputs, name: replace(args.inputs[name], bits=bits)})


def longer(name: str, size: int, axis: int = -1) -> Change:
    """A run-time input with another size along an axis."""

    def change(args: Arguments) -> Arguments:
        shape = list(args.inputs[name].shape)
        shape[axis] = size
        return replace(args, inputs={**args.inputs, name: replace(args.inputs[name], shape=tuple(shape))})

    return change


def shape(name: str, sizes: tuple[int, ...]) -> Change:
    """A run-time input of another shape; inputs of an attention keep as many features as each other."""
    return lambda args: replace(
        args,
        inputs={
            k: replace(v, shape=(*v.shape[:-1], sizes[-1])) if len(v.shape) == len(sizes) else v
            for k, v in (args.inputs | {name: replace(args.inputs[name], shape=sizes)}).items()
        },
    )


SLOPES = 1
# All pieces start at the lowest input and rise as fast as they can.
STEEP = torch.tensor([[-32768], [32767], [32767]], dtype=torch.int16)
OVERFLOW, REFUSED = AccumulatorOverflowError, BuildError
CHANGES: list[tuple[str, Change, type[Exception], str]] = [
    ("linear-rank2", filled("bias", 2**31 - 1, row=3), OVERFLOW, r"irnn\.linear .* row 3 can reach 21\d{8}"),
    ("linear-rank2", filled("bias", -(2**31)), OVERFLOW, "row"),
    ("linear-rank2", filled("mult", 0, row=6), REFUSED, "multiplier is outside"),
    ("linear-rank2", number(shift=0), REFUSED, "shift 0 is outside 1..62"),
    ("linear-rank2", number(shift=63), REFUSED, "shift 63"),
    ("linear-rank2", number(out_zp=128), REFUSED, "zero point 128 is not supported for int8"),
    ("linear-rank4", number(out_zp=1), REFUSED, "16-bit tensors have zero point 0"),
    ("linear-rank2", width("x", 16), REFUSED, "argument 0 is int16; supported: int8"),
    ("conv1d-groups", filled("bias", 2**31 - 1), OVERFLOW, r"irnn\.conv1d .* row"),
    ("conv1d-groups", filled("mult", -5), REFUSED, "multiplier"),
    ("conv1d-groups", number(shift=-1), REFUSED, "shift -1"),
    ("requantize-32to32", number(mult=2**31 - 1, shift=40), OVERFLOW, "64-bit sum can reach"),
    ("requantize-16to8", number(in_zp=4), REFUSED, "zero point 4 is not supported for int16"),
    ("requantize-8to8", number(mult=0), REFUSED, "multiplier"),
    ("requantize-8to8", number(mult=2**31), REFUSED, "multiplier"),
    ("add-8-8", number(a_mult=0), REFUSED, "multiplier"),
    ("add-8-8", number(a_zp=-129), REFUSED, "zero point -129"),
    ("add-8-16", number(b_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    ("add-8-8", width("a", 32), REFUSED, "argument 0 is int32; supported: int8 or int16"),
    ("mul-16-16", number(a_zp=-1), REFUSED, "zero point -1"),
    ("mul-16-16", width("b", 32), REFUSED, "argument 1 is int32"),
    ("pwl-8to8-tanh-8", constant("table", lambda t: t[:, :5]), REFUSED, "5 pieces"),
    ("pwl-8to8-tanh-8", constant("table", lambda t: t.flip(1)), REFUSED, "do not ascend"),
    ("pwl-8to8-tanh-8", number(shift=15), REFUSED, "shift 15"),
    ("pwl-one-line", filled("table", 32767, row=SLOPES), OVERFLOW, "table 0 can leave int32"),
    ("pwl-one-line", width("x", 32), REFUSED, "argument 0 is int32"),
    ("lstm-h5", filled("bias", 2**31 - 1, row=7), OVERFLOW, r"irnn\.lstm .* input product: row 7"),
    ("lstm-h5", filled("mult_hh", 0), REFUSED, "multiplier"),
    ("lstm-h5", number(gate_shift=[30, 30, 63, 30]), REFUSED, "shift 63"),
    ("lstm-h5", number(gate_zp=[0, 0, 0, 1]), REFUSED, "zero point 1 is not supported for int16"),
    ("lstm-h5", number(act_zp=[0, 0, 0, 0, 2]), REFUSED, "zero point 2"),
    ("lstm-h5", number(cell_zp=2), REFUSED, "zero point 2"),
    ("lstm-all8", number(cell_zp=128), REFUSED, "zero point 128"),
    ("lstm-h5", number(f_mult=0), REFUSED, "multiplier"),
    ("lstm-h5", number(h_shift=0), REFUSED, "shift 0"),
    ("lstm-h5", number(table_shift=[0, 0, 20, 0, 0]), REFUSED, "table 2 has 32 pieces and shift 20"),
    ("lstm-h5", constant("tables", lambda t: STEEP.expand_as(t)), OVERFLOW, "table 0 can leave int32"),
    ("gru-h5-reset-after", filled("bias", -(2**31), row=0), OVERFLOW, r"irnn\.gru .* input product: row 0"),
    ("gru-h5-reset-after", filled("bias_hn", 2**31 - 1), OVERFLOW, r"irnn\.gru .* state product: row 1\d"),
    ("gru-h5-reset-after", number(hn_shift=0), REFUSED, "shift 0"),
    ("gru-h5-reset-after", number(z_one=1 << 20), OVERFLOW, "the state update can leave int32"),
    ("gru-h5-reset-after", number(state_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    ("gru-h5-reset-before", number(rh_shift=70), REFUSED, "shift 70"),
    ("gru-h5-reset-before", number(out_shift=0), REFUSED, "shift 0"),
    ("gru-h5-reset-before", filled("mult_ih", 0), REFUSED, "multiplier"),
    ("softmax-lengths", number(mult=0), REFUSED, "multiplier"),
    ("softmax-lengths", number(shift=63), REFUSED, "shift 63"),
    ("softmax-lengths", number(out_bits=32), REFUSED, "weights are int8 or int16"),
    ("softmax-lengths", width("x", 32), REFUSED, "argument 0 is int32; supported: int8 or int16"),
    ("softmax-lengths", width("lengths", 16), REFUSED, "argument 1 is int16; supported: int32"),
    ("softmax-lengths", constant("table", lambda t: STEEP.expand_as(t)), OVERFLOW, "table 0 can leave int32"),
    ("attention-three-heads", number(heads=5), REFUSED, "5 heads do not divide 12 features"),
    ("attention-three-heads", number(heads=0), REFUSED, "0 heads do not divide"),
    ("attention-three-heads", number(q_zp=128), REFUSED, "zero point 128"),
    ("attention-three-heads", number(v_zp=-129), REFUSED, "zero point -129"),
    ("attention-three-heads", number(out_mult=0), REFUSED, "multiplier"),
    ("attention-three-heads", number(out_shift=0), REFUSED, "shift 0"),
    ("attention-three-heads", number(mult=2**31), REFUSED, "multiplier"),
    ("attention-three-heads", number(table_shift=15), REFUSED, "shift 15"),
    ("attention-three-heads", width("k", 16), REFUSED, "argument 1 is int16; supported: int8"),
    ("attention-to16", number(out_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    (
        "attention-one-head",
        shape("q", (2, 5, 132000)),
        OVERFLOW,
        r"irnn\.attention .* a score can reach 2\d{9}",
    ),
    ("matmul-16-8", number(a_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    ("matmul-16-8", number(shift=0), REFUSED, "shift 0"),
    ("matmul-8-8", width("b", 32), REFUSED, "argument 1 is int32"),
    ("matmul-8-8", number(mult=-1), REFUSED, "multiplier"),
    ("append-8", width("x", 16), REFUSED, "argument 2 is int16; supported: int8"),
    ("append-8", width("length", 16), REFUSED, "argument 1 is int16; supported: int32"),
    ("additive_scores-16-16", number(q_mult=0), REFUSED, "multiplier"),
    ("additive_scores-16-16", number(pre_shift=0), REFUSED, "shift 0"),
    ("additive_scores-16-16", number(k_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    ("additive_scores-16-16", number(out_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    ("additive_scores-to8", number(out_zp=128), REFUSED, "zero point 128"),
    (
        "additive_scores-16-16",
        constant("table", lambda t: STEEP.expand_as(t)),
        OVERFLOW,
        "table 0 can leave int32",
    ),
    ("layer_norm-8to8", number(eps=0), REFUSED, r"irnn\.layer_norm .* eps 0 is outside"),
    (
        "layer_norm-8to8",
        number(eps=2**61 + 1),
        REFUSED,
        r"eps 2305843009213693953 is outside 1\.\.2305843009213693952",
    ),
    ("layer_norm-8to8", number(shift=0), REFUSED, "shift 0"),
    ("layer_norm-8to8", number(out_zp=200), REFUSED, "zero point 200"),
    ("layer_norm-16to16", number(out_zp=1), REFUSED, "zero point 1 is not supported for int16"),
    (
        "layer_norm-8to8",
        constant("gamma", lambda g: g[:5]),
        REFUSED,
        r"gamma \(5,\) and beta \(37,\) do not fit 37",
    ),
    ("layer_norm-8to8", width("x", 32), REFUSED, "argument 0 is int32; supported: int8 or int16"),
    ("layer_norm-one-feature", longer("x", 32769), OVERFLOW, "32769 features; .* up to 32768"),
    ("mad_norm-8to8", number(eps=2**48 + 1), REFUSED, "eps 281474976710657 is outside"),
    ("mean_pool-8to8-first", number(mult=0), REFUSED, "multiplier"),
    ("mean_pool-8to8-first", number(shift=0), REFUSED, "shift 0"),
    ("mean_pool-8to8-first", number(shift=60), REFUSED, "shift 63 is outside"),
    ("mean_pool-8to8-first", number(in_zp=128), REFUSED, "zero point 128"),
    ("mean_pool-16to8", longer("x", 65536, axis=0), OVERFLOW, "over 65536 values can reach 2147483648"),
    ("sum_pool-8to8-first", number(shift=0), REFUSED, "shift 0"),
    ("sum_pool-rank1", longer("x", 2**24), OVERFLOW, "over 16777216 values can reach 2147483648"),
    ("avg_pool1d-2", number(shift=63), REFUSED, "shift 63"),
    ("avg_pool1d-2", number(kernel=0), REFUSED, "kernel 0, stride 2, padding 0"),
    ("avg_pool1d-padding", number(padding=3), REFUSED, "at most half of the kernel"),
    ("max_pool1d-padding", number(padding=3), REFUSED, "at most half of the kernel"),
    ("max_pool-8-first", width("x", 32), REFUSED, "argument 0 is int32"),
    ("argmax-8-first", width("x", 32), REFUSED, "argument 0 is int32"),
    ("topk-8-1", number(k=0), REFUSED, "the 0 largest of 9 values"),
    ("topk-8-1", number(k=10), REFUSED, "the 10 largest of 9 values"),
]


def program(case: str, change: Change) -> Any:
    """The Relax form of one case with a changed argument."""
    bundle = Bundle([BY_NAME[case]])
    args = change(arguments(BY_NAME[case]))
    changed = Bundle([])
    changed.cases, changed.arguments = bundle.cases, {case: args}
    changed.slots = {case: list(range(len(args.inputs)))}
    changed.specs = list(enumerate(args.inputs.values()))
    for name, value in args.constants.items():
        changed.register_buffer(f"constant0_{name}", value)
    inputs = tuple(torch.zeros(spec.shape, dtype=DTYPES[spec.bits]) for spec in args.inputs.values())
    return import_program(torch.export.export(changed, inputs))["main"]


@pytest.mark.parametrize(
    ("case", "change", "error", "words"),
    [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(CHANGES)],
)
def test_refused(case: str, change: Change, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        verify(program(case, change))


@pytest.mark.parametrize("case", sorted({row[0] for row in CHANGES}))
def test_accepted_unchanged(case: str) -> None:
    verify(program(case, lambda args: args))


def test_ids_are_int32() -> None:
    spec = Input((3,), 32, 5)
    with pytest.raises(BuildError, match=r"irnn\.embedding .* argument 0 is int64; supported: int32"):
        verify(_lookup(spec))


def _lookup(spec: Input) -> Any:
    class Lookup(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w", torch.ones((spec.limit or 1, 2), dtype=torch.int8))

        def forward(self, ids: Tensor) -> Tensor:
            return torch.ops.irnn.embedding(ids, self.w)

    exported = torch.export.export(Lookup(), (torch.zeros(spec.shape, dtype=torch.int64),))
    return import_program(exported)["main"]
