"""What becomes of candidates that misbehave, on this machine and on a device; the device survives them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from serving import free_port, started

from irnn_tvm.errors import TuningError
from irnn_tvm.targets import get
from irnn_tvm.tuning.outcome import Failure
from irnn_tvm.tuning.preflight import check, preflight
from irnn_tvm.tuning.rpc import RPC, address
from irnn_tvm.tuning.runners.base import Runner, Work
from irnn_tvm.tuning.runners.local import LocalRunner
from irnn_tvm.tuning.runners.rpc import RPCRunner, measure

LibraryThat = Callable[[str], tuple[Path, Path]]
HOST = get("host")
EXPECTED = {
    "crash": Failure.run_crashed,
    "hang": Failure.run_timed_out,
    "idle": Failure.wrong_result,
    "error": Failure.run_failed,
}


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    """A tracker with two devices of the key "here"."""
    port, first, second = free_port(), free_port(), free_port()
    at = f"127.0.0.1:{port}"
    with started("rpc-tracker", "--port", str(port), port=port):
        servers = [
            ("rpc-server", "--port", str(p), "--tracker", at, "--key", "here") for p in (first, second)
        ]
        with started(*servers[0], port=first), started(*servers[1], port=second):
            time.sleep(1)
            yield at


def outcomes(runner: Runner, library_that: LibraryThat) -> dict[str, Failure | None]:
    found = {}
    for behaviour in EXPECTED:
        folder, data = library_that(behaviour)
        [outcome] = runner.run([Work(folder, data, 1)])
        assert outcome.message
        found[behaviour] = outcome.failure
    return found


def test_local(library_that: LibraryThat) -> None:
    runner = LocalRunner(timeout=8)
    try:
        assert outcomes(runner, library_that) == EXPECTED
    finally:
        runner.close()


def test_over_rpc(tracker: str, library_that: LibraryThat) -> None:
    """A crash ends a session and not the server; a session that lasts too long is ended by the server."""
    runner = RPCRunner(HOST, tracker=tracker, key="here", session_timeout=5.0)
    try:
        assert outcomes(runner, library_that) == EXPECTED
        folder, data = library_that("error")
        again = runner.run([Work(folder, data, 1)] * 2)
        assert {outcome.failure for outcome in again} == {Failure.run_failed}, "both devices still answer"
    finally:
        runner.close()


@pytest.mark.exhaustive
def test_preflight(tracker: str) -> None:
    found = preflight(RPC(tracker=tracker, key="here"), HOST)
    assert found.lines[1] == "2 device(s) with key 'here'"
    assert any(line.startswith("versions match: tvm 0.27") for line in found.lines)
    with pytest.raises(TuningError, match=r"has no device with key 'rpi4'; it has: here"):
        preflight(RPC(tracker=tracker, key="rpi4"), HOST)
    with pytest.raises(TuningError, match=r"the device is x86_64 .*, and arm is for aarch64 or arm64"):
        preflight(RPC(tracker=tracker, key="here"), get("arm"))
    with pytest.raises(TuningError, match="nothing listens there"):
        preflight(RPC(server=f"127.0.0.1:{free_port()}"), HOST)


def test_devices_that_are_not_fit() -> None:
    from irnn_tvm.tuning.device.info import info

    arm = {**info(), "machine": "aarch64", "cpu": "Cortex-A72", "flags": ["asimd"]}
    with pytest.raises(TuningError, match=r"the device \(Cortex-A72\) lacks asimddp, which arm needs"):
        check(arm, get("arm"))
    fit = {**arm, "flags": ["asimd", "asimddp"]}
    assert len(check(fit, get("arm"))) == 4
    small = {**arm, "machine": "armv7l", "cpu": "Cortex-A9", "flags": ["vfp", "vfpv3d16"]}
    with pytest.raises(TuningError, match=r"the device \(Cortex-A9\) lacks neon, idiva, which armv7 needs"):
        check(small, get("armv7"))
    # A 32-bit program on a 64-bit kernel.
    assert len(check({**small, "machine": "armv8l", "flags": ["neon", "idiva"]}, get("armv7"))) == 4
    with pytest.raises(TuningError, match=r"the device has tvm 0.26.0, this machine 0.27"):
        check({**fit, "tvm": "0.26.0"}, get("arm"))
    with pytest.raises(TuningError, match="5 MiB of disk free"):
        check({**fit, "free_bytes": 5 << 20}, get("arm"))
    slow = {**fit, "governor": "powersave", "khz": "600000", "most_khz": "1800000"}
    assert check(slow, get("arm"))[-1].startswith(
        "clock: 600 of 1800 MHz, governor powersave; set it to perf"
    )


@pytest.mark.exhaustive
def test_a_device_that_goes_away_and_comes_back(library_that: LibraryThat) -> None:
    port = free_port()
    folder, data = library_that("error")
    work = Work(folder, data, 1)
    with started("rpc-server", "--port", str(port), port=port):
        runner = RPCRunner(HOST, server=f"127.0.0.1:{port}", session_timeout=8.0, connect_timeout=5.0)
        assert runner.run([work])[0].failure is Failure.run_failed
    try:
        gone = runner.run([work])[0]
        assert gone.failure in (Failure.no_device, Failure.device_lost)
        with started("rpc-server", "--port", str(port), port=port):
            assert runner.run([work])[0].failure is Failure.run_failed
    finally:
        runner.close()


@pytest.mark.parametrize("text", ["host", "host:", ":9190", "host:port", "host:0", "host:70000"])
def test_addresses(text: str) -> None:
    with pytest.raises(TuningError, match="is no address: write host:port"):
        address(text)


def test_rpc_settings() -> None:
    with pytest.raises(TuningError, match="either tracker="):
        RPC()
    with pytest.raises(TuningError, match="needs the key="):
        RPC(tracker="host:9190")


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of something that accepts connections and answers with `answer`, or never (None)."""
    server = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                held.append(server.accept()[0])
                if answer is not None:
                    with suppress(OSError):
                        held[-1].sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        for one in [*held, server]:
            one.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, b"\xff" * 64, None])
def test_what_answers_is_no_server(answer: bytes | None, library_that: LibraryThat) -> None:
    """Garbage, or silence, in the place of a device: an error before tuning, and no device for a candidate."""
    folder, data = library_that("error")
    with listening(answer) as at:
        rpc = RPC(server=at, connect_timeout=2.0)
        with pytest.raises(TuningError, match=r"no (free )?device"):
            preflight(rpc, HOST)
        outcome = measure(rpc.settings(), str(folder), str(data), 1, False)
        assert outcome.failure == Failure.no_device


def test_a_tracker_whose_devices_are_all_held(tracker: str, library_that: LibraryThat) -> None:
    from tvm import rpc as tvm_rpc

    folder, data = library_that("error")
    host, port = address(tracker)
    connection = tvm_rpc.connect_tracker(host, port)
    held = [connection.request("here", session_timeout=60) for _ in range(2)]
    waiting = RPC(tracker=tracker, key="here", connect_timeout=1.5)
    assert measure(waiting.settings(), str(folder), str(data), 1, False).failure == Failure.no_device
    del held
