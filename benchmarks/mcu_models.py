"""Trained classifiers on emulated microcontrollers: every score of the test part beside this machine's, instructions.

The GRU that tells nine speakers apart (JapaneseVowels) and an LSTM that tells activities apart (accelerometer and
gyroscope of 30 people), trained here with one seed, quantized after training. Prints one JSON object per line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import irnn_tvm
from irnn_tvm.examples.activity import data as activity_data
from irnn_tvm.examples.activity import settings as activity_settings
from irnn_tvm.examples.japanese_vowels import data as vowels_data
from irnn_tvm.examples.japanese_vowels import settings as vowels_settings
from irnn_tvm.examples.training.classification import calibration_batches
from irnn_tvm.examples.training.classification_job import ClassificationJob
from irnn_tvm.examples.training.results import commit
from irnn_tvm.tuning.instruction_count import count_instructions

CASES = {
    "japanese_vowels": ("gru", vowels_data.load, vowels_settings.SIZES),
    "activity": ("lstm", activity_data.load, activity_settings.SIZES),
}
TARGETS = ("cortex-m4", "cortex-m55")


def rows(recipe: str, size: str, targets: list[str]) -> Iterator[dict[str, Any]]:
    """Trains, quantizes, builds, and runs all of the test part."""
    model, load, sizes = CASES[recipe]
    settings = sizes[size]
    settings = replace(settings, hidden=settings.hidden | {model: settings.hidden["gru"]})
    job = ClassificationJob(recipe, settings, load(), model, 0)
    with tempfile.TemporaryDirectory(prefix="irnn-mcu-") as name:
        folder = Path(name)
        network, _ = job.train_float(folder, False, lambda text: print(text, file=sys.stderr))
        network.eval()
        batches = calibration_batches(job.data_set.train, settings.calibration, settings.batch)
        integer = irnn_tvm.quantize(network, batches)
        test = job.data_set.test
        host = irnn_tvm.build(integer, "host", out=folder / "host", name="classifier")
        inputs = [host.inputs[0].quantize(x[None]) for x in test.inputs]
        expected = host.run_many(inputs)
        right = [
            int(y[0].astype(np.int64).sum(axis=0).argmax()) == c
            for y, c in zip(expected, test.labels, strict=True)
        ]
        for target in targets:
            library = irnn_tvm.build(integer, target, out=folder / target, name="classifier")
            found = library.run_many(inputs)
            same = sum(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
            step = inputs[0][:, :1]
            yield {
                "recipe": recipe,
                "model": f"{model} of {settings.hidden[model]}",
                "size": size,
                "seed": 0,
                "target": target,
                "float_accuracy": job.float_value(network),
                "host_accuracy": 100 * float(np.mean(right)),
                "sequences": len(expected),
                "identical_to_host": same,
                "instructions_per_step": round(count_instructions(library, "step", (step,), 50)),
                "steps_of_a_sequence": round(float(np.mean([x.shape[1] for x in inputs])), 1),
                "flash_bytes": library.report["flash_bytes"],
                "ram_bytes": library.report["state_bytes"] + library.report["arena_bytes"],
                "stack_bytes": library.stack_bytes,
                "emulator": library.where.removeprefix("emulated: "),
                "commit": commit(),
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", action="append", choices=list(CASES), help="default: both")
    parser.add_argument("--size", choices=("quick", "standard"), default="standard")
    parser.add_argument("--target", action="append", help="default: cortex-m4 and cortex-m55")
    arguments = parser.parse_args()
    for recipe in arguments.recipe or list(CASES):
        for row in rows(recipe, arguments.size, arguments.target or list(TARGETS)):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
