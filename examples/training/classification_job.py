"""A classification recipe as `run_stages` sees it, and its command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import irnn_tvm
from irnn_tvm.examples.training import command
from irnn_tvm.examples.training.classification import (
    VARIANTS,
    ClassificationData,
    ClassificationTask,
    SequenceClassifier,
    calibration_batches,
    library_accuracy,
    model_accuracy,
)
from irnn_tvm.examples.training.loop import LoopSettings, fit
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import Say, Variant, add_baseline, run_stages
from irnn_tvm.runtime import Library


@dataclass(frozen=True)
class ClassifierSettings:
    """One size of a recipe.

    hidden: units by variant. seeds: one training each. observe_steps: see irnn_tvm.QatConfig. calibration: batches.
    """

    name: str
    float_loop: LoopSettings
    qat_loop: LoopSettings
    hidden: dict[str, int]
    batch: int
    dropout: float = 0.0
    seeds: tuple[int, ...] = (0,)
    observe_steps: int = 100
    calibration: int = 32


@dataclass
class ClassificationJob:
    """One classifier with one seed; see irnn_tvm.examples.training.stages.Job."""

    recipe: str
    settings: ClassifierSettings
    data_set: ClassificationData
    model: str
    seed: int
    device: str = "cpu"
    metric: str = field(default="accuracy %", init=False)

    @property
    def size(self) -> str:
        return self.settings.name

    @property
    def data(self) -> str:
        return self.data_set.source

    def _task(self) -> ClassificationTask:
        return ClassificationTask(self.data_set, self.settings.batch, self.seed, self.device)

    def train_float(self, folder: Path, resume: bool, say: Say) -> tuple[nn.Module, float]:
        torch.manual_seed(self.seed)
        data, settings = self.data_set, self.settings
        model = SequenceClassifier(
            self.model, data.features, settings.hidden[self.model], len(data.classes), settings.dropout
        ).to(self.device)
        title = f"{self.recipe} {self.model}, float, seed {self.seed}"
        progress = fit(self._task(), model, settings.float_loop, folder, resume, say=say, title=title)
        return model, progress.seconds

    def float_value(self, model: nn.Module) -> float:
        return model_accuracy(model, self.data_set.test, self.device)

    def calibration(self, model: nn.Module) -> list[Any]:
        return list(calibration_batches(self.data_set.train, self.settings.calibration, self.settings.batch))

    def qat_task(self, model: nn.Module) -> ClassificationTask:
        return self._task()

    def qat_loop(self) -> LoopSettings:
        return self.settings.qat_loop

    def quant_config(self, variant: Variant) -> irnn_tvm.QuantConfig:
        return variant.quant()

    def qat_config(self, quant: irnn_tvm.QuantConfig) -> irnn_tvm.QatConfig:
        return irnn_tvm.QatConfig(quant=quant, observe_steps=self.settings.observe_steps)

    def build(self, integer: irnn_tvm.IntegerModel) -> Library:
        return irnn_tvm.build(integer, target="host", name="classifier")

    def library_value(self, library: Library) -> float:
        return library_accuracy(library, self.data_set.test)


def run_jobs(
    recipe: str,
    load: Callable[[], ClassificationData],
    sizes: dict[str, ClassifierSettings],
    options: command.Options,
    say: Say = print,
) -> Results:
    """The whole recipe with the command line's choices; returns all rows."""
    settings = sizes[options.size]
    data = load()
    results = Results(options.results(recipe))
    for model in options.models(VARIANTS):
        for seed in options.seeds(settings.seeds):
            job = ClassificationJob(recipe, settings, data, model, seed, options.device)
            add_baseline(results, job, "majority class", data.majority())
            run_stages(job, options.variants(), results, options.folder(job), options.resume, say)
    return results


def main(
    recipe: str,
    load: Callable[[], ClassificationData],
    sizes: dict[str, ClassifierSettings],
    description: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """The recipe's command."""
    options = command.parse(description, VARIANTS, tuple(sizes), arguments)
    command.show(run_jobs(recipe, load, sizes, options))
