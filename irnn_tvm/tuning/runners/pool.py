"""A pool of worker processes: what runs there may crash or hang."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from irnn_tvm.tuning.outcome import Failure, Outcome, collect, guarded


class Pool:
    """Runs functions in processes of their own, each for at most `timeout` seconds, and starts others for those that
    crash or hang."""

    def __init__(self, workers: int, timeout: float, failures: tuple[Failure, Failure, Failure]) -> None:
        """failures: kinds for an error, a crash and a hang."""
        from tvm.support.popen_pool import PopenPoolExecutor

        # Outputs of workers are the compiler's and the emulator's words; errors arrive by the pool.
        self._pool = PopenPoolExecutor(
            workers, timeout=timeout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._waiting = ThreadPoolExecutor(workers)
        self._failures = failures
        os.environ.setdefault("OMP_NUM_THREADS", "1")

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Outcome]:
        """The function's result as an outcome: None, a sequence of numbers or an Outcome."""
        future = self._pool.submit(guarded, function, *arguments)
        return self._waiting.submit(collect, future, *self._failures)

    def close(self) -> None:
        """Ends all workers."""
        self._waiting.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False)
