"""How much of a difference between two character error rates is chance?

    python benchmarks/speech_noise.py [--size standard] [--model attention-both] [--bits 8] [--pieces 16] [--work DIR]

Decodes the test part with the float attention model and with the built libraries of its integer versions (trained by
`python -m irnn_tvm.examples.speech`, taken from its checkpoints), alone and together with CTC. A row: the difference
of the error rates in points, its standard error over the clips (bootstrap samples of clips, the same ones for both),
and the share of clips whose number of errors is another one. A free-running decoder turns one near tie into another
sentence, so that this is the finest difference that the test part resolves.
"""

from __future__ import annotations

import sys

import numpy as np

from irnn_tvm.examples.speech.attention_job import BEAM, GREEDY, AttentionJob
from irnn_tvm.examples.speech.attention_library import recognize_all
from irnn_tvm.examples.speech.ctc_job import CtcJob
from irnn_tvm.examples.speech.error_rate import edit_distance
from irnn_tvm.examples.speech.recipe import MODELS, load_with_bar
from irnn_tvm.examples.speech.settings import SETTINGS
from irnn_tvm.examples.training import command

SAMPLES = 2000


def paired(errors: np.ndarray, reference: np.ndarray, characters: np.ndarray) -> tuple[float, float]:
    """Difference of two error rates in points, and its standard error. int [clips] each: errors, and what was said."""
    difference = errors - reference
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(characters), (SAMPLES, len(characters)))
    sampled = difference[chosen].sum(1) / characters[chosen].sum(1)
    return 100 * float(difference.sum() / characters.sum()), 100 * float(sampled.std())


def main(arguments: list[str] | None = None) -> None:
    models = tuple(name for name in MODELS if name.startswith("attention"))
    options = command.parse("Noise of character error rates.", models, tuple(SETTINGS), arguments)
    for model in options.models(models) if options.chosen_models else ("attention-both",):
        language, settings = model.partition("-")[2], SETTINGS[options.size]
        data = load_with_bar(language, options.size)
        for seed in options.seeds(settings.seeds):
            encoder = CtcJob(data, settings, f"ctc-{language}", seed, options.device)
            job = AttentionJob(
                data, settings, model, seed, options.device, ctc=(encoder, options.folder(encoder))
            )
            folder = options.folder(job)
            trained, _ = job.train_float(folder / "float", True, print)
            spoken = job.spoken()
            characters = np.array([len(text) for text in spoken])

            def errors(texts: list[str], spoken: list[str] = spoken) -> np.ndarray:
                return np.array([edit_distance(got, said) for got, said in zip(texts, spoken, strict=True)])

            reference = {}
            for metric in (GREEDY, BEAM):
                reference[metric] = errors(job.float_texts(trained, metric))
                rate = 100 * reference[metric].sum() / characters.sum()
                print(f"{model}, seed {seed}, float: {metric} {rate:.2f}", flush=True)
            for variant in options.variants():
                libraries = job.build(job.integer(trained, variant, folder))
                for metric, width in ((GREEDY, 1), (BEAM, settings.beam)):
                    got = errors(recognize_all(libraries, job.tested(), width))
                    points, deviation = paired(got, reference[metric], characters)
                    print(
                        f"{model}, seed {seed}, {variant.stage} {variant.bits} bits, {variant.pieces} pieces: "
                        f"{metric} {points:+.2f} points, standard error {deviation:.2f}, "
                        f"{100 * (got != reference[metric]).mean():.0f} % of the clips differ",
                        flush=True,
                    )


if __name__ == "__main__":
    main(sys.argv[1:])
