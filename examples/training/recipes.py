"""The recipes by name, for the tools that work on any of them."""

from __future__ import annotations

from importlib import import_module

from irnn_tvm.examples.training.command import Options
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import Job

# Name -> the function that makes a job: model (None: the first), options, seed, documents (language models only).
RECIPES = {
    "language_model": "irnn_tvm.examples.language_model.job:make_job",
    "japanese_vowels": "irnn_tvm.examples.japanese_vowels.__main__:make_job",
    "activity": "irnn_tvm.examples.activity.__main__:make_job",
    "speech": "irnn_tvm.examples.speech.recipe:make_job",
}


def job_of(recipe: str, model: str | None, options: Options, seed: int, documents: int | None = None) -> Job:
    """A job of a recipe. Raises InputError for an unknown model, BuildError when its data cannot be had."""
    module, _, function = RECIPES[recipe].partition(":")
    job: Job = getattr(import_module(module), function)(model, options, seed, documents)
    return job


def run(recipe: str, options: Options) -> Results:
    """Runs what has no row yet of a recipe and returns all its rows; its module has a `run_recipe` for that."""
    module = RECIPES[recipe].partition(":")[0]
    results: Results = import_module(module).run_recipe(options)
    return results
