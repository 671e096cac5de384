"""The float model of a variant, trained or taken from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from irnn_tvm.examples.language_model.corpus import Corpus
from irnn_tvm.examples.language_model.model import LanguageModel
from irnn_tvm.examples.language_model.settings import Settings
from irnn_tvm.examples.language_model.task import LanguageModelTask
from irnn_tvm.examples.training.loop import Progress, fit


def build_model(settings: Settings, variant: str, seed: int, device: str) -> LanguageModel:
    torch.manual_seed(seed)
    model = LanguageModel(
        settings.vocabulary, settings.hidden, settings.layers, variant, settings.dropout, settings.tied
    )
    return model.to(device)


def train_float(
    corpus: Corpus,
    settings: Settings,
    variant: str,
    seed: int,
    folder: Path,
    resume: bool = True,
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
) -> tuple[LanguageModel, Progress]:
    """The model with the best validation perplexity, in eval mode, and how the run went; `folder` has the
    checkpoints.
    """
    model = build_model(settings, variant, seed, device)
    task = LanguageModelTask(
        corpus,
        model.zero_state,
        settings.batch,
        settings.steps,
        seed,
        settings.sampling,
        cell_limit=settings.cell_limit,
    )
    progress = fit(task, model, settings.loop(variant), folder, resume, say=say, title=f"{variant}, float")
    return model, progress
