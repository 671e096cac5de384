"""The language model as `run_stages` sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.examples.language_model import corpus as brown
from irnn_tvm.examples.language_model.kneser_ney import KneserNey
from irnn_tvm.examples.language_model.model import VARIANTS, State
from irnn_tvm.examples.language_model.settings import SETTINGS, Settings
from irnn_tvm.examples.language_model.task import LanguageModelTask, Predict, perplexity, predictor
from irnn_tvm.examples.language_model.train_float import train_float
from irnn_tvm.examples.training import command
from irnn_tvm.examples.training.loop import LoopSettings
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import Say, Variant, add_baseline, choose, run_stages
from irnn_tvm.runtime import Library

RECIPE = "language_model"
LIBRARY_BATCH, CHUNK = 10, 50


@dataclass
class LanguageModelJob:
    """One language model with one seed; see irnn_tvm.examples.training.stages.Job."""

    corpus: brown.Corpus
    settings: Settings
    model: str
    seed: int
    device: str = "cpu"
    documents: int | None = None  # of the test part, all when None
    recipe: str = field(default=RECIPE, init=False)
    metric: str = field(default="perplexity", init=False)

    @property
    def size(self) -> str:
        return self.settings.name

    @property
    def data(self) -> str:
        return f"{brown.PACKAGE.name}-{brown.PACKAGE.version} sha256:{brown.PACKAGE.sha256[:12]}"

    def zero_state(self, batch: int) -> State:
        """The state before the first word of `batch` texts, on the device on which the model is trained."""
        shape = (self.settings.layers, batch, self.settings.hidden)
        return torch.zeros(shape, device=self.device), torch.zeros(shape, device=self.device)

    def train_float(self, folder: Path, resume: bool, say: Say) -> tuple[nn.Module, float]:
        model, progress = train_float(
            self.corpus, self.settings, self.model, self.seed, folder, resume, self.device, say
        )
        return model, progress.seconds

    def float_value(self, model: nn.Module) -> float:
        with torch.no_grad():
            return perplexity(
                predictor(model, self.zero_state), self.corpus, "test", documents=self.documents
            )

    def calibration(self, model: nn.Module) -> list[Any]:
        """Consecutive pieces of training texts with the states that the float model is in at their beginnings."""
        task = LanguageModelTask(
            self.corpus, self.zero_state, self.settings.batch, self.settings.steps, self.seed
        )
        task.begin_epoch(0)
        batches, state = [], self.zero_state(self.settings.batch)
        with torch.no_grad():
            for ids, _ in task.batches()[: self.settings.calibration]:
                ids = ids.to(state[0].device)
                batches.append((ids, state))
                state = model(ids, state)[1]
        return batches

    def qat_task(self, model: nn.Module) -> LanguageModelTask:
        settings = self.settings
        return LanguageModelTask(
            self.corpus,
            self.zero_state,
            settings.batch,
            settings.steps,
            self.seed + 1,
            limit=settings.qat_batches,
            cell_limit=settings.cell_limit,
        )

    def qat_loop(self) -> LoopSettings:
        return self.settings.qat_loop

    def quant_config(self, variant: Variant) -> irnn_tvm.QuantConfig:
        return variant.quant()

    def qat_config(self, quant: irnn_tvm.QuantConfig) -> irnn_tvm.QatConfig:
        return irnn_tvm.QatConfig(quant=quant, observe_steps=self.settings.observe_steps)

    def build(self, integer: irnn_tvm.IntegerModel) -> Library:
        return irnn_tvm.build(
            integer, target="host", name="language_model", batch=LIBRARY_BATCH, max_seq_len=CHUNK
        )

    def library_value(self, library: Library) -> float:
        return perplexity(
            library_predictor(library), self.corpus, "test", LIBRARY_BATCH, CHUNK, self.documents
        )


def library_predictor(library: Library) -> Predict:
    """A built library for `perplexity`: integers in, integers from step to step; its logits are dequantized
    outside.
    """
    ids_in, hidden_in, cell_in = library.inputs
    rows = int(ids_in.shape[0])

    def zeros(spec: Any) -> np.ndarray:
        shape = tuple(int(size) for size in spec.shape)
        result: np.ndarray = spec.quantize(np.zeros(shape, np.float32))
        return result

    def predict(ids: Tensor, state: tuple[np.ndarray, np.ndarray] | None) -> tuple[Tensor, Any]:
        padded = np.zeros((rows, ids.shape[1]), ids_in.dtype)
        padded[: len(ids)] = ids.numpy()
        hidden, cell = (zeros(hidden_in), zeros(cell_in)) if state is None else state
        logits, hidden, cell = library.run(padded, hidden, cell)
        return torch.from_numpy(library.outputs[0].dequantize(logits[: len(ids)])), (hidden, cell)

    return predict


def load_corpus(settings: Settings) -> brown.Corpus:
    """The corpus with the settings' vocabulary and part of the training documents."""
    corpus = brown.load(settings.vocabulary)
    return replace(corpus, train=corpus.train[:: settings.every])


def make_job(
    model: str | None, options: command.Options, seed: int, documents: int | None = None
) -> LanguageModelJob:
    """One language model; documents: of the test part. See irnn_tvm.examples.training.recipes."""
    (name,) = choose((model or VARIANTS[0],), VARIANTS, "model")
    settings = SETTINGS[options.size]
    return LanguageModelJob(load_corpus(settings), settings, name, seed, options.device, documents)


def run_recipe(options: command.Options, say: Say = print) -> Results:
    """The whole recipe with the command line's choices; returns all rows."""
    settings = SETTINGS[options.size]
    corpus = load_corpus(settings)
    results = Results(options.results(RECIPE))
    for model in options.models(VARIANTS):
        for seed in options.seeds(settings.seeds):
            job = LanguageModelJob(corpus, settings, model, seed, options.device)
            _add_kneser_ney(job, results)
            run_stages(job, options.variants(), results, options.folder(job), options.resume, say)
    return results


def _add_kneser_ney(job: LanguageModelJob, results: Results) -> None:
    name = "5-gram Kneser-Ney"
    if not results.find(recipe=RECIPE, size=job.size, model=name):
        reference = KneserNey(job.corpus.train, len(job.corpus.words), job.corpus.end, 5)
        add_baseline(results, job, name, round(reference.perplexity(job.corpus.test), 4))


def main(arguments: Sequence[str] | None = None) -> None:
    """The recipe's command."""
    description = "Word-level language models on the Brown corpus, float to integer."
    command.show(run_recipe(command.parse(description, VARIANTS, tuple(SETTINGS), arguments)))
