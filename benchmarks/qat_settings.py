"""Settings of quantization-aware training compared on real data: derivative of the activations, and kind of ranges.

    python benchmarks/qat_settings.py [--model gru] [--seeds 5] [--pieces 4] [--quick] [--json]

Trains the classifiers of examples/japanese_vowels towards 8 bits everywhere with few pieces per activation, where
settings matter most, from the same float model per seed. A row: the setting, the mean cross-entropy of the test part
(finer than accuracy) and the accuracy, both of the integer model, over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import irnn_tvm
from irnn_tvm.examples.japanese_vowels.data import load
from irnn_tvm.examples.japanese_vowels.settings import SIZES
from irnn_tvm.examples.training.classification import VARIANTS, model_accuracy
from irnn_tvm.examples.training.classification_job import ClassificationJob
from irnn_tvm.examples.training.stages import Variant, integer_model

SETTINGS: dict[str, dict[str, Any]] = {
    "observed ranges, slope of the segment": {},
    "observed ranges, true derivative": {"pwl_gradient": "function"},
    "learned ranges, slope of the segment": {"ranges": "learned"},
    "learned ranges, true derivative": {"ranges": "learned", "pwl_gradient": "function"},
}


@dataclass
class SettingsJob(ClassificationJob):
    """The recipe's job with other settings of the twin."""

    changes: tuple[tuple[str, Any], ...] = ()

    def qat_config(self, quant: irnn_tvm.QuantConfig) -> irnn_tvm.QatConfig:
        config = super().qat_config(quant)
        return replace(config, freeze_step=3 * config.observe_steps, **dict(self.changes))


def cross_entropy(model: nn.Module, job: ClassificationJob) -> float:
    """Mean over the test part, of a float or an integer model."""
    run = model.float_forward if isinstance(model, irnn_tvm.IntegerModel) else model
    part, total = job.data_set.test, 0.0
    for x, label in zip(part.inputs, part.labels, strict=True):
        with torch.no_grad():
            scores = run(torch.from_numpy(x[None])).mean(dim=1)
        total += float(F.cross_entropy(scores, torch.tensor([label])))
    return total / len(part.labels)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=VARIANTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, data = SIZES["quick" if arguments.quick else "standard"], load()
    for name in arguments.model or ("gru", "ln-lstm"):
        rows: dict[str, list[tuple[float, float]]] = {}
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                job = ClassificationJob("japanese_vowels", size, data, name, seed)
                model, _ = job.train_float(Path(scratch) / "float", False, lambda _: None)
                rows.setdefault("float", []).append(
                    (cross_entropy(model, job), model_accuracy(model, data.test))
                )
                for stage in ("ptq", "qat"):
                    for label, changes in (
                        SETTINGS.items() if stage == "qat" else {"after training": {}}.items()
                    ):
                        own = SettingsJob(
                            "japanese_vowels", size, data, name, seed, changes=tuple(changes.items())
                        )
                        variant = Variant(stage, "8", arguments.pieces)
                        folder = Path(scratch) / label
                        integer, _, _ = integer_model(own, model, variant, folder, False, lambda _: None)
                        value = (cross_entropy(integer, own), own.library_value(own.build(integer)))
                        rows.setdefault(f"{stage}: {label}", []).append(value)
        for label, values in rows.items():
            row = {
                "model": name, "setting": label, "pieces": arguments.pieces, "bits": 8, "seeds": arguments.seeds,
                "cross_entropy": round(statistics.mean(v[0] for v in values), 4),
                "accuracy": round(statistics.mean(v[1] for v in values), 2), "size": size.name, "data": data.source,
            }  # fmt: skip
            if arguments.json:
                print(json.dumps(row), flush=True)
            else:
                entropy, accuracy = row["cross_entropy"], row["accuracy"]
                print(
                    f"{name:8} {label:48} cross-entropy {entropy:7.4f}  accuracy {accuracy:6.2f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main()
