"""Phases, resumption, and the stops: what a training loop meets."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from trainable import TRAINABLES
from twins import BATCH, STEPS, leaves, loss_of

import irnn_tvm
from irnn_tvm.training import observers

QUANT = irnn_tvm.QuantConfig(pwl_pieces=8, gate_bits=8, cell_bits=8)
Trained = Callable[..., irnn_tvm.QatModel]


def _config(**changes: object) -> irnn_tvm.QatConfig:
    return irnn_tvm.QatConfig(**{"quant": QUANT, "observe_steps": 2, **changes})  # type: ignore[arg-type]


def _batch(name: str = "lstm") -> tuple[torch.Tensor, ...]:
    return TRAINABLES[name].example(BATCH, STEPS)


def test_phases_follow_the_steps() -> None:
    config = _config(float_steps=2, observe_steps=3, freeze_step=8, ranges="learned")
    assert [config.phase(s) for s in range(10)] == [
        *["float"] * 2,
        *["observe"] * 3,
        *["learn"] * 3,
        *["frozen"] * 2,
    ]
    assert [_config().phase(s) for s in range(4)] == ["observe", "observe", "frozen", "frozen"]


def test_the_float_phase_is_the_float_model() -> None:
    model = TRAINABLES["gru"].make()
    twin = irnn_tvm.prepare_qat(model, _config(float_steps=1))
    (x,) = _batch("gru")
    assert torch.equal(twin(x), model(x))
    assert torch.equal(twin.eval()(x), model(x))
    twin.train().step()
    assert not torch.equal(twin(x), model(x))


def test_the_model_itself_is_not_changed(trained: Trained) -> None:
    model = TRAINABLES["lstm"].make()
    before = copy.deepcopy(model.state_dict())
    twin = irnn_tvm.prepare_qat(model, _config())
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    loss_of(twin(*_batch())).backward()
    optimizer.step()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert any(not torch.equal(before[k], v) for k, v in twin.model.state_dict().items())


def test_ranges_do_not_move_once_frozen(trained: Trained) -> None:
    twin = trained("lstm", _config(), 3)
    assert twin.planner is not None
    assert twin.phase == "frozen"
    before = observers.save(twin.planner)
    twin(10.0 * _batch()[0])
    for name, packed in observers.save(twin.planner).items():
        assert (packed["limit"], packed.get("low")) == (before[name]["limit"], before[name].get("low"))


def test_refitting_changes_tables_and_not_ranges(trained: Trained) -> None:
    twin = trained("lstm", _config(refit_every=2), 3)
    assert twin.planner is not None
    ranges = {n: (o.low, o.high) for n, o in observers.observers(twin.planner).items()}
    counts = {n: o.histogram.counts.copy() for n, o in observers.observers(twin.planner).items()}
    for _ in range(2):
        twin(0.2 * _batch()[0])
        twin.step()
    found = observers.observers(twin.planner)
    assert {n: (o.low, o.high) for n, o in found.items()} == ranges
    assert any((found[n].histogram.counts != c).any() for n, c in counts.items())
    (x,) = _batch()
    assert torch.equal(twin.eval()(x), irnn_tvm.convert(twin).float_forward(x))


def test_resuming_gives_the_same_training(trained: Trained, tmp_path: Path) -> None:
    """Six steps in one go, and three, a checkpoint on disk, a new twin, three more."""
    config = _config(observe_steps=2, freeze_step=5, ranges="learned")
    model, batches = TRAINABLES["lstm"].make(), [_batch() for _ in range(6)]

    def start() -> tuple[irnn_tvm.QatModel, torch.optim.Optimizer]:
        twin = irnn_tvm.prepare_qat(model, config, batches[0])
        return twin, torch.optim.Adam(twin.parameters(), 1e-2)

    def take(
        twin: irnn_tvm.QatModel, optimizer: torch.optim.Optimizer, some: list[tuple[torch.Tensor, ...]]
    ) -> None:
        for batch in some:
            optimizer.zero_grad()
            loss = loss_of(twin(*batch))
            loss.backward()
            optimizer.step()
            twin.step(loss)

    whole, optimizer = start()
    take(whole, optimizer, batches)
    first, optimizer = start()
    take(first, optimizer, batches[:3])
    torch.save({"twin": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    second, optimizer = start()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    second.load_state_dict(state["twin"])
    optimizer.load_state_dict(state["optimizer"])
    assert second.steps == 3
    take(second, optimizer, batches[3:])
    for (name, a), b in zip(whole.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name
    (x,) = _batch()
    assert torch.equal(whole.eval()(x), second.eval()(x))


def test_a_checkpoint_loads_before_the_first_call(trained: Trained) -> None:
    twin = trained("gru", _config(), 3)
    fresh = irnn_tvm.prepare_qat(TRAINABLES["gru"].make(), _config())
    fresh.load_state_dict(twin.state_dict())
    with pytest.raises(irnn_tvm.CalibrationError, match="give prepare_qat an "):
        irnn_tvm.convert(fresh)
    (x,) = _batch("gru")
    assert torch.equal(fresh.eval()(x), twin.eval()(x))


def test_a_checkpoint_of_another_model_is_refused(trained: Trained) -> None:
    twin = trained("gru", _config(), 1)
    other = irnn_tvm.prepare_qat(nn.GRU(7, 6), _config(), (torch.randn(3, 2, 7),))
    with pytest.raises(irnn_tvm.QuantizationError, match="another model"):
        other.set_extra_state(twin.get_extra_state())


def test_dropout_acts_in_training_alone() -> None:
    class Drops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(7, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(F.dropout(x, 0.5, self.training))

    twin = irnn_tvm.prepare_qat(Drops(), _config())
    x = torch.randn(64, 7)
    assert not torch.equal(twin(x), twin(x))
    twin.eval()
    assert torch.equal(twin(x), twin(x))


def test_cell_clip_bounds_the_cell_grid(trained: Trained) -> None:
    wide = irnn_tvm.QuantConfig(pwl_pieces=8)
    twin = trained("lstm", _config(quant=wide, cell_clip=0.25), 3)
    rows = {row.tensor: row for row in irnn_tvm.convert(twin).report if row.tensor == "cell state"}
    assert rows["cell state"].scale * 32767 == pytest.approx(0.25)
    assert rows["cell state"].saturation > 0  # and the report says how often it saturated


# --- Stops --------------------------------------------------------------------------------------------------------


def test_a_nan_loss_stops_with_the_weight_and_goes_back(trained: Trained) -> None:
    twin = trained("lstm", _config(snapshot_every=1), 3)
    good = copy.deepcopy(twin.model.state_dict())
    with torch.no_grad():
        twin.model.rnn.weight_hh_l0[3, 2] = math.nan
    loss = loss_of(twin(*_batch()))
    with pytest.raises(irnn_tvm.TrainingError, match=r"loss is nan.*model\.rnn\.weight_hh_l0.*step 3"):
        twin.step(loss)
    assert all(torch.equal(good[k], v) for k, v in twin.model.state_dict().items())
    twin.step(loss_of(twin(*_batch())))  # and it goes on from there


def test_a_nan_inside_the_model_is_named() -> None:
    class Divides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(7, 7), nn.Linear(7, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.inner(x)))

    twin = irnn_tvm.prepare_qat(Divides(), _config())
    x = torch.randn(5, 7)
    twin.step(twin(x).mean())
    twin.step(twin(x).mean())
    twin(x * math.nan)
    with pytest.raises(irnn_tvm.TrainingError, match=r"loss is nan.*first seen in x"):
        twin.step(math.nan)


def test_a_weight_that_became_infinite_stops(trained: Trained) -> None:
    twin = trained("gru", _config(), 2)
    with torch.no_grad():
        twin.model.out.bias[1] = math.inf
    with pytest.raises(irnn_tvm.TrainingError, match=r"weight is not finite.*model\.out\.bias"):
        twin.step(0.5)


def test_an_exploding_range_stops_with_its_name() -> None:
    twin = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(observe_steps=9, max_growth=10.0))
    (x,) = _batch()
    twin.step(loss_of(twin(x)))
    with torch.no_grad():
        twin.model.out.weight.mul_(100.0)
    loss = loss_of(twin(x))
    with pytest.raises(
        irnn_tvm.TrainingError, match=r"range of a tensor exploded.*out output.*back at its copy"
    ):
        twin.step(loss)


def test_going_back_without_a_copy_is_refused() -> None:
    with pytest.raises(irnn_tvm.TrainingError, match="no good copy"):
        irnn_tvm.prepare_qat(nn.Linear(3, 2)).restore()


def test_converting_before_ranges_are_seen_is_refused() -> None:
    twin = irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), _config(), _batch())
    with pytest.raises(irnn_tvm.CalibrationError, match="no ranges were seen"):
        irnn_tvm.convert(twin)
    with pytest.raises(irnn_tvm.CalibrationError, match="no ranges were seen"):
        twin.eval()(*_batch())


def test_what_is_a_twin_already_is_refused() -> None:
    twin = irnn_tvm.prepare_qat(nn.Linear(3, 2))
    with pytest.raises(irnn_tvm.QuantizationError, match="prepared already: it is"):
        irnn_tvm.prepare_qat(twin)
    with pytest.raises(irnn_tvm.QuantizationError, match="prepared already: its submodule '1'"):
        irnn_tvm.prepare_qat(nn.Sequential(nn.Linear(4, 3), twin))


def test_other_things_are_refused(trained: Trained) -> None:
    integer = irnn_tvm.convert(trained("lstm", _config(), 1))
    with pytest.raises(irnn_tvm.UnsupportedModuleError, match="IntegerModel"):
        irnn_tvm.prepare_qat(integer)
    with pytest.raises(irnn_tvm.UnsupportedModuleError, match=r"not a torch\.nn\.Module"):
        irnn_tvm.prepare_qat("model")  # type: ignore[arg-type]
    with pytest.raises(irnn_tvm.QuantizationError, match="convert takes what prepare_qat returned"):
        irnn_tvm.convert(nn.Linear(3, 2))  # type: ignore[arg-type]
    with pytest.raises(irnn_tvm.UnsupportedModuleError, match="has no integer version"):
        irnn_tvm.prepare_qat(nn.Bilinear(3, 3, 2), example=(torch.randn(2, 3), torch.randn(2, 3)))
    with pytest.raises(irnn_tvm.QuantizationError, match="needs example="):
        irnn_tvm.prepare_qat(nn.Linear(3, 2), _config(ranges="learned", freeze_step=9))


def test_states_that_do_not_match_are_refused(trained: Trained) -> None:
    twin = trained("language-model", _config(), 1)
    ids, (h, c) = TRAINABLES["language-model"].example(BATCH, STEPS)
    with pytest.raises(irnn_tvm.InputError, match=r"cannot run on this call.*states_0: \(2, 2, 10\)"):
        twin(ids, (h[:, :2], c[:, :2]))
    with pytest.raises(irnn_tvm.InputError, match="the same kind of arguments"):
        twin(ids, (h, None))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"quant": 8}, "not a QuantConfig"),
        ({"observe_steps": 0}, "observe_steps=0"),
        ({"float_steps": -1}, "float_steps=-1"),
        ({"ranges": "guessed"}, "ranges='guessed' is unknown"),
        ({"ranges": "learned", "freeze_step": 2}, "no step to learn"),
        ({"pwl_gradient": "none"}, "pwl_gradient='none' is unknown"),
        ({"cell_clip": 0.0}, "cell_clip=0.0"),
        ({"max_growth": 1.0}, "max_growth=1.0"),
        ({"snapshot_every": 0}, "snapshot_every=0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(irnn_tvm.QuantizationError, match=text):
        _config(**changes)


def test_both_gradients_of_a_table_train(trained: Trained) -> None:
    """They differ, and both follow the function: the segments' slopes are its derivative on average."""
    grads = []
    for kind in ("pwl", "function"):
        torch.manual_seed(0)
        twin = trained("lstm", _config(pwl_gradient=kind), 3)
        twin.zero_grad()
        sum(y.sum() for y in leaves(twin(*_batch()))).backward()
        grads.append(torch.cat([p.grad.flatten() for p in twin.parameters() if p.grad is not None]))
    assert not torch.equal(*grads)
    assert float(F.cosine_similarity(*grads, dim=0)) > 0.9
