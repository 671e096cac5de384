"""A small data set whose classes a small network tells apart, and a job on it."""

import numpy as np

from irnn_tvm.examples.training.classification import ClassificationData, Sequences
from irnn_tvm.examples.training.classification_job import ClassificationJob, ClassifierSettings
from irnn_tvm.examples.training.loop import LoopSettings

SETTINGS = ClassifierSettings(
    name="quick",
    float_loop=LoopSettings(epochs=6, learning_rate=2e-2, warmup=5),
    qat_loop=LoopSettings(epochs=2, learning_rate=2e-3),
    hidden={"gru": 8, "bigru": 6, "ln-lstm": 8},
    batch=8,
    observe_steps=4,
    calibration=4,
)


def part(count: int, seed: int) -> Sequences:
    """Sequences of 6 or 9 steps around a direction of their class, with noise."""
    rng = np.random.default_rng(seed)
    inputs, labels = [], []
    for index in range(count):
        label = index % 3
        centre = np.eye(3, 4)[label]
        inputs.append((centre + rng.normal(0, 0.6, (6 + 3 * (index % 2), 4))).astype(np.float32))
        labels.append(label)
    return Sequences(tuple(inputs), tuple(labels))


def job(model: str = "gru") -> ClassificationJob:
    data = ClassificationData(("a", "b", "c"), part(90, 0), part(24, 1), part(120, 2), "made up")
    return ClassificationJob("vowels of nobody", SETTINGS, data, model, 0)
