"""Tuning on AArch64 devices behind a tracker: servers of the packages that a Raspberry Pi would install, under QEMU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from aarch64_device import Device
from serving import free_port
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import IntegerModel
from irnn_tvm.cli import app
from irnn_tvm.targets import get
from irnn_tvm.tuning import records
from irnn_tvm.tuning.preflight import preflight

KEY = "board"
pytestmark = [pytest.mark.emulator, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Device:
    require_tool("qemu-aarch64")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("Python for AArch64 comes from Debian's archive, by apt-get and dpkg-deb")
    try:
        return Device(tmp_path_factory.mktemp("device"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"packages for AArch64 cannot be fetched: {error}")


def test_two_devices_of_which_one_ends(
    device: Device, tracker: str, model: IntegerModel, tmp_path: Path
) -> None:
    """Both measure; one is killed in the middle, tuning goes on with the other, and integers are the reference's."""
    logs = tmp_path / "logs"
    rpc = irnn_tvm.RPC(tracker=tracker, key=KEY, devices=2, session_timeout=120, connect_timeout=120)
    ports = free_port(), free_port()
    options = ("--tracker", tracker, "--key", KEY)
    with device.serving(ports[0], *options) as first, device.serving(ports[1], *options):
        deadline = time.monotonic() + 60
        while (found := preflight(rpc, get("arm"))).lines[1] != f"2 device(s) with key {KEY!r}":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert found.cpu == "Cortex-A76"
        assert any("aarch64, Cortex-A76" in line for line in found.lines)

        def kill() -> None:
            table = logs / "arm" / records.RECORDS
            while not table.is_file() or table.read_text().count("\n") < 2:
                time.sleep(0.1)
            os.killpg(first.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        result = irnn_tvm.tune(model, "arm", trials=8, rpc=rpc, logs=logs, progress=False)
        assert not killer.is_alive()
        assert (result.metric, result.device, result.cpu) == ("wall clock", KEY, "Cortex-A76")
        assert result.trials >= 8
        assert set(result.failures) <= {"device lost", "candidate crashed", "run failed"}
        assert all(task.default for task in result.tasks)
        library = irnn_tvm.build(model, "arm", out=tmp_path / "out", tuning_logs=logs)
        command = [
            "bench",
            str(library.directory),
            "--rpc",
            tracker,
            "--key",
            KEY,
            "--steps",
            "5",
            "--json",
        ]
        said = CliRunner().invoke(app, command)
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout)["integers"].startswith("equal to the library")
    x = model.quantize_inputs(torch.randn(1, 30, 12, generator=torch.Generator().manual_seed(2)))[0]
    assert np.array_equal(library.run(x.numpy()), model(x).numpy())
