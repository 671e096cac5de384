"""The server in C++ on devices without Python: built whole, run by QEMU behind a real tracker."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from native_device import MACHINES, NativeDevice
from serving import free_port, started
from torch import Tensor, nn
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import IntegerModel, TuningError
from irnn_tvm.cli import app
from irnn_tvm.targets import get
from irnn_tvm.tuning import records
from irnn_tvm.tuning.native_server.build import build_server
from irnn_tvm.tuning.outcome import Failure
from irnn_tvm.tuning.preflight import preflight
from irnn_tvm.tuning.runners.base import Work
from irnn_tvm.tuning.runners.rpc import RPCRunner, session

KEY = "board"
pytestmark = [pytest.mark.emulator, pytest.mark.exhaustive]
# What those say who are no clients: nothing, another protocol, a key of impossible length, another key.
NOISE = (
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x71\xf2\x0f\x00" + b"\xff" * 4,
    b"\x71\xf2\x0f\x00\x02\x00\x00\x00no",
)
Once = Callable[[str, Callable[[Path], object]], Path]


class Gated(nn.Module):
    """features [1, T, 12] -> scores, by a GRU and what follows it, of which armv7 has choices, too."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(12, 24, batch_first=True), nn.Linear(24, 20)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.head(torch.relu(self.gru(x)[0])))


@pytest.fixture(scope="module")
def gated() -> IntegerModel:
    torch.manual_seed(8)
    return irnn_tvm.quantize(Gated().eval(), [torch.randn(3, 9, 12) for _ in range(2)])


@pytest.fixture(scope="module", params=list(MACHINES))
def target(request: pytest.FixtureRequest, require_tool: Callable[[str], str]) -> str:
    require_tool(MACHINES[request.param].qemu[0])
    return str(request.param)


@pytest.fixture(scope="module")
def device(target: str, once: Once, tmp_path_factory: pytest.TempPathFactory) -> NativeDevice:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("the C library of a device comes from Debian's archive, by apt-get and dpkg-deb")

    def make(path: Path) -> None:
        arguments = ["rpc-server-build", "--target", target, "--out", str(path)]
        said = CliRunner().invoke(app, arguments)
        assert said.exit_code == 0, said.output
        assert f"{path}: " in said.output

    server = once(f"native-server-{target}", make)
    assert server.stat().st_mode & 0o111
    try:
        return NativeDevice(tmp_path_factory.mktemp(f"native-{target}"), server, target)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the C library cannot be fetched: {error}")


def _wait(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_two_devices_of_which_one_ends(
    device: NativeDevice, target: str, tracker: str, gated: IntegerModel, tmp_path: Path
) -> None:
    """Both measure; one is killed in the middle, tuning goes on with the other, and integers are the reference's."""
    logs = tmp_path / "logs"
    key = f"{KEY}-{target}"
    rpc = irnn_tvm.RPC(tracker=tracker, key=key, devices=2, session_timeout=60, connect_timeout=60)
    ports = free_port(), free_port()
    options = ("--tracker", tracker, "--key", key)
    with device.serving(ports[0], *options) as first, device.serving(ports[1], *options):
        _wait(lambda: preflight(rpc, get(target)).lines[1] == f"2 device(s) with key {key!r}")
        found = preflight(rpc, get(target))
        assert found.cpu == device.cpu
        assert any(line.startswith("versions match: tvm 0.27") for line in found.lines)

        def kill() -> None:
            table = logs / target / records.RECORDS
            while not table.is_file() or table.read_text().count("\n") < 2:
                time.sleep(0.1)
            os.kill(first.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        result = irnn_tvm.tune(gated, target, trials=8, rpc=rpc, logs=logs, progress=False)
        assert not killer.is_alive()
        assert first.wait(10) == -signal.SIGKILL
        assert (result.metric, result.device, result.cpu) == ("wall clock", key, device.cpu)
        assert result.trials >= 8
        assert set(result.failures) <= {"device lost", "candidate crashed", "run failed"}
        assert result.tasks
        assert all(task.default for task in result.tasks)
        stored = records.read(logs / target)
        assert {(record.metric, record.device, record.cpu) for record in stored} == {
            ("wall clock", key, device.cpu)
        }
        library = irnn_tvm.build(gated, target, out=tmp_path / "out", tuning_logs=logs)
        arguments = [
            "bench",
            str(library.directory),
            "--rpc",
            tracker,
            "--key",
            key,
            "--steps",
            "5",
            "--json",
        ]
        said = CliRunner().invoke(app, arguments)
        assert said.exit_code == 0, said.output
        row = json.loads(said.stdout)
        assert row["integers"].startswith("equal to the library")
        assert 0 < row["us_p50"] <= row["us_max"]
    x = gated.quantize_inputs(torch.randn(1, 30, 12, generator=torch.Generator().manual_seed(2)))[0]
    assert np.array_equal(library.run(x.numpy()), gated(x).numpy())


def test_candidates_that_misbehave(
    device: NativeDevice, target: str, tracker: str, library_that: Callable[..., tuple[Path, Path]]
) -> None:
    """Each is a failure of its kind, the server goes on, and nothing is left in its temporary folder."""
    key = f"alone-{target}"
    expected = {
        "crash": Failure.run_crashed,
        "hang": Failure.run_timed_out,
        "idle": Failure.wrong_result,
        "error": Failure.run_failed,
    }
    with device.serving(free_port(), "--tracker", tracker, "--key", key) as server:
        time.sleep(1)
        runner = RPCRunner(get(target), tracker=tracker, key=key, session_timeout=6.0)
        try:
            for behaviour, failure in [*expected.items(), ("error", Failure.run_failed)]:
                folder, data = library_that(behaviour, target)
                [outcome] = runner.run([Work(folder, data, 1)])
                assert (behaviour, outcome.failure) == (behaviour, failure), outcome.message
        finally:
            runner.close()
        assert server.poll() is None
        _wait(lambda: not device.sessions(), 10)


def test_a_server_that_is_killed(device: NativeDevice) -> None:
    """Its session ends with it, and the next one removes what it left."""
    port = free_port()
    rpc = irnn_tvm.RPC(server=f"127.0.0.1:{port}")
    with device.serving(port) as server, session(rpc) as remote:
        remote.upload(bytearray(b"something"), "file")
        server.kill()
        server.wait()
        with pytest.raises(Exception, match=r"kShutdown|Channel|Socket|Connection|recv|reset"):
            remote.upload(bytearray(b"more"), "file")
    assert len(device.sessions()) == 1
    with device.serving(free_port()):
        assert device.sessions() == []


def test_files_and_strangers(device: NativeDevice) -> None:
    """Large files arrive whole, names do not lead out of the folder, and who speaks no RPC does no harm."""
    port = free_port()
    data = bytearray(np.random.default_rng(3).bytes(12_345_678))
    rpc = irnn_tvm.RPC(server=f"127.0.0.1:{port}")
    with device.serving(port):
        for noise in NOISE:
            with socket.create_connection(("127.0.0.1", port)) as stranger, suppress(OSError):
                stranger.sendall(noise)
                stranger.shutdown(socket.SHUT_WR)
                stranger.recv(4)
        with session(rpc) as remote:
            remote.upload(data, "weights.bin")
            assert hashlib.sha256(remote.download("weights.bin")).digest() == hashlib.sha256(data).digest()
            with pytest.raises(Exception, match="is no name of a file in the session's folder"):
                remote.upload(bytearray(b"text"), "../outside")
            with pytest.raises(Exception, match="cannot read nothing"):
                remote.download("nothing")
            remote.upload(bytearray(b"no library"), "it.so")
            with pytest.raises(Exception, match="Failed to load dynamic shared library"):
                remote.load_module("it.so")
            remote.remove("weights.bin")
        del remote
        _wait(lambda: not device.sessions(), 10)


def test_a_device_that_lacks_instructions(device: NativeDevice, target: str) -> None:
    """The server runs on any core, and preflight says what a target's code misses there."""
    less, missing = {"armv7": ("cortex-a9", "idiva"), "arm": ("cortex-a53", "asimddp")}[target]
    port = free_port()
    rpc = irnn_tvm.RPC(server=f"127.0.0.1:{port}")
    with device.serving(port, cpu=less):
        with pytest.raises(TuningError, match=f"lacks {missing}, which {target} needs"):
            preflight(rpc, get(target))
        with pytest.raises(TuningError, match=r"the device is .*, and x86-avx2 is for"):
            preflight(rpc, get("x86-avx2"))
        if target == "arm":
            assert preflight(rpc, get("arm-a53")).lines


def test_it_ends_when_it_is_told_to(device: NativeDevice) -> None:
    """In the middle of a session, too, whose folder goes."""
    port = free_port()
    rpc = irnn_tvm.RPC(server=f"127.0.0.1:{port}")
    with device.serving(port) as server:
        with session(rpc) as remote:
            remote.upload(bytearray(b"something"), "file")
            assert len(device.sessions()) == 1
            server.terminate()
            assert server.wait(10) == 0
        assert device.sessions() == []


def test_a_tracker_that_comes_later(device: NativeDevice, target: str) -> None:
    """A server tries again until its tracker is there, and again when that was started anew."""
    at = free_port()
    rpc = irnn_tvm.RPC(tracker=f"127.0.0.1:{at}", key="late")

    def there() -> bool:
        with suppress(TuningError):
            return preflight(rpc, get(target)).lines[1].startswith("1 device")
        return False

    with device.serving(free_port(), "--tracker", f"127.0.0.1:{at}", "--key", "late"):
        for _ in range(2):
            with started("rpc-tracker", "--port", str(at), port=at):
                _wait(there)


def test_by_another_compiler(
    require_tool: Callable[[str], str],
    library_that: Callable[..., tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What GCC makes of the sources works as well."""
    if shutil.which("arm-linux-gnueabihf-g++") is None:
        pytest.skip("arm-linux-gnueabihf-g++ is not installed (Debian: g++-arm-linux-gnueabihf)")
    require_tool("qemu-arm")
    folder = tmp_path_factory.mktemp("gcc")
    server = build_server("armv7", folder / "server", cxx="arm-linux-gnueabihf-g++ -march=armv7-a+fp")
    device = NativeDevice(folder / "device", server, "armv7")
    port = free_port()
    rpc = irnn_tvm.RPC(server=f"127.0.0.1:{port}", session_timeout=20.0)
    with device.serving(port):
        runner = RPCRunner(get("armv7"), **rpc.settings())
        try:
            for behaviour, failure in (("idle", Failure.wrong_result), ("crash", Failure.run_crashed)):
                [outcome] = runner.run([Work(*library_that(behaviour, "armv7"), 1)])
                assert outcome.failure == failure, outcome.message
        finally:
            runner.close()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--help",), 0, "Whoever can connect may run code as you"),
        (("--version",), 0, "apache-tvm 0.27"),
        (("--port", "70000"), 2, "'70000' is no port"),
        (("--port",), 2, "'--port' needs a value"),
        (("--speed=9",), 2, "unknown option '--speed'"),
        (("--tracker", "host"), 2, "write host:port"),
        (("--tracker=host:9190",), 2, "needs --key"),
        (("--key", "a b"), 2, "only visible ASCII"),
        (("--host", "203.0.113.7"), 1, "cannot listen on 203.0.113.7:9090"),
    ],
)
def test_its_command_line(device: NativeDevice, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = device.run(*arguments)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
