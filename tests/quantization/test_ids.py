"""quantize_inputs, forward, the library's `quantize` and `run` take the same ids, and refuse the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.quantization import IntegerModel
from irnn_tvm.runtime import Library


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[IntegerModel, Library]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3))
    integer = irnn_tvm.quantize(model, [torch.randint(0, 9, (1, 6)) for _ in range(3)])
    return integer, irnn_tvm.build(integer, seq_len=None, out=tmp_path_factory.mktemp("ids") / "lib")


IDS = np.arange(6).reshape(1, 6)
FORMS: dict[str, Callable[[Any], Any]] = {
    "int32": lambda k: k.astype(np.int32),
    "int64": lambda k: k.astype(np.int64),
    "torch int32": lambda k: torch.from_numpy(k).int(),
    "torch int64": lambda k: torch.from_numpy(k).long(),
    "list": lambda k: k.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_taken(both: tuple[IntegerModel, Library], form: str) -> None:
    integer, library = both
    ids = FORMS[form](IDS)
    expected = integer(torch.from_numpy(IDS))
    [quantized] = integer.quantize_inputs(ids)
    assert torch.equal(integer(quantized), expected)
    assert np.array_equal(library.inputs[0].quantize(ids), IDS)
    for given in (ids, quantized, library.inputs[0].quantize(ids)):
        assert np.array_equal(library.run(given), expected.numpy())


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (IDS.astype(np.float32), "float"),
        (IDS + 4, "outside 0..8|out of range"),
        (IDS - 1, "outside 0..8|out of range"),
        (IDS + 2**40, "outside 0..8|int32 does not hold"),
    ],
)
def test_refused(both: tuple[IntegerModel, Library], ids: Any, text: str) -> None:
    integer, library = both
    calls = (
        lambda: integer.quantize_inputs(ids),
        lambda: integer(torch.from_numpy(ids)),
        lambda: library.run(ids),
    )
    for call in calls:
        with pytest.raises(InputError, match=text):
            call()


def test_rows_of_different_lengths(both: tuple[IntegerModel, Library]) -> None:
    integer, library = both
    for call in (integer.quantize_inputs, library.run):
        with pytest.raises(InputError):
            call([[1, 2], [3]])


def test_floats_as_lists() -> None:
    x = torch.randn(2, 4)
    integer = irnn_tvm.quantize(nn.Linear(4, 3), [x])
    assert torch.equal(integer.float_forward(x.tolist()), integer.float_forward(x))
