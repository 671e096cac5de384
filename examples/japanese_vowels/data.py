"""JapaneseVowels: 12 cepstral coefficients over 7 to 29 frames, nine speakers, 270 utterances to train and 370 to
test.

Data: the files in the Python package aeon (BSD-3-Clause), which took them from the UCI Machine Learning Repository
(CC BY 4.0). M. Kudo, J. Toyama, M. Shimbo: Multidimensional curve classification using passing-through regions,
Pattern Recognition Letters 20 (1999). Downloaded, never part of this repository.

Split: the official one; of each speaker's 30 training utterances every sixth is kept for validation.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.download import Package, read_member
from irnn_tvm.examples.training.classification import ClassificationData, Sequences, standardized

PACKAGE = Package(
    "aeon==1.6.0",
    "aeon-1.6.0-py3-none-any.whl",
    "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
    "BSD-3-Clause (package); CC BY 4.0 (data)",
)
SPEAKERS = tuple(str(speaker) for speaker in range(1, 10))
VALIDATION = 6  # of so many utterances of a speaker one is kept for validation


def load() -> ClassificationData:
    """The data set, downloaded on first use. Raises BuildError when it cannot be had or is not what is expected."""
    text = {
        part: read_member(PACKAGE, f"/JapaneseVowels_{part}.ts").decode("utf-8") for part in ("TRAIN", "TEST")
    }
    learning, test = parse_ts(text["TRAIN"]), parse_ts(text["TEST"])
    if (len(learning.labels), len(test.labels)) != (270, 370):
        raise BuildError(
            f"JapaneseVowels has {len(learning.labels)} + {len(test.labels)} utterances, not 270 + 370"
        )
    train, valid = set_apart(learning, VALIDATION)
    source = f"{PACKAGE.requirement} sha256:{PACKAGE.sha256[:12]}"
    return ClassificationData(SPEAKERS, *standardized(train, valid, test), source)


def parse_ts(text: str) -> Sequences:
    """Sequences of a .ts file: dimensions separated by colons, values by commas, the label last; classes from 1."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if start is None:
        raise BuildError("the .ts file has no @data line")
    inputs, labels = [], []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line.strip():
            continue
        *dimensions, label = line.strip().split(":")
        rows = [np.array(values.split(","), np.float32) for values in dimensions]
        if len({len(row) for row in rows}) != 1:
            raise BuildError(f"line {number} of the .ts file has dimensions of different lengths")
        inputs.append(np.stack(rows, axis=1))
        labels.append(int(label) - 1)
    return Sequences(tuple(inputs), tuple(labels))


def set_apart(learning: Sequences, every: int) -> tuple[Sequences, Sequences]:
    """The learning part without every `every`-th sequence of each class, and those."""
    seen: dict[int, int] = defaultdict(int)
    kept: tuple[list[int], list[int]] = ([], [])
    for index, label in enumerate(learning.labels):
        seen[label] += 1
        kept[seen[label] % every == 0].append(index)
    train, valid = (
        Sequences(tuple(learning.inputs[i] for i in part), tuple(learning.labels[i] for i in part))
        for part in kept
    )
    return train, valid
