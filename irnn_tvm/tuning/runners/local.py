"""This machine: wall-clock time, one candidate at a time, each in a process that may crash."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from irnn_tvm.tuning.device.cpu_name import device_name
from irnn_tvm.tuning.outcome import Failure, Outcome
from irnn_tvm.tuning.runners.base import WALL_CLOCK, Runner, Work
from irnn_tvm.tuning.runners.pool import Pool


class LocalRunner(Runner):
    metric = WALL_CLOCK
    device = "this machine"
    alone = True

    def __init__(self, timeout: float = 30.0) -> None:
        self.cpu = device_name()
        self._pool = Pool(1, timeout, (Failure.run_failed, Failure.run_crashed, Failure.run_timed_out))

    def submit(self, work: Work) -> Future[Outcome]:
        return self._pool.submit(measure, str(work.folder), str(work.data), work.steps, work.careful)

    def close(self) -> None:
        self._pool.close()


def measure(folder: str, data: str, steps: int, careful: bool) -> list[float]:
    """Seconds per call of the library in a folder."""
    from tvm import runtime

    from irnn_tvm.tuning.timing import time_module

    report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    inputs, expected = load_data(data)
    module = runtime.load_module(str(Path(folder) / report["files"]["library"]))
    repeats, least = (7, 30) if careful else (5, 20)
    return time_module(module, runtime.cpu(0), report, inputs, expected, steps, repeats, least)


def load_data(path: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs and the outputs that `save_data` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        groups = [[arrays[f"{k}{n}"] for n in range(sum(m.startswith(k) for m in names))] for k in ("i", "o")]
    return groups[0], groups[1]


def save_data(path: Path, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    """Writes what candidates get and must give."""
    arrays = {f"i{n}": a for n, a in enumerate(inputs)} | {f"o{n}": a for n, a in enumerate(outputs)}
    np.savez(path, allow_pickle=False, **arrays)
