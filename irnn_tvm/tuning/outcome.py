"""What became of a trial: seconds or instructions, or a failure of a known kind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from irnn_tvm.errors import IrnnError


class Failure(StrEnum):
    """Kinds of failed trials; the log has the words that go with each."""

    build_refused = "build refused"  # no such kernel: an error of ours or of TVM
    build_crashed = "compiler crashed"
    build_timed_out = "build timed out"
    wrong_result = "wrong result"
    run_failed = "run failed"
    run_crashed = "candidate crashed"
    run_timed_out = "run timed out"
    device_lost = "device lost"
    no_device = "no device"


@dataclass(frozen=True)
class Outcome:
    """values: seconds or instructions per call, one for each repeat; empty where the trial failed. where: what device
    of several it was."""

    values: tuple[float, ...] = ()
    failure: Failure | None = None
    message: str = ""
    where: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the log of failures."""
        return {"failure": str(self.failure), "message": self.message, "where": self.where}


def collect(future: Future[Any], failed: Failure, crashed: Failure, timed_out: Failure) -> Outcome:
    """Waits for what a worker process returns; failures by how it ended."""
    try:
        found = future.result()
    except TimeoutError as error:
        return Outcome(failure=timed_out, message=last_words(error) or "no answer in time")
    except ChildProcessError as error:
        return Outcome(failure=crashed, message=last_words(error) or "the process ended")
    except Exception as error:
        text = last_words(error)
        # What a worker raises arrives as text, by the pool's ways.
        if (
            "ChildProcessError" in text
            or "Subprocess" in text
            or isinstance(error, BrokenPipeError | EOFError)
        ):
            return Outcome(failure=crashed, message=text)
        kind = Failure.wrong_result if "not the reference's" in text else failed
        return Outcome(failure=kind, message=text)
    return found if isinstance(found, Outcome) else Outcome(tuple(found or ()))


def guarded(function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs in a worker: an error of ours comes back as its text alone."""
    try:
        return function(*arguments)
    except IrnnError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def last_words(error: BaseException) -> str:
    """The last line of a message that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__ if not isinstance(error, TimeoutError) else ""
