"""One training loop for all recipes: schedule of the learning rate, clipping, validation, checkpoints, exact
resumption.

A run that was interrupted and resumed gives the very weights of one that was not: batches follow from (seed,
epoch), and a checkpoint holds the model, the optimizer, the random state, what the task carries from batch to
batch, and the position.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from irnn_tvm.errors import InputError, TrainingError
from irnn_tvm.examples.training import checkpoint

LAST, BEST = "last.pt", "best.pt"


class Task(Protocol):
    """What a recipe gives to `fit`: batches, their loss, and a validation metric of which less is better."""

    def begin_epoch(self, epoch: int) -> None:
        """Makes the epoch's batches, from the seed and the epoch alone."""

    def batches(self) -> Sequence[Any]:
        """The epoch's batches; their number is the same in every epoch."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """A scalar to minimise; may keep states for the next batch of the epoch."""

    def validate(self, model: nn.Module) -> float:
        """The metric of a model in eval mode, of which less is better."""

    def carried(self) -> dict[str, Any]:
        """Tensors that go from a batch to the next."""

    def carry(self, state: dict[str, Any]) -> None:
        """Takes back what `carried` gave."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast. warmup: steps over which the rate rises; then a cosine to final_share of learning_rate.

    clip: the largest norm of the gradients. checkpoint_seconds: time between two checkpoints inside an epoch.
    """

    epochs: int
    learning_rate: float
    warmup: int = 0
    final_share: float = 0.02
    clip: float = 1.0
    weight_decay: float = 0.0
    checkpoint_seconds: float = 120.0

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step of `steps`."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, steps - self.warmup)
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * share)


@dataclass
class Progress:
    """Where a run is: the next step of which epoch, and what came of the epochs before. steps: of all whole epochs."""

    epoch: int = 0
    step: int = 0
    best: float = math.inf
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    loss_sum: float = 0.0
    steps: int = 0


def fit(
    task: Task,
    model: nn.Module,
    settings: LoopSettings,
    folder: Path,
    resume: bool = True,
    after_step: Callable[[Tensor], None] | None = None,
    say: Callable[[str], None] | None = None,
    title: str = "training",
    select_best: bool = True,
) -> Progress:
    """Trains `model` in place; afterwards it has the weights of the best validation metric, in eval mode.

    folder: holds LAST (to resume from) and BEST. after_step: called with each loss after the optimizer's step (the
    schedule of quantization-aware training). say: called with one line per epoch. select_best=False keeps the last
    weights instead and validates nothing: ranges that are still open in the best epoch are of no use.

    Raises InputError when `folder` has a checkpoint of other settings, TrainingError when the loss is not finite or
    after_step says so; the last good checkpoint stays.
    """
    optimizer = torch.optim.Adam(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    progress = Progress()
    last, best = folder / LAST, folder / BEST
    if resume and last.exists():
        progress = _restore(checkpoint.load(last, _device(model)), task, model, optimizer, settings)
    elif not resume:
        last.unlink(missing_ok=True)
        best.unlink(missing_ok=True)
    with _bar() as bar:
        line = bar.add_task(title, total=None, info="")
        while progress.epoch < settings.epochs:
            _epoch(task, model, optimizer, settings, progress, last, after_step, bar, line)
            began = time.perf_counter()
            model.eval()
            metric = math.nan
            if select_best:
                with torch.no_grad():
                    metric = task.validate(model)
            progress.seconds += time.perf_counter() - began
            count = len(task.batches())
            progress.history.append(
                {"epoch": progress.epoch, "loss": progress.loss_sum / count, "metric": metric}
            )
            better = metric < progress.best
            progress.best = metric if better else progress.best
            progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0
            progress.steps += count
            if better:
                checkpoint.save(best, {"model": model.state_dict(), "metric": metric})
            _save(last, task, model, optimizer, settings, progress)
            if say is not None:
                loss, checked = (
                    progress.history[-1]["loss"],
                    f", validation {metric:.4f}" if select_best else "",
                )
                say(f"{title}: epoch {progress.epoch} of {settings.epochs}, loss {loss:.4f}{checked}")
    if select_best and best.exists():
        model.load_state_dict(checkpoint.load(best, _device(model))["model"])
    model.eval()
    return progress


def _epoch(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
    progress: Progress,
    last: Path,
    after_step: Callable[[Tensor], None] | None,
    bar: Any,
    line: Any,
) -> None:
    """The rest of an epoch from progress.step on; checkpoints now and then."""
    carried = task.carried() if progress.step else None
    task.begin_epoch(progress.epoch)
    if carried is not None:
        task.carry(carried)
    batches = task.batches()
    steps = settings.epochs * len(batches)
    bar.update(line, total=steps, completed=progress.epoch * len(batches) + progress.step)
    model.train()
    began = saved = time.perf_counter()
    while progress.step < len(batches):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(progress.epoch * len(batches) + progress.step, steps)
        loss = task.loss(model, batches[progress.step])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} in epoch {progress.epoch}, batch {progress.step}")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if after_step is not None:
            after_step(loss.detach())
        progress.step += 1
        progress.loss_sum += value
        bar.update(line, advance=1, info=f"loss {value:.3f}")
        now = time.perf_counter()
        if now - saved > settings.checkpoint_seconds and progress.step < len(batches):
            progress.seconds += now - began
            _save(last, task, model, optimizer, settings, progress)
            began = saved = time.perf_counter()
    progress.seconds += time.perf_counter() - began


def _save(
    path: Path,
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
    progress: Progress,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "carried": task.carried(),
        "settings": _fixed(settings),
        "progress": dict(vars(progress)),
    }
    if torch.cuda.is_available():
        state["cuda_random"] = torch.cuda.get_rng_state()
    checkpoint.save(path, state)


def _restore(
    state: dict[str, Any],
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
) -> Progress:
    if state["settings"] != _fixed(settings):
        raise InputError(
            f"the checkpoint was made with {state['settings']}, this run has {_fixed(settings)}: "
            "use the same settings, another folder, or start anew with --no-resume"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"].cpu())
    if "cuda_random" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_random"].cpu())
    task.carry(state["carried"])
    return Progress(**state["progress"])


def _fixed(settings: LoopSettings) -> dict[str, float]:
    """The settings that decide the result."""
    return {name: value for name, value in vars(settings).items() if name != "checkpoint_seconds"}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _bar() -> Any:
    """A progress bar on standard error; silent where that is not a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
