"""The recipe's command: which models, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import data as recordings
from irnn_tvm.examples.speech.attention_job import AttentionJob
from irnn_tvm.examples.speech.ctc_job import BEAM, RECIPE, CtcJob
from irnn_tvm.examples.speech.data import CHOICES, Data
from irnn_tvm.examples.speech.error_rate import constant_answers
from irnn_tvm.examples.speech.settings import SETTINGS
from irnn_tvm.examples.training import command
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import add_baseline, choose, run_stages

KINDS = ("ctc", "attention")
MODELS = tuple(f"{kind}-{language}" for language in CHOICES for kind in KINDS)
# Both languages together, unless others are asked for: the networks learn more from twice the recordings.
DEFAULT = tuple(f"{kind}-both" for kind in KINDS)


def run_recipe(options: command.Options) -> Results:
    """Trains, quantizes and measures what has no row yet. Returns all rows of the recipe."""
    settings = SETTINGS[options.size]
    results = Results(options.results(RECIPE))
    chosen = options.models(MODELS) if options.chosen_models else DEFAULT
    loaded: dict[str, Data] = {}
    for seed in options.seeds(settings.seeds):
        for model in chosen:
            kind, _, language = model.partition("-")
            if language not in loaded:
                loaded[language] = load_with_bar(language, options.size)
                print(f"{language}: {describe(loaded[language])}")
            data = loaded[language]
            ctc = CtcJob(data, settings, model, seed, options.device)
            _sanity(results, ctc, language)
            folder = options.folder(ctc)
            if kind == "ctc":
                run_stages(ctc, options.variants(), results, folder, options.resume)
                _measure_beam(ctc, options, results)
            else:
                encoder = CtcJob(data, settings, f"ctc-{language}", seed, options.device)
                attention = AttentionJob(
                    data, settings, model, seed, options.device, ctc=(encoder, options.folder(encoder))
                )
                attention.run(options.variants(), results, folder, options.resume)
    return results


def make_job(model: str | None, options: command.Options, seed: int, documents: int | None = None) -> CtcJob:
    """A CTC job for the tools that work on any recipe; documents: test recordings that are used (None: all).

    InputError for an unknown model and for attention models, which are two networks.
    """
    chosen = DEFAULT[0] if model is None else choose([model], MODELS, "model")[0]
    kind, _, language = chosen.partition("-")
    if kind != "ctc":
        supported = ", ".join(name for name in MODELS if name.startswith("ctc"))
        raise InputError(f"{chosen} is two networks; supported here: {supported}")
    data = load_with_bar(language, options.size)
    if documents is not None:
        data = replace(data, test=data.test[:documents])
    return CtcJob(data, SETTINGS[options.size], chosen, seed, options.device)


def _measure_beam(job: CtcJob, options: command.Options, results: Results) -> None:
    """Rows of the beam search: the same trained models, out of their checkpoints, with the finest tables."""
    variants = options.variants()
    finest = [v for v in variants if v.pieces == max(other.pieces for other in variants)]
    beam = replace(job, metric=BEAM)
    if not options.resume:
        old = results.find(recipe=RECIPE, size=job.size, model=job.model, seed=job.seed, metric=BEAM)
        for row in old:
            del results.rows[row.key]
    run_stages(beam, finest, results, options.folder(job))


def load_with_bar(language: str, size: str) -> Data:
    """The recordings of a language with a progress bar on standard error: the first time takes minutes."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"recordings, {language}", total=1.0)
        return recordings.load(language, SETTINGS[size], lambda share: progress.update(task, completed=share))


def describe(data: Data) -> str:
    """Counts for people: what was found, what was left out, how it is split."""
    found = ", ".join(f"{count} {reason}" for reason, count in sorted(data.counts.items()))
    return f"{len(data.train)} to train, {len(data.valid)} to validate, {len(data.test)} to test ({found})"


def _sanity(results: Results, job: CtcJob, language: str) -> None:
    """Rows of what answers reach that ignore the recording."""
    texts = [recording.clip.text for recording in job.corpus.test]
    for answer, value in constant_answers(job.corpus.training_texts, texts).items():
        add_baseline(results, job, f"{answer} answer, {language}", round(value, 4))


def main(arguments: Sequence[str] | None = None) -> None:
    """The recipe's command."""
    description = "Speech recognition on the Dutch and Czech voices of Fish Fillets, float to integer."
    command.show(run_recipe(command.parse(description, MODELS, tuple(SETTINGS), arguments)))
