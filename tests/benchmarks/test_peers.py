"""What is timed beside ours computes the same layers: whole sequences, batches, and streams that keep their states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from latency import PREPARE
from peers import Unsupported
from workloads import Workload

PEERS = list(PREPARE)
STEPS = 12
# Signal to noise in decibels: float32 sums in another order, or 8-bit weights and activations.
LEAST = {"f32": 90.0, "int8": 28.0}
WORKLOADS = (
    Workload("lstm", 32),
    Workload("lstm", 24, layers=2),
    Workload("lstm", 512, layers=2),  # whose cells stay small
    Workload("lstm", 24, bidirectional=True),
    Workload("gru", 32),
)


def close(name: str, output: np.ndarray, expected: np.ndarray) -> bool:
    assert output.shape == expected.shape
    noise = np.square(output - expected).sum()
    least = LEAST["int8" if "int8" in name else "f32"]
    return bool(10 * np.log10(np.square(expected).sum() / max(noise, 1e-30)) > least)


def expected(workload: Workload, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        output: np.ndarray = workload.network()(torch.from_numpy(x)).numpy()
        return output


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize("name", PEERS)
def test_sequences(name: str, workload: Workload, batch: int) -> None:
    try:
        inference = PREPARE[name](workload, STEPS, batch)
    except Unsupported as reason:
        pytest.skip(f"{name}: {reason}")
    x = np.random.default_rng(1).standard_normal(inference.x.shape).astype(np.float32)
    for _ in range(2):  # a second call starts from zeros again
        inference.x[...] = x
        output = inference.output(inference.run())
        assert close(name, output, expected(workload, x))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize("name", PEERS)
def test_streams(name: str, workload: Workload, batch: int) -> None:
    try:
        inference = PREPARE[name](workload, 1, batch)
    except Unsupported as reason:
        pytest.skip(f"{name}: {reason}")
    x = np.random.default_rng(1).standard_normal((batch, STEPS, workload.hidden)).astype(np.float32)
    rows = []
    for t in range(STEPS):
        inference.x[...] = x[:, t : t + 1]
        rows.append(inference.output(inference.run()).copy())
    if workload.bidirectional:  # nothing is kept: every call is a sequence of one step
        singles = [expected(workload, x[:, t : t + 1]) for t in range(STEPS)]
        assert close(name, np.concatenate(rows, axis=1), np.concatenate(singles, axis=1))
    else:
        assert close(name, np.concatenate(rows, axis=1), expected(workload, x))
