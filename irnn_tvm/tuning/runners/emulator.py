"""The target's emulator: instructions per call, the same on every machine and in every run."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import Literal

import numpy as np

from irnn_tvm.errors import TuningError
from irnn_tvm.targets import Target
from irnn_tvm.tuning.outcome import Failure, Outcome
from irnn_tvm.tuning.runners.base import INSTRUCTIONS, Runner, Work
from irnn_tvm.tuning.runners.local import load_data
from irnn_tvm.tuning.runners.pool import Pool

CALLS = {"step": 20, "run": 3}


class EmulatorRunner(Runner):
    metric = INSTRUCTIONS
    emulated = True

    def __init__(self, target: Target, timeout: float = 120.0, workers: int | None = None) -> None:
        """Raises TuningError for a target without an emulator."""
        if target.emulator is None:
            raise TuningError(f"{target.name} has no emulator; targets that have one: see `irnn-tvm targets`")
        self.device = f"emulator: {target.emulator.qemu} {' '.join(target.emulator.args)}".rstrip()
        self.cpu = target.emulator.machine
        self.parallel = workers or os.cpu_count() or 1
        self._pool = Pool(
            self.parallel, timeout, (Failure.run_failed, Failure.run_crashed, Failure.run_timed_out)
        )

    def submit(self, work: Work) -> Future[Outcome]:
        return self._pool.submit(measure, str(work.folder), str(work.data), work.steps)

    def close(self) -> None:
        self._pool.close()


def measure(folder: str, data: str, steps: int) -> list[float]:
    """Instructions per call of the library in a folder."""
    from irnn_tvm.runtime import load
    from irnn_tvm.tuning.instruction_count import count_instructions
    from irnn_tvm.tuning.timing import check

    library = load(folder, emulate=True)
    inputs, expected = load_data(data)
    found = library.run(*inputs)
    check(list(found) if isinstance(found, tuple) else [np.asarray(found)], expected)
    kind: Literal["step", "run"] = "step" if library.streamable and steps == 1 else "run"
    return [count_instructions(library, kind, inputs, CALLS[kind])]
