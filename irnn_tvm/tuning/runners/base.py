"""What all runners have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.tuning.outcome import Outcome

WALL_CLOCK, CYCLES, INSTRUCTIONS = "wall clock", "cycles", "instructions"


@dataclass(frozen=True)
class Work:
    """A candidate to be measured. folder: of its library; data: .npz file with its inputs and the outputs that are
    expected; steps: time steps of a call; careful: take more and longer repeats."""

    folder: Path
    data: Path
    steps: int
    careful: bool = False


class Runner(ABC):
    """Measures libraries, several at a time where it can.

    metric: "wall clock" (seconds), "cycles" or "instructions"; device: key of the device or name of the emulator; cpu:
    what it is; parallel: how many candidates it takes at a time.
    """

    metric: str
    device: str
    cpu: str
    parallel: int = 1
    # Whether it runs the emulator's program of a library; and whether nothing else may run beside a measurement.
    emulated: bool = False
    alone: bool = False

    @abstractmethod
    def submit(self, work: Work) -> Future[Outcome]:
        """Starts to measure a candidate. The future never raises."""

    def run(self, works: Sequence[Work]) -> list[Outcome]:
        """All of them, in order."""
        return [future.result() for future in [self.submit(work) for work in works]]

    @abstractmethod
    def close(self) -> None:
        """Ends workers and connections."""
