"""NaN and infinity in training: who is named, what is kept, and that a skipped batch leaves nothing behind."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trainable import TRAINABLES
from twins import BATCH, STEPS, loss_of, train_twin

import irnn_tvm

QUANT = irnn_tvm.QuantConfig(pwl_pieces=8)
OBSERVED = irnn_tvm.QatConfig(QUANT, observe_steps=1, snapshot_every=100)


class Deep(nn.Module):
    """Four layers, so that there is something to confuse."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(7, 6), nn.GRU(6, 6, batch_first=True)
        self.third, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.third(self.second(self.first(x))[0])))


def _x() -> Tensor:
    return torch.randn(4, 9, 7)


def _twin(steps: int, **changes: Any) -> tuple[irnn_tvm.QatModel, torch.optim.Optimizer]:
    config = irnn_tvm.QatConfig(**{"quant": QUANT, "observe_steps": 1, **changes})
    twin = irnn_tvm.prepare_qat(Deep(), config, _x())
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(twin(_x()))
        loss.backward()
        optimizer.step()
        twin.step(loss)
    return twin, optimizer


def _step(twin: irnn_tvm.QatModel, optimizer: torch.optim.Optimizer, x: Tensor, loss: Any = loss_of) -> None:
    """A whole step of an ordinary loop: the optimizer spreads a NaN before anybody can look."""
    optimizer.zero_grad()
    value = loss(twin(x))
    value.backward()
    optimizer.step()
    twin.step(value)


@pytest.mark.parametrize("steps", [0, 2], ids=["first step", "frozen"])
@pytest.mark.parametrize("weight", ["first.bias", "second.weight_hh_l0", "out.weight"])
def test_the_weight_is_named_that_was_spoilt(weight: str, steps: int) -> None:
    twin, optimizer = _twin(steps, float_steps=1)
    twin.model.get_parameter(weight).data.view(-1)[0] = math.nan
    with pytest.raises(irnn_tvm.TrainingError, match=rf"first seen in model\.{weight.replace('.', '[.]')}"):
        _step(twin, optimizer, _x())


@pytest.mark.parametrize("steps", [0, 3], ids=["float", "frozen"])
def test_the_input_is_named(steps: int) -> None:
    twin, optimizer = _twin(steps, float_steps=1)
    x = _x()
    x[0, 0, 0] = math.inf
    with pytest.raises(irnn_tvm.TrainingError, match=r"first seen in (x|input 0);"):
        _step(twin, optimizer, x)
    assert all(bool(torch.isfinite(p).all()) for p in twin.parameters())


def test_the_loss_is_named() -> None:
    twin, optimizer = _twin(3)
    with pytest.raises(irnn_tvm.TrainingError, match=r"the loss is nan.*the loss itself"):
        _step(twin, optimizer, _x(), lambda y: (y - y.detach()).sum().sqrt().log() * 0)


def test_the_gradient_of_the_loss_is_named() -> None:
    """sqrt at 0: the loss is finite, its gradient is not."""
    twin, optimizer = _twin(3)
    with pytest.raises(
        irnn_tvm.TrainingError, match=r"a weight is not finite.*gradient of the loss with respect to output 0"
    ):
        _step(twin, optimizer, _x(), lambda y: ((y - y.detach()) ** 2).sum().sqrt() + y.mean())


def test_the_layer_nearest_to_the_fault_is_named() -> None:
    """A gradient that is spoilt between two layers: the later ones are sound."""
    twin, optimizer = _twin(3)
    optimizer.zero_grad()
    loss = loss_of(twin(_x()))
    loss.backward()
    for name in ("first.weight", "first.bias", "second.weight_ih_l0", "second.weight_hh_l0"):
        twin.model.get_parameter(name).grad.mul_(math.nan)
    optimizer.step()
    with pytest.raises(
        irnn_tvm.TrainingError, match=r"first seen in gradient of model\.second\.weight_hh_l0"
    ):
        twin.step(loss)


def test_the_first_step_has_a_copy_to_go_back_to() -> None:
    twin, optimizer = _twin(0)
    before = [p.detach().clone() for p in twin.parameters()]
    with pytest.raises(irnn_tvm.TrainingError, match="back at its copy of step 0"):
        _step(twin, optimizer, _x(), lambda y: loss_of(y) * math.inf)
    for parameter, value in zip(twin.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)
    _step(twin, optimizer, _x())
    assert twin.steps == 1


@pytest.mark.parametrize("name", ["lstm", "gru", "convolutions"])
def test_a_batch_that_is_skipped_leaves_nothing(name: str) -> None:
    twin = train_twin(name, OBSERVED, 3)
    (x,) = TRAINABLES[name].example(BATCH, STEPS)
    before = irnn_tvm.convert(twin).report
    for value in (math.nan, math.inf):
        for _ in range(6):  # more than the batches that are kept
            bad = x.clone()
            bad.view(-1)[3] = value
            assert not bool(torch.isfinite(loss_of(twin(bad))))
    assert irnn_tvm.convert(twin).report == before
    assert bool(torch.isfinite(twin.eval()(x)).all())
    with pytest.raises(irnn_tvm.InputError, match="NaN or infinity"):
        twin(bad)


def test_a_batch_that_is_skipped_while_ranges_are_observed() -> None:
    twin = train_twin("lstm", irnn_tvm.QatConfig(QUANT, observe_steps=9), 2)
    (x,) = TRAINABLES["lstm"].example(BATCH, STEPS)
    before = twin.report()
    with pytest.raises(irnn_tvm.CalibrationError, match="NaN or infinity"):
        twin(x * math.nan)
    assert twin.report() == before


def test_weights_that_are_not_finite_have_no_integers() -> None:
    twin = train_twin("lstm", OBSERVED, 3).eval()
    twin.model.rnn.weight_hh_l0.data[0, 0] = math.nan
    with pytest.raises(irnn_tvm.CalibrationError, match=r"model\.rnn\.weight_hh_l0.*twin\.restore"):
        irnn_tvm.convert(twin)
