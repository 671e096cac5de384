"""Devices over RPC: wall-clock time, on several of them at a time where a tracker has several."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from irnn_tvm.errors import IrnnError, TuningError
from irnn_tvm.targets import Target
from irnn_tvm.tuning.outcome import Failure, Outcome, last_words
from irnn_tvm.tuning.preflight import preflight
from irnn_tvm.tuning.rpc import RPC, address
from irnn_tvm.tuning.runners.base import WALL_CLOCK, Runner, Work
from irnn_tvm.tuning.runners.local import load_data
from irnn_tvm.tuning.runners.pool import Pool


class RPCRunner(Runner):
    metric = WALL_CLOCK

    def __init__(self, target: Target, timeout: float | None = None, **settings: Any) -> None:
        """timeout: seconds for a candidate, instead of the RPC's session_timeout; settings: those of an RPC. Raises
        TuningError where no device is fit."""
        if timeout is not None:
            settings["session_timeout"] = timeout
        self.rpc = RPC(**settings)
        found = preflight(self.rpc, target)
        self.device = self.rpc.key or str(self.rpc.server)
        self.cpu = found.cpu
        self.parallel = self.rpc.devices
        seconds = self.rpc.session_timeout + self.rpc.connect_timeout + 15
        self._pool = Pool(
            self.parallel, seconds, (Failure.run_failed, Failure.device_lost, Failure.run_timed_out)
        )

    def submit(self, work: Work) -> Future[Outcome]:
        where = self.rpc.settings()
        return self._pool.submit(measure, where, str(work.folder), str(work.data), work.steps, work.careful)

    def close(self) -> None:
        self._pool.close()


class _Late(Exception):
    """The time to connect is over. No OSError: TVM's client would take that for a connection to try again."""


@contextmanager
def session(rpc: RPC) -> Iterator[Any]:
    """An RPC session on a free device. Raises TuningError where none answers in `connect_timeout` seconds."""
    from tvm import rpc as tvm_rpc

    def late(_number: int, _frame: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, rpc.connect_timeout)
    try:
        host, port = address(rpc.tracker or rpc.server or "")
        if rpc.tracker:
            tracker = tvm_rpc.connect_tracker(host, port)
            remote = tracker.request(rpc.key, session_timeout=rpc.session_timeout)
        else:
            remote = tvm_rpc.connect(host, port, rpc.key, session_timeout=rpc.session_timeout)
    except _Late:
        raise TuningError(f"no free device for {rpc.connect_timeout:g} s") from None
    except (RuntimeError, OSError) as error:
        raise TuningError(f"no device: {str(error).splitlines()[0]}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    yield remote


def measure(settings: dict[str, Any], folder: str, data: str, steps: int, careful: bool) -> Outcome:
    """Uploads the library in a folder to a device and times it there."""
    from irnn_tvm.tuning.timing import time_module

    rpc = RPC(**settings)
    report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    inputs, expected = load_data(data)
    library = Path(folder) / report["files"]["library"]
    where = ""
    try:
        with session(rpc) as remote:
            where = _host(remote)
            remote.upload(str(library))
            module = remote.load_module(library.name)
            repeats, least = (7, 30) if careful else (5, 20)
            values = time_module(module, remote.cpu(0), report, inputs, expected, steps, repeats, least)
            return Outcome(tuple(values), where=where)
    except TuningError as error:
        if "not the reference's" in str(error):
            return Outcome(failure=Failure.wrong_result, message=str(error), where=where)
        kind = Failure.no_device if "device" in str(error) else Failure.run_failed
        return Outcome(failure=kind, message=str(error), where=where)
    except IrnnError as error:
        return Outcome(failure=Failure.run_failed, message=str(error), where=where)
    except Exception as error:
        return Outcome(failure=_kind(str(error), rpc), message=last_words(error), where=where)


def _kind(text: str, rpc: RPC) -> Failure:
    """What an error of TVM's RPC means: the server says when time is over; where the connection broke, it is the
    candidate's process that died as long as the server still answers."""
    if "SessionTimeout" in text or "session has expired" in text:
        return Failure.run_timed_out
    host, port = address(rpc.tracker or rpc.server or "")
    try:
        with socket.create_connection((host, port), timeout=3):
            pass
    except OSError:
        return Failure.device_lost
    broken = (
        "kShutdown",
        "Socket",
        "SockChannel",
        "closed",
        "Broken pipe",
        "reset",
        "RPCChannel",
        "EOF",
        "recv",
    )
    return Failure.run_crashed if any(word in text for word in broken) else Failure.run_failed


def _host(remote: Any) -> str:
    from irnn_tvm.tuning.device.info import FUNCTION

    try:
        return str(json.loads(str(remote.get_function(FUNCTION)()))["host"])
    except Exception:  # TVM's own server does not know the function
        return ""
