"""The runtimes that latency.py times beside ours: one file each, with `prepare`.

prepare(workload, steps, batch) returns an Inference of `steps` time steps of `batch` sequences on one thread. It raises
Unsupported, saying why, for what the runtime cannot run. Where a workload streams, an inference of one step is one step
of a stream: it goes on from the state that the call before it left. All others start from zeros.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import Workload

Array = npt.NDArray[np.float32]


class Unsupported(Exception):
    """A runtime has no way to run a workload."""


@dataclass(frozen=True)
class Inference:
    """Something to call: what is timed is `run`.

    x: float32 [B, T, X]; the next call sees what is written here. output: what run returned, as float32 [B, T, Y].
    """

    x: Array
    run: Callable[[], Any]
    output: Callable[[Any], Array]


@dataclass(frozen=True)
class FilePeer:
    """A runtime that reads a model from files, which may be written elsewhere: `write` needs PyTorch, `load` the
    runtime and NumPy. Both take a workload, time steps, sequences and a folder."""

    name: str
    write: Callable[[Workload, int, int, Path], None]
    load: Callable[[Workload, int, int, Path], Inference]

    def prepare(self, workload: Workload, steps: int, batch: int) -> Inference:
        """See the module."""
        with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
            try:
                self.write(workload, steps, batch, Path(folder))
                return self.load(workload, steps, batch, Path(folder))
            except ImportError as error:
                raise Unsupported(f"{error.name} is not installed") from error


def example(steps: int, batch: int, width: int) -> Array:
    """Inputs float32 [B, T, X], the same ones for every runtime."""
    return np.random.default_rng(0).standard_normal((batch, steps, width)).astype(np.float32)


def only_plain(workload: Workload) -> None:
    """Raises Unsupported for layers that only PyTorch's eager mode and we have."""
    if workload.cell not in ("lstm", "gru"):
        raise Unsupported(f"it has no {workload.cell}; supported: lstm, gru")
