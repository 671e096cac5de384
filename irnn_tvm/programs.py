"""Programs that irnn_tvm runs: each has a time limit, and is ended together with whatever it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from irnn_tvm.errors import BuildError, ToolNotFoundError

SECONDS_VARIABLE = "IRNN_TOOL_SECONDS"
SECONDS = 600.0


def limit() -> float:
    """Seconds that a compiler may take: $IRNN_TOOL_SECONDS, else 600. BuildError for what is no positive number."""
    text = os.environ.get(SECONDS_VARIABLE)
    if not text:
        return SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise BuildError(f"{SECONDS_VARIABLE} is {text!r}: it must be a positive number of seconds.")
    return seconds


def run(
    command: Sequence[str],
    what: str,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a compiler, and captures its output. what: the job, for messages.

    ToolNotFoundError when it cannot be started, BuildError when it is not done within `limit` seconds.
    """
    seconds = limit()
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    try:
        # A session of its own: compilers start others of themselves, which would outlive them.
        process = subprocess.Popen(command, stdin=null, stdout=pipe, stderr=pipe, text=True, errors="replace",
                                   cwd=cwd, env=environment, start_new_session=True)  # fmt: skip
    except OSError as error:
        raise ToolNotFoundError(f"The compiler {command[0]} cannot be run: {error}.") from error
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise BuildError(
            f"{what}: {Path(command[0]).name} was still running after {seconds:g} s and was ended. "
            f"Where that is too short, set {SECONDS_VARIABLE}."
        ) from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
