"""Copies of a twin: deepcopy, pickle, averaged weights, wrappers; and weights that are written behind its back."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from effective_weights import recurrent
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from trainable import TRAINABLES
from twins import BATCH, STEPS, leaves, loss_of, train_twin

import irnn_tvm

QUANT = irnn_tvm.QuantConfig(pwl_pieces=8)
OBSERVED = irnn_tvm.QatConfig(QUANT, observe_steps=2)
LEARNED = irnn_tvm.QatConfig(QUANT, observe_steps=2, freeze_step=9, ranges="learned")
NETWORKS = ["lstm-stacked-bidirectional", "gru", "language-model", "convolutions", "elementwise", "cells"]


def _batch(name: str) -> tuple[Any, ...]:
    return TRAINABLES[name].example(BATCH, STEPS)


def _equal(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def _train(twin: irnn_tvm.QatModel, batches: list[tuple[Any, ...]]) -> None:
    optimizer = torch.optim.SGD(twin.parameters(), 0.05)
    for batch in batches:
        torch.manual_seed(5)  # dropout
        optimizer.zero_grad()
        loss = loss_of(twin(*batch))
        loss.backward()
        optimizer.step()
        twin.step(loss)


def _saved(twin: irnn_tvm.QatModel) -> irnn_tvm.QatModel:
    file = io.BytesIO()
    torch.save(twin, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert isinstance(loaded, irnn_tvm.QatModel)
    return loaded


COPIES: dict[str, Callable[[irnn_tvm.QatModel], irnn_tvm.QatModel]] = {
    "deepcopy": copy.deepcopy,
    "torch.save": _saved,
    "AveragedModel": lambda twin: AveragedModel(twin).module,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    ("name", "config", "steps"),
    [
        *(pytest.param(name, OBSERVED, 3, marks=pytest.mark.exhaustive) for name in NETWORKS),
        ("elementwise", OBSERVED, 3),
        ("lstm", LEARNED, 4),
        ("gru", LEARNED, 1),
        ("lstm", OBSERVED, 0),
    ],
)
def test_a_copy_goes_on_as_the_twin_does(how: str, name: str, config: irnn_tvm.QatConfig, steps: int) -> None:
    """The same steps give the same weights, ranges and integers; and neither sees what happens to the other."""
    twin = train_twin(name, config, steps)
    other = COPIES[how](twin)
    assert (other.steps, other.phase) == (twin.steps, twin.phase)
    batches = [_batch(name) for _ in range(3)]
    before = copy.deepcopy(other.state_dict())
    _train(twin, batches)
    for key, value in other.state_dict().items():
        if not key.endswith("_extra_state"):
            assert torch.equal(value, before[key]), key
    _train(other, batches)
    for (label, a), b in zip(twin.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), label
    if config is LEARNED:
        assert other.range_gains is not None
        assert bool((other.range_gains != 0).any())
        assert not torch.equal(other.range_gains, before["range_gains"])
    args = _batch(name)
    assert _equal(twin.eval()(*args), other.eval()(*args))
    assert _equal(irnn_tvm.convert(other, report=False).float_forward(*args), other(*args))


def test_a_copy_of_a_model_with_computed_weights() -> None:
    twin = irnn_tvm.prepare_qat(recurrent("lstm", "pruning"), OBSERVED, torch.randn(4, 9, 7))
    _train(twin, [(torch.randn(4, 9, 7),) for _ in range(3)])
    other = copy.deepcopy(twin)
    _train(other, [(torch.randn(4, 9, 7),)])
    (x,) = (torch.randn(4, 9, 7),)
    assert not torch.equal(other.eval()(x), twin.eval()(x))


def test_a_copy_in_the_float_phase_and_before_the_first_call() -> None:
    config = irnn_tvm.QatConfig(QUANT, float_steps=2, observe_steps=1)
    twin = irnn_tvm.prepare_qat(recurrent("gru", "weight_norm hook"), config)
    twin(torch.randn(4, 9, 7))  # its weights are results of autograd now
    other = _saved(copy.deepcopy(twin))
    _train(other, [(torch.randn(4, 9, 7),) for _ in range(4)])
    assert other.phase == "frozen"
    assert twin.steps == 0
    irnn_tvm.convert(other)


# --- Weights that change in every way ------------------------------------------------------------------------------


def _swap(twin: irnn_tvm.QatModel) -> None:
    average = AveragedModel(twin.model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(twin.model)
    with torch.no_grad():
        for p in average.module.parameters():
            p.mul_(0.7)
    for ours, theirs in zip(twin.model.parameters(), average.module.parameters(), strict=True):
        ours.data, theirs.data = theirs.data, ours.data


def _clip(twin: irnn_tvm.QatModel) -> None:
    for p in twin.parameters():
        p.data.clamp_(-0.1, 0.1)


def _load(twin: irnn_tvm.QatModel) -> None:
    for p in twin.parameters():
        p.data.copy_(p.data * 1.3)


def _one_element(twin: irnn_tvm.QatModel) -> None:
    twin.model.rnn.weight_hh_l0.data[0, 0] += 0.3


def _numpy(twin: irnn_tvm.QatModel) -> None:
    twin.model.rnn.weight_ih_l0.detach().numpy()[0] *= -1


def _assign(twin: irnn_tvm.QatModel) -> None:
    state = {k: v * 1.2 for k, v in twin.model.state_dict().items()}
    twin.model.load_state_dict(state, assign=True)


def _replace(twin: irnn_tvm.QatModel) -> None:
    twin.model.rnn.weight_hh_l0 = nn.Parameter(twin.model.rnn.weight_hh_l0.detach() * 0.5)


@pytest.mark.parametrize("edit", [_swap, _clip, _load, _one_element, _numpy, _assign, _replace])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_every_edit_is_seen(edit: Callable[[irnn_tvm.QatModel], None], name: str) -> None:
    twin = train_twin(name, OBSERVED, 3).eval()
    (x,) = _batch(name)
    before = twin(x)
    edit(twin)
    after = twin(x)
    assert not torch.equal(after, before)
    assert torch.equal(irnn_tvm.convert(twin).float_forward(x), after)
    fresh = irnn_tvm.prepare_qat(TRAINABLES[name].make(), OBSERVED, (x,))
    fresh.load_state_dict(twin.state_dict())
    assert torch.equal(fresh.eval()(x), after)
    _train(twin.train(), [(x,)])
    assert not torch.equal(twin.eval()(x), after)


def test_averages_are_swapped_in_and_out() -> None:
    twin = train_twin("lstm", OBSERVED, 3).eval()
    (x,) = _batch("lstm")
    before = twin(x)
    trained = [p.detach().clone() for p in twin.parameters()]
    for p in twin.parameters():
        p.data.copy_(0.9 * p.data)
    averaged = twin(x)
    for p, value in zip(twin.parameters(), trained, strict=True):
        p.data.copy_(value)
    assert torch.equal(twin(x), before)
    assert not torch.equal(averaged, before)


def test_unchanged_weights_are_not_converted_again() -> None:
    twin = train_twin("lstm", OBSERVED, 3).eval()
    assert twin.emission() is twin.emission()


# --- Wrappers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_process(tmp_path: Any) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_data_parallel_trains_and_converts(one_process: None) -> None:
    twin = irnn_tvm.prepare_qat(TRAINABLES["gru"].make(), OBSERVED, _batch("gru"))
    parallel = DistributedDataParallel(twin)
    optimizer = torch.optim.SGD(parallel.parameters(), 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        loss = loss_of(parallel(*_batch("gru")))
        loss.backward()
        optimizer.step()
        parallel.module.step(loss)
    (x,) = _batch("gru")
    assert torch.equal(irnn_tvm.convert(parallel).float_forward(x), twin.eval()(x))


def test_wrappers_are_unwrapped() -> None:
    twin = train_twin("gru", OBSERVED, 3).eval()
    (x,) = _batch("gru")
    for wrapped in (torch.compile(twin), AveragedModel(twin), torch.compile(AveragedModel(twin))):
        assert torch.equal(irnn_tvm.convert(wrapped).float_forward(x), twin(x))
    with pytest.raises(irnn_tvm.QuantizationError, match="not a AveragedModel"):
        irnn_tvm.convert(AveragedModel(nn.Linear(3, 2)))


def test_a_wrapped_twin_is_a_twin() -> None:
    twin = irnn_tvm.prepare_qat(nn.Linear(3, 2))
    for wrapped in (AveragedModel(twin), nn.Sequential(nn.ReLU(), nn.Sequential(twin))):
        with pytest.raises(irnn_tvm.QuantizationError, match="prepared already"):
            irnn_tvm.prepare_qat(wrapped)
