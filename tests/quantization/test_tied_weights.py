"""An embedding and an output layer that share their matrix share one table of integers, in the library too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import irnn_tvm

WORDS, WIDTH = 400, 16


class Tied(nn.Module):
    """A language model; functional: its output layer is a call of F.linear on the embedding's weight."""

    def __init__(self, functional: bool = False) -> None:
        super().__init__()
        self.table, self.rnn = nn.Embedding(WORDS, WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.out = None if functional else nn.Linear(WIDTH, WORDS)
        if self.out is not None:
            self.out.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        y, _ = self.rnn(self.table(ids))
        return F.linear(y, self.table.weight) if self.out is None else self.out(y)


def _ids(batch: int = 4, steps: int = 12) -> Tensor:
    return torch.randint(0, WORDS, (batch, steps))


def _quantized(model: nn.Module, **changes: object) -> irnn_tvm.IntegerModel:
    return irnn_tvm.quantize(model.eval(), [_ids() for _ in range(4)], irnn_tvm.QuantConfig(**changes))  # type: ignore[arg-type]


def _matrices(integer: irnn_tvm.IntegerModel) -> list[Tensor]:
    return [b for b in integer.buffers() if b.dtype == torch.int8 and tuple(b.shape) == (WORDS, WIDTH)]


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("rounding", ["compensated", "nearest"])
def test_one_table(functional: bool, rounding: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tied(functional)
    integer = _quantized(model, weight_rounding=rounding)
    a, b = _matrices(integer)
    assert torch.equal(a, b)
    assert int(a.min()) >= -127
    library = irnn_tvm.build(integer, out=tmp_path / "out")
    assert library.report["weight_bytes"] < 1.5 * WORDS * WIDTH + 16 * WORDS
    ids = _ids(1, 9)
    assert np.array_equal(library.run(ids.to(torch.int32).numpy()), integer(ids).numpy())
    exact = model(ids).detach()
    error = integer.float_forward(ids) - exact
    assert 20 * float(torch.log10(exact.norm() / error.norm())) > 30


def test_separate_tables_when_asked_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    a, b = _matrices(_quantized(Tied(), tied_weights="separate"))
    assert not torch.equal(a, b)


def test_a_bias_that_the_table_cannot_carry_is_refused() -> None:
    model = Tied()
    assert model.out is not None
    with torch.no_grad():
        model.out.bias[3] = 1e6
    with pytest.raises(irnn_tvm.AccumulatorOverflowError, match='tied_weights="separate"'):
        _quantized(model)
    _quantized(model, tied_weights="separate")


@torch.enable_grad()
def test_training_keeps_one_table() -> None:
    torch.manual_seed(0)
    twin = irnn_tvm.prepare_qat(Tied(), irnn_tvm.QatConfig(observe_steps=2), (_ids(),))
    optimizer = torch.optim.Adam(twin.parameters(), 1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        ids = _ids()
        loss = F.cross_entropy(twin(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        twin.step(loss)
    integer = irnn_tvm.convert(twin.eval())
    a, b = _matrices(integer)
    assert torch.equal(a, b)
    ids = _ids(2, 5)
    assert torch.equal(twin(ids), integer.float_forward(ids))
    training = twin.train()(ids)
    assert float((training.detach() - integer.float_forward(ids)).norm() / training.detach().norm()) < 0.02


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(irnn_tvm.QuantizationError, match="tied_weights='maybe' is unknown"):
        irnn_tvm.QuantConfig(tied_weights="maybe")
