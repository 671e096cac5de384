"""Commands of ours that serve, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress


@contextmanager
def started(
    *arguments: str,
    port: int | None = None,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    seconds: float = 90,
) -> Iterator[subprocess.Popen[bytes]]:
    """`irnn-tvm arguments`, once it answers on its port."""
    process = subprocess.Popen(
        [python, "-m", "irnn_tvm.cli", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with answering(process, port, seconds):
        yield process


@contextmanager
def answering(process: subprocess.Popen[bytes], port: int | None, seconds: float) -> Iterator[None]:
    """Waits until a process with a session of its own answers on its port; ends it, and what it started, afterwards."""
    try:
        deadline = time.monotonic() + seconds
        while port is not None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.2)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
