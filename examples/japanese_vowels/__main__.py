"""JapaneseVowels, float to integer: python -m irnn_tvm.examples.japanese_vowels [--quick] [--model gru] ...
(--help).
"""

from __future__ import annotations

from irnn_tvm.examples.japanese_vowels.data import load
from irnn_tvm.examples.japanese_vowels.settings import SIZES
from irnn_tvm.examples.training.classification import VARIANTS
from irnn_tvm.examples.training.classification_job import ClassificationJob, main, run_jobs
from irnn_tvm.examples.training.command import Options
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import choose

RECIPE = "japanese_vowels"


def make_job(
    model: str | None, options: Options, seed: int, documents: int | None = None
) -> ClassificationJob:
    """One classifier of this recipe; `documents` means nothing here. See irnn_tvm.examples.training.recipes."""
    (name,) = choose((model or VARIANTS[0],), VARIANTS, "model")
    return ClassificationJob(RECIPE, SIZES[options.size], load(), name, seed, options.device)


def run_recipe(options: Options) -> Results:
    """Trains, quantizes and measures what has no row yet. Returns all rows of the recipe."""
    return run_jobs(RECIPE, load, SIZES, options)


if __name__ == "__main__":
    main(RECIPE, load, SIZES, "Nine speakers told apart by two vowels, float to integer.")
