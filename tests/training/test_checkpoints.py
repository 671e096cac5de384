"""state_dict of a twin: a resumed training is the same, bit for bit; a checkpoint of other settings is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from trainable import TRAINABLES
from twins import BATCH, STEPS, loss_of

import irnn_tvm

EXHAUSTIVE = pytest.mark.exhaustive
QUANT = irnn_tvm.QuantConfig(pwl_pieces=8)


def _config(**changes: Any) -> irnn_tvm.QatConfig:
    return irnn_tvm.QatConfig(**{"quant": QUANT, "observe_steps": 2, **changes})


def _take(twin: irnn_tvm.QatModel, optimizer: torch.optim.Optimizer, batches: list[tuple[Any, ...]]) -> None:
    for batch in batches:
        torch.manual_seed(1)
        optimizer.zero_grad()
        loss = loss_of(twin(*batch))
        loss.backward()
        optimizer.step()
        twin.step(loss)


@pytest.mark.parametrize(
    "name",
    ["lstm", *(pytest.param(n, marks=EXHAUSTIVE) for n in ("gru-stacked-bidirectional", "language-model"))],
)
@pytest.mark.parametrize(
    "config",
    [
        _config(refit_every=2),
        _config(refit_every=3, ranges="learned", freeze_step=4),
        _config(
            quant=irnn_tvm.QuantConfig.int8(gate_observer="moving_average", pwl_pieces=8), observe_steps=5
        ),
    ],
    ids=["refit", "learned", "moving average"],
)
@pytest.mark.parametrize("cut", [3, *(pytest.param(n, marks=EXHAUSTIVE) for n in (1, 5))])
def test_a_resumed_training_is_the_same(name: str, config: irnn_tvm.QatConfig, cut: int) -> None:
    torch.manual_seed(0)
    model = TRAINABLES[name].make()
    batches = [TRAINABLES[name].example(BATCH, STEPS) for _ in range(9)]

    def start() -> tuple[irnn_tvm.QatModel, torch.optim.Optimizer]:
        twin = irnn_tvm.prepare_qat(model, config, batches[0])
        return twin, torch.optim.Adam(twin.parameters(), 1e-2)

    whole, optimizer = start()
    _take(whole, optimizer, batches)
    first, optimizer = start()
    _take(first, optimizer, batches[:cut])
    file = io.BytesIO()
    torch.save((first.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    second, optimizer = start()
    twin_state, optimizer_state = torch.load(file, weights_only=True)
    second.load_state_dict(twin_state)
    optimizer.load_state_dict(optimizer_state)
    _take(second, optimizer, batches[cut:])
    for (label, a), b in zip(whole.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), label
    ours, theirs = (irnn_tvm.convert(twin.eval()) for twin in (whole, second))
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert ours.report == theirs.report


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"quant": irnn_tvm.QuantConfig(pwl_pieces=16)}, r"quant\.pwl_pieces is 8 there and 16 in this twin"),
        ({"quant": irnn_tvm.QuantConfig(pwl_pieces=8, gate_bits=8)}, r"quant\.gate_bits is 16 there and 8"),
        ({"quant": irnn_tvm.QuantConfig(pwl_pieces=8, cell_bits=8)}, r"quant\.cell_bits is 16 there and 8"),
        (
            {"quant": irnn_tvm.QuantConfig(pwl_pieces=8, gate_observer="mse")},
            r"gate_observer is 'minmax' there and 'mse'",
        ),
        (
            {"quant": irnn_tvm.QuantConfig(pwl_pieces=8, percentile=99.0)},
            r"quant\.percentile is 99\.99 there and 99\.0",
        ),
        ({"cell_clip": 4.0}, r"cell_clip is None there and 4\.0"),
        ({"ranges": "learned", "freeze_step": 9}, r"ranges is 'observed' there and 'learned'"),
        (
            {"quant": irnn_tvm.QuantConfig.int8(pwl_pieces=4)},
            r"gate_bits is 16 there and 8.*pwl_pieces is 8 there and 4",
        ),
    ],
)
@pytest.mark.parametrize("captured", [True, pytest.param(False, marks=EXHAUSTIVE)])
def test_other_settings_are_refused(changes: dict[str, Any], text: str, captured: bool) -> None:
    example = TRAINABLES["lstm"].example(BATCH, STEPS)
    saved = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(), example)
    _take(saved, torch.optim.SGD(saved.parameters(), 0.1), [example])
    needs = captured or "ranges" in changes
    other = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(**changes), example if needs else None)
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(irnn_tvm.QuantizationError, match=text):
        other.load_state_dict(saved.state_dict())
    for parameter, value in zip(other.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
    assert other.steps == 0


def test_the_schedule_may_change() -> None:
    example = TRAINABLES["lstm"].example(BATCH, STEPS)
    saved = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(), example)
    _take(saved, torch.optim.SGD(saved.parameters(), 0.1), [example])
    longer = _config(observe_steps=7, refit_every=5, pwl_gradient="function", snapshot_every=3)
    other = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), longer, example)
    other.load_state_dict(saved.state_dict())
    assert (other.steps, other.phase) == (1, "observe")


def test_checkpoints_of_earlier_releases_load() -> None:
    """They hold steps, observed and seen."""
    example = TRAINABLES["lstm"].example(BATCH, STEPS)
    saved = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(), example)
    _take(saved, torch.optim.SGD(saved.parameters(), 0.1), [example] * 3)
    state = saved.state_dict()
    state["_extra_state"] = {k: state["_extra_state"][k] for k in ("steps", "observed", "seen")}
    other = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(), example)
    other.load_state_dict(state)
    assert torch.equal(other.eval()(*example), saved.eval()(*example))
    irnn_tvm.convert(other)
