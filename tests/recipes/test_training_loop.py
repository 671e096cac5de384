"""fit: an interrupted run that goes on gives the very weights of one that was never interrupted."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError, TrainingError
from irnn_tvm.examples.training import checkpoint
from irnn_tvm.examples.training.loop import BEST, LAST, LoopSettings, Progress, fit

SETTINGS = LoopSettings(epochs=3, learning_rate=0.05, warmup=2, checkpoint_seconds=0.0)
BATCHES = 5


class Interrupted(Exception):
    """What stops a run in these tests."""


class CarryingTask:
    """A recurrence over batches: the loss depends on what the batch before left behind, and on the random state."""

    def __init__(self, stop_at: int | None = None, poison: int | None = None) -> None:
        self.stop_at, self.poison = stop_at, poison
        self.calls = 0
        self.memory = torch.zeros(3)
        self._batches: list[Tensor] = []

    def begin_epoch(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed(epoch)
        self._batches = [torch.randn(4, 3, generator=generator) for _ in range(BATCHES)]
        self.memory = torch.zeros(3)

    def batches(self) -> Sequence[Tensor]:
        return self._batches

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        if self.calls == self.stop_at:
            raise Interrupted
        self.calls += 1
        out = model(batch + self.memory)
        self.memory = out.detach().mean(0)
        if self.calls == self.poison:
            return out.sum() * math.nan
        return ((out - batch.flip(0)) ** 2).mean()

    def validate(self, model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(torch.ones(1, 3)) ** 2).sum())

    def carried(self) -> dict[str, Any]:
        return {"memory": self.memory}

    def carry(self, state: dict[str, Any]) -> None:
        self.memory = state["memory"]


def model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(3, 6), nn.Dropout(0.5), nn.Linear(6, 3))


def weights(trained: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trained.parameters()])


def run(folder: Path, **task: Any) -> tuple[nn.Module, Progress]:
    built = model()
    progress = fit(CarryingTask(**task), built, SETTINGS, folder, select_best=False)
    return built, progress


@pytest.mark.parametrize("stop_at", [1, 4, 5, 7, 14])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stop_at: int) -> None:
    """Stopped in the middle of an epoch, at its end, in the last step; random state and memory go on too."""
    whole, straight = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", stop_at=stop_at)
    torch.manual_seed(12345)  # another process has another random state
    resumed, progress = run(tmp_path / "parts")
    assert torch.equal(weights(whole), weights(resumed))
    assert [entry["loss"] for entry in progress.history] == [entry["loss"] for entry in straight.history]
    assert progress.steps == SETTINGS.epochs * BATCHES


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    again, _ = run(tmp_path, stop_at=0)
    assert torch.equal(weights(first), weights(again))


def test_best_validation_wins(tmp_path: Path) -> None:
    trained = model()
    progress = fit(CarryingTask(), trained, SETTINGS, tmp_path)
    metrics = [entry["metric"] for entry in progress.history]
    assert progress.best == min(metrics)
    assert CarryingTask().validate(trained) == pytest.approx(min(metrics))
    assert not trained.training


def test_no_resume_starts_anew(tmp_path: Path) -> None:
    run(tmp_path)
    task = CarryingTask()
    fit(task, model(), SETTINGS, tmp_path, resume=False)
    assert task.calls == SETTINGS.epochs * BATCHES


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    other = LoopSettings(epochs=3, learning_rate=0.1, warmup=2)
    with pytest.raises(
        InputError, match=r"the checkpoint was made with .*0\.05.*this run has .*0\.1.*--no-resume"
    ):
        fit(CarryingTask(), model(), other, tmp_path)


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1, batch 2"):
        run(tmp_path, poison=BATCHES + 3)
    state = checkpoint.load(tmp_path / LAST)
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 2)
    assert all(bool(torch.isfinite(t).all()) for t in state["model"].values())


def test_learning_rate_rises_and_falls() -> None:
    settings = LoopSettings(epochs=1, learning_rate=1.0, warmup=4, final_share=0.1)
    rates = [settings.rate(step, 104) for step in range(105)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[54] == pytest.approx(0.55)
    assert rates[104] == pytest.approx(0.1)


def test_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / BEST
    checkpoint.save(path, {"a": torch.ones(2)})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"a": torch.zeros(2)})
    monkeypatch.undo()
    assert checkpoint.load(path)["a"].tolist() == [1, 1]
    assert [entry.name for entry in tmp_path.iterdir()] == [BEST]


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / LAST
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"last\.pt is not a checkpoint of this recipe"):
        checkpoint.load(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="it holds a list"):
        checkpoint.load(path)
