"""--help of every command ends with examples, and these run as they stand."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from irnn_tvm.cli import EXAMPLES, app
from irnn_tvm.tuning.rpc import RPC
from irnn_tvm.tuning.runners.rpc import session

SERVES = {"rpc-server", "rpc-tracker"}
SLOW = {"demo", "rpc-server-build"}
MEASURES = {"tune", "logs", "bench"}  # takes its time
EMULATED = {"build", "firmware", "tune"}


def run(lines: tuple[str, ...]) -> str:
    said = ""
    for line in lines:
        name, *arguments = shlex.split(line)
        assert name == "irnn-tvm"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        said += result.output
    return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_command_has_examples() -> None:
    names = [command.name for command in app.registered_commands]
    names += [
        f"{g.name or g.typer_instance.info.name} {c.name}"
        for g in app.registered_groups
        for c in g.typer_instance.registered_commands
    ]
    assert sorted(EXAMPLES) == sorted(str(name) for name in names)
    for name, lines in EXAMPLES.items():
        said = CliRunner().invoke(
            app, [*name.split(), "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
        )
        assert lines
        for line in lines:
            assert line in said.output, f"{name}: an example that does not fit a line of 80 columns"
        assert any(line.startswith(f"irnn-tvm {name}") for line in lines)


@pytest.mark.emulator
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive if MEASURES & set(name.split()) else ())
        for name in sorted(set(EXAMPLES) - SERVES - SLOW)
    ],
)
def test_examples_run(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, require_tool: Callable[[str], str]
) -> None:
    monkeypatch.setenv("IRNN_TVM_TUNING_LOGS", str(folder / "logs of the user"))
    if name in EMULATED:
        require_tool("qemu-system-arm")
    if name.startswith("logs"):
        pytest.importorskip("xgboost")
        if name == "logs plot":
            pytest.importorskip("matplotlib")
        require_tool("qemu-system-arm")
        run(("irnn-tvm tune model.pt2 --target cortex-m4 --trials 4 --logs logs",))
        run(("irnn-tvm logs export others --logs logs",))
    run(EXAMPLES[name])


@pytest.mark.exhaustive
@pytest.mark.network
@pytest.mark.parametrize("name", sorted(SLOW))
def test_slow_examples_run(folder: Path, name: str) -> None:
    run(EXAMPLES[name])


def test_servers_listen_and_end_when_they_are_told(folder: Path) -> None:
    """A tracker, a server that registers there and one by itself, both with a key: `bench --rpc` finds out what
    answers. SIGTERM ends them all, and leaves no process behind, not even one that serves a client."""
    ports = [free_port() for _ in range(3)]
    tracker, registered, alone = (f"127.0.0.1:{port}" for port in ports)
    lines = [
        f"rpc-tracker --port {ports[0]}",
        f"rpc-server --port {ports[1]} --tracker {tracker} --key here",
        f"rpc-server --port {ports[2]} --key mine",
    ]
    processes = []

    def bench(place: str, key: str = "") -> Result:
        return CliRunner().invoke(
            app, ["bench", "out", "--rpc", place, "--json", *(["--key", key] if key else [])]
        )

    try:
        for line in lines:
            process = subprocess.Popen(
                [sys.executable, "-m", "irnn_tvm.cli", *line.split()],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            processes.append(process)
            assert process.stdout is not None
            assert "127.0.0.1:" in process.stdout.readline()
        while "it has: here" not in (said := bench(tracker).output):
            assert "it has: none" in said
            time.sleep(0.2)
        for place, key in ((tracker, "here"), (alone, "mine")):
            result = bench(place, key)
            assert result.exit_code == 0, result.output
            assert json.loads(result.stdout)["integers"].startswith("equal to")
        assert "serves clients with a key only: give the --key" in bench(alone).output
        assert "does not serve key 'other'" in bench(alone, "other").output
        assert "has no device with key 'other'; it has: here" in bench(tracker, "other").output
        assert "the tracker's address and that key" in bench(registered, "here").output
        with session(RPC(server=alone, key="mine")):
            for process in processes:
                process.send_signal(signal.SIGTERM)
            assert [process.wait(30) for process in processes] == [-signal.SIGTERM, 143, 143]
            deadline = time.monotonic() + 20
            while (left := [p.pid for p in processes if group_lives(p.pid)]) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert not left
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
