"""Calls of a twin from all kinds of loops: autocast, checkpointing, torch.compile, calls that no model takes."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from trainable import TRAINABLES
from twins import BATCH, STEPS, leaves, loss_of, train_twin

import irnn_tvm
from irnn_tvm.training import observers

EXHAUSTIVE = pytest.mark.exhaustive
QUANT = irnn_tvm.QuantConfig(pwl_pieces=8)
OBSERVED = irnn_tvm.QatConfig(QUANT, observe_steps=2)
LEARNED = irnn_tvm.QatConfig(QUANT, observe_steps=2, freeze_step=4, ranges="learned")


def _batch(name: str) -> tuple[Any, ...]:
    return TRAINABLES[name].example(BATCH, STEPS)


def _seen(twin: irnn_tvm.QatModel) -> list[Any]:
    assert twin.planner is not None
    return [
        [packed[k] for k in ("limit", "zeros", "low", "high", "average") if k in packed]
        + [float(packed["counts"].sum())]
        for packed in observers.save(twin.planner).values()
    ]


def _gradients(twin: irnn_tvm.QatModel) -> list[Tensor]:
    return [p.grad.clone() for p in twin.parameters() if p.grad is not None]


# --- Autocast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=EXHAUSTIVE)])
@pytest.mark.parametrize("backward_inside", [False, pytest.param(True, marks=EXHAUSTIVE)])
@pytest.mark.parametrize(
    "name", ["lstm", "gru", "gru-reset-before", "lstm-stacked-bidirectional", "convolutions"]
)
def test_autocast_changes_nothing(name: str, dtype: torch.dtype, backward_inside: bool) -> None:
    batches = [_batch(name) for _ in range(4)]
    torch.manual_seed(0)
    model = TRAINABLES[name].make()
    for module in model.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    twins = [irnn_tvm.prepare_qat(model, OBSERVED, batches[0]) for _ in range(2)]
    for twin, enabled in zip(twins, (False, True), strict=True):
        optimizer = torch.optim.SGD(twin.parameters(), 0.05)
        for batch in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=enabled):
                y = twin(*batch)
                assert all(t.dtype == torch.float32 for t in leaves(y))
                loss = loss_of(y)
                if backward_inside:
                    loss.backward()
            if not backward_inside:
                loss.backward()
            optimizer.step()
            twin.step(loss)
    if not backward_inside:  # torch's own layers do their backward pass as the loop says
        for a, b in zip(twins[0].parameters(), twins[1].parameters(), strict=True):
            assert torch.equal(a, b)
    with torch.autocast("cpu", dtype):
        inside = twins[1].eval()(*batches[0])
        integer = irnn_tvm.convert(twins[1])
    assert torch.equal(inside, twins[1](*batches[0]))
    assert torch.equal(integer.float_forward(*batches[0]), inside)


def test_half_precision_inputs_of_other_layers_are_taken_in_autocast() -> None:
    twin, front = train_twin("lstm", OBSERVED, 3), nn.Linear(5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        loss_of(twin(front(torch.randn(4, 9, 5)))).backward()
    assert front.weight.grad is not None
    assert bool((front.weight.grad != 0).any())


# --- Activation checkpointing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("config", [OBSERVED, LEARNED], ids=["observed", "learned"])
@pytest.mark.parametrize(
    "name",
    ["lstm", *(pytest.param(n, marks=EXHAUSTIVE) for n in ("gru-stacked-bidirectional", "convolutions"))],
)
def test_checkpointing_observes_once(name: str, config: irnn_tvm.QatConfig, reentrant: bool) -> None:
    batches = [_batch(name) for _ in range(5)]
    model = TRAINABLES[name].make()
    plain, saving = (irnn_tvm.prepare_qat(model, config, batches[0]) for _ in range(2))
    for twin in (plain, saving):
        optimizer = torch.optim.SGD(twin.parameters(), 0.05)
        for batch in batches:
            optimizer.zero_grad()
            args = tuple(t.clone().requires_grad_(reentrant) for t in batch)
            y = checkpoint(twin, *args, use_reentrant=reentrant) if twin is saving else twin(*args)
            loss = loss_of(y)
            loss.backward()
            optimizer.step()
            twin.step(loss)
    assert _seen(plain) == _seen(saving)
    assert len(plain.recent) == len(saving.recent)
    for (label, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(a, b), label


# --- torch.compile -------------------------------------------------------------------------------------------------


def test_a_compiled_twin_is_the_twin() -> None:
    model, batches = TRAINABLES["lstm"].make(), [_batch("lstm") for _ in range(4)]
    plain, inner = (irnn_tvm.prepare_qat(model, OBSERVED, batches[0]) for _ in range(2))
    compiled = torch.compile(inner, backend="eager")
    start = time.perf_counter()
    for module, twin in ((plain, plain), (compiled, inner)):
        optimizer = torch.optim.SGD(module.parameters(), 0.05)
        for batch in batches:
            optimizer.zero_grad()
            loss = loss_of(module(*batch))
            loss.backward()
            optimizer.step()
            twin.step(loss)
    assert time.perf_counter() - start < 60
    for a, b in zip(plain.parameters(), inner.parameters(), strict=True):
        assert torch.equal(a, b)
    compiled.eval()
    assert torch.equal(compiled(*batches[0]), plain.eval()(*batches[0]))


# --- Refusals ------------------------------------------------------------------------------------------------------

NO_CALLS: dict[str, tuple[str, Any]] = {
    "no time steps": ("lstm", (torch.zeros(4, 0, 7),)),
    "no batch": ("gru", (torch.zeros(0, 9, 7),)),
    "no features": ("lstm", (torch.zeros(4, 9, 0),)),
    "2 dimensions": ("lstm", (torch.zeros(9, 7),)),
    "4 dimensions": ("gru", (torch.zeros(1, 4, 9, 7),)),
    "other features": ("lstm", (torch.zeros(4, 9, 8),)),
    "integers": ("lstm", (torch.zeros(4, 9, 7, dtype=torch.int64),)),
    "booleans": ("gru", (torch.zeros(4, 9, 7, dtype=torch.bool),)),
    "float ids": ("language-model", (torch.zeros(9, 4), (torch.zeros(2, 4, 10), torch.zeros(2, 4, 10)))),
    "ids beyond the table": (
        "language-model",
        (torch.full((9, 4), 19), (torch.zeros(2, 4, 10), torch.zeros(2, 4, 10))),
    ),
    "negative ids": (
        "language-model",
        (torch.full((9, 4), -1), (torch.zeros(2, 4, 10), torch.zeros(2, 4, 10))),
    ),
    "a state of another batch": (
        "language-model",
        (torch.zeros(9, 4, dtype=torch.int64), (torch.zeros(2, 3, 10), torch.zeros(2, 3, 10))),
    ),
    "no state": ("language-model", (torch.zeros(9, 4, dtype=torch.int64), None)),
}


@pytest.mark.parametrize("steps", [1, 3], ids=["observe", "frozen"])
@pytest.mark.parametrize("call", NO_CALLS)
def test_train_mode_refuses_what_eval_mode_refuses(call: str, steps: int) -> None:
    name, args = NO_CALLS[call]
    twin = train_twin(name, OBSERVED, steps)
    seen, recent = _seen(twin), len(twin.recent)
    messages = []
    for training in (True, False):
        with pytest.raises(irnn_tvm.InputError) as error:
            twin.train(training)(*args)
        messages.append(str(error.value))
    if "cannot run" not in messages[0]:
        assert messages[0] == messages[1]
    assert len(twin.recent) == recent
    if "other" not in call:
        assert _seen(twin) == seen


def test_double_precision_trains_as_it_evaluates() -> None:
    twin = train_twin("lstm", OBSERVED, 3)
    (x,) = _batch("lstm")
    assert torch.equal(twin(x.double()), twin(x))
    assert torch.equal(twin.eval()(x.double()), twin(x))


# --- Loops that forget something -----------------------------------------------------------------------------------


def test_steps_that_nobody_counts_are_noticed_once() -> None:
    twin = irnn_tvm.prepare_qat(TRAINABLES["gru"].make(), OBSERVED, _batch("gru"))
    optimizer = torch.optim.SGD(twin.parameters(), 0.05)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            optimizer.zero_grad()
            loss_of(twin(*_batch("gru"))).backward()
            optimizer.step()
    (warning,) = caught
    assert "twin.step() was not called: it stays at step 0, in phase 'observe'" in str(warning.message)


def test_loops_that_count_are_left_in_peace() -> None:
    """Accumulated gradients, and a cell that is called once per time step."""
    twin = irnn_tvm.prepare_qat(
        TRAINABLES["gru"].make(), irnn_tvm.QatConfig(QUANT, observe_steps=3), _batch("gru")
    )
    optimizer = torch.optim.SGD(twin.parameters(), 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", irnn_tvm.errors.QualityWarning)
        for _ in range(4):
            optimizer.zero_grad()
            for _ in range(12):
                loss_of(twin(*_batch("gru"))).backward()
            optimizer.step()
            twin.step()
        irnn_tvm.convert(twin)


def test_converting_before_ranges_are_frozen_warns() -> None:
    twin = train_twin("gru", irnn_tvm.QatConfig(QUANT, observe_steps=5), 2)
    with pytest.warns(UserWarning, match="step 2, in phase 'observe'; its ranges freeze at step 5"):
        irnn_tvm.convert(twin)
    twin.calibrate([_batch("gru")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        irnn_tvm.convert(twin)


# --- calibrate, report ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "with_example"),
    [
        ("language-model", True),
        ("cells", False),
        *(pytest.param(n, e, marks=EXHAUSTIVE) for n in ("lstm", "convolutions") for e in (True, False)),
    ],
)
def test_calibrate_makes_evaluation_work_at_once(name: str, with_example: bool) -> None:
    """And gives what quantize gives: the same observers see the same batches."""
    batches = [_batch(name) for _ in range(6)]
    model = TRAINABLES[name].make().eval()
    twin = irnn_tvm.prepare_qat(model, OBSERVED, batches[0] if with_example else None)
    twin.calibrate(batches)
    args = _batch(name)
    expected = irnn_tvm.quantize(model, batches, OBSERVED.quant).float_forward(*args)
    for a, b in zip(leaves(twin.eval()(*args)), leaves(expected), strict=True):
        assert torch.equal(a, b)
    assert twin.steps == 0
    twin.train()
    optimizer = torch.optim.SGD(twin.parameters(), 0.05)
    for batch in batches[:3]:
        optimizer.zero_grad()
        loss = loss_of(twin(*batch))
        loss.backward()
        optimizer.step()
        twin.step(loss)
    assert twin.phase == "frozen"


def test_calibrate_forgets_what_was_seen() -> None:
    twin = train_twin("lstm", OBSERVED, 3)
    (x,) = _batch("lstm")
    twin.calibrate([100.0 * x])
    wide = twin.report()[0].scale
    twin.calibrate([x])
    assert twin.report()[0].scale == pytest.approx(wide / 100.0)


def test_a_calibration_that_fails_leaves_the_ranges() -> None:
    twin = train_twin("lstm", OBSERVED, 3).eval()
    (x,) = _batch("lstm")
    before = twin(x)
    for batches, error, text in (
        ([], irnn_tvm.CalibrationError, "empty"),
        ([x, x * torch.nan], irnn_tvm.CalibrationError, "NaN or infinity"),
        ([x[0]], irnn_tvm.InputError, "2 dimensions"),
        ([(x, x)], irnn_tvm.InputError, ""),
        (x, irnn_tvm.CalibrationError, "for a single batch pass"),
    ):
        with pytest.raises(error, match=text):
            twin.calibrate(batches)
        assert torch.equal(twin(x), before)


def test_a_report_during_training(capsys: pytest.CaptureFixture[str]) -> None:
    twin = train_twin("lstm", OBSERVED, 1)
    with pytest.raises(irnn_tvm.CalibrationError, match="no ranges were seen"):
        irnn_tvm.prepare_qat(TRAINABLES["lstm"].make(), OBSERVED, _batch("lstm")).report()
    rows = twin.report()
    assert {"cell state", "output"} <= {row.tensor for row in rows}
    assert twin.training
    twin.print_report()
    assert "Tagger at step 1 (observe)" in capsys.readouterr().out
    for _ in range(2):
        twin(*_batch("lstm"))
        twin.step()
    assert irnn_tvm.convert(twin).report == twin.report()
    assert irnn_tvm.convert(twin, report=False).report == []


def test_evaluation_in_inference_mode_spoils_nothing() -> None:
    twin = train_twin("lstm", OBSERVED, 3)
    (x,) = _batch("lstm")
    with torch.inference_mode():
        inside = twin.eval()(x)
    assert torch.equal(inside, twin(x))
    loss_of(twin.train()(x)).backward()
    irnn_tvm.convert(twin)
