"""tune, and build with what it found. Processes start and end here, which takes minutes: nearly all is exhaustive."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from serving import free_port, started
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import IntegerModel, TuningError
from irnn_tvm.cli import app
from irnn_tvm.tuning import records
from irnn_tvm.tuning.tune import TuningResult, tuning_target

TARGET = "arm"
pytestmark = pytest.mark.emulator


def _wait_for_records(table: Path, count: int, process: subprocess.Popen[Any]) -> None:
    """Until a tuning process has written so many."""
    deadline = time.monotonic() + 120
    while not table.is_file() or table.read_text().count("\n") < count:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def tuned(model: IntegerModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuningResult]:
    """Logs of a dozen candidates, by instructions."""
    logs = tmp_path_factory.mktemp("logs")
    return logs, irnn_tvm.tune(model, TARGET, trials=6, logs=logs, runner="emulator", progress=False)


@pytest.mark.exhaustive
def test_records_of_every_trial(tuned: tuple[Path, TuningResult]) -> None:
    logs, result = tuned
    found = records.read(logs / TARGET)
    searched = [record for record in found if record.round == records.SEARCH]
    assert (result.metric, result.cpu) == ("instructions", "cortex-a76")
    assert len(searched) + sum(result.failures.values()) == result.trials >= 6
    assert {record.device for record in found} == {"emulator: qemu-aarch64 -cpu cortex-a76"}
    assert len({record.job for record in found}) == 1
    for task in result.tasks:
        assert task.default
        assert task.best
        assert task.best <= task.default
    # MetaSchedule reads them, too.
    from irnn_tvm.tuning.search import meta_schedule

    database = meta_schedule().database.JSONDatabase(work_dir=str(logs / TARGET), allow_missing=False)
    assert len(database) == len(found)


@pytest.mark.exhaustive
def test_a_build_by_logs_has_the_same_integers(tuned: tuple[Path, TuningResult], model: IntegerModel) -> None:
    logs, _ = tuned
    default = irnn_tvm.build(model, TARGET, tuning_logs=False)
    library = irnn_tvm.build(model, TARGET, tuning_logs=logs)
    x = model.quantize_inputs(torch.randn(1, 40, 12, generator=torch.Generator().manual_seed(1)))[0]
    expected = model(x).numpy()
    assert np.array_equal(library.run(x.numpy()), expected)
    stream = library.stream()
    assert np.array_equal(stream.step(x[:, :1].numpy()), expected[:, :1])
    said = {kernel["op"]: kernel["tuned"] for kernel in library.report["kernels"]}
    assert {kernel["tuned"] for kernel in default.report["kernels"]} == {"default"}
    assert all(text == "default" or "instructions, emulator: qemu-aarch64" in text for text in said.values())


@pytest.mark.exhaustive
def test_resuming_measures_nothing_twice(tuned: tuple[Path, TuningResult], model: IntegerModel) -> None:
    """Another job takes over what is known, and the finished one cannot be gone on with by itself."""
    logs, result = tuned
    before = [r for r in records.read(logs / TARGET) if r.round == records.SEARCH]
    job = before[0].job
    again = irnn_tvm.tune(
        model, TARGET, trials=result.trials, logs=logs, runner="emulator", progress=False, resume=job
    )
    after = [r for r in records.read(logs / TARGET) if r.round == records.SEARCH]
    assert (len(after), again.trials) == (len(before), result.trials)
    with pytest.raises(TuningError, match="no job 'other'"):
        irnn_tvm.tune(model, TARGET, logs=logs, runner="emulator", resume="other")


@pytest.mark.exhaustive
def test_killed_and_resumed(model: IntegerModel, tmp_path: Path) -> None:
    """kill -9 of the whole thing in the middle: what was measured is there, and the job goes on."""
    graph = tmp_path / "small.pt2"
    irnn_tvm.save_program(model, graph)
    command = [sys.executable, "-m", "irnn_tvm.cli", "tune", str(graph), "-t", TARGET, "--runner", "emulator"]
    command += ["--logs", str(tmp_path / "logs"), "--resume", "--json", "--trials"]
    process = subprocess.Popen([*command, "500"], start_new_session=True, stdout=subprocess.DEVNULL)
    _wait_for_records(tmp_path / "logs" / TARGET / records.RECORDS, 6, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = records.read(tmp_path / "logs" / TARGET)
    assert len(kept) >= 6
    done = subprocess.run([*command, str(len(kept))], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert {record.job for record in records.read(tmp_path / "logs" / TARGET)} == {kept[0].job}
    assert result["trials"] >= len(kept)


@pytest.mark.exhaustive
def test_the_session_is_started_again(model: IntegerModel, tmp_path: Path) -> None:
    """Something takes the process down that the compiler runs in."""
    code = (
        "import sys, irnn_tvm\n"
        "r = irnn_tvm.tune(sys.argv[1], 'arm', trials=10, logs=sys.argv[2], runner='emulator', progress=False)\n"
        "print(r.trials)"
    )
    irnn_tvm.save_program(model, tmp_path / "small.pt2")
    arguments = [str(tmp_path / "small.pt2"), str(tmp_path / "logs")]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    _wait_for_records(tmp_path / "logs" / TARGET / records.RECORDS, 2, process)
    [session] = [
        p for p in psutil.Process(process.pid).children() if "irnn_tvm.tuning.session" in p.cmdline()
    ]
    session.kill()
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert int(said) >= 10


@pytest.mark.exhaustive
def test_the_time_is_over(model: IntegerModel, tmp_path: Path) -> None:
    """Stops early, and what was measured until then counts. The call takes what it was given, finals included."""
    start = time.monotonic()
    result = irnn_tvm.tune(
        model, TARGET, trials=5000, logs=tmp_path, runner="emulator", progress=False, seconds=60
    )
    assert 45 < time.monotonic() - start < 66
    assert 0 < result.trials < 5000
    assert {record.round for record in records.read(tmp_path / TARGET)} == {records.SEARCH, records.FINAL}


@pytest.mark.exhaustive
def test_no_device_for_long(model: IntegerModel, tmp_path: Path) -> None:
    """The server ends in the middle: an error, and nothing is lost."""
    port = free_port()
    with started("rpc-server", "--port", str(port), port=port) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", _TUNE, str(port), str(_saved(model, tmp_path)), str(tmp_path / "logs")],
            stderr=subprocess.PIPE,
            text=True,
        )
        table = tmp_path / "logs" / tuning_target("host").name / records.RECORDS
        _wait_for_records(table, 2, process)
        os.killpg(server.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "candidates in a row found no device" in said
    assert len(records.read(table.parent)) >= 2


_TUNE = """
import sys, irnn_tvm
rpc = irnn_tvm.RPC(server=f"127.0.0.1:{sys.argv[1]}", connect_timeout=2.0)
irnn_tvm.tune(sys.argv[2], "host", trials=5000, rpc=rpc, logs=sys.argv[3], progress=False)
"""


def _saved(model: IntegerModel, folder: Path) -> Path:
    irnn_tvm.save_program(model, folder / "small.pt2")
    return folder / "small.pt2"


@pytest.mark.exhaustive
def test_on_a_device(model: IntegerModel, tmp_path: Path) -> None:
    """Over RPC on this machine: finished shared objects are sent, a whole library is compared and timed."""
    port = free_port()
    target = tuning_target("host")
    with started("rpc-server", "--port", str(port), port=port):
        rpc = irnn_tvm.RPC(server=f"127.0.0.1:{port}")
        result = irnn_tvm.tune(
            model, "host", trials=6, logs=tmp_path / "logs", rpc=rpc, progress=False, seconds=90
        )
        assert (result.metric, result.target) == ("wall clock", target.name)
        library = irnn_tvm.build(model, target.name, out=tmp_path / "out", tuning_logs=tmp_path / "logs")
        arguments = ["bench", str(library.directory), "--rpc", f"127.0.0.1:{port}", "--steps", "5", "--json"]
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0, found.output
        said = json.loads(found.stdout)
    assert said["integers"].startswith("equal to the library here")
    assert 0 < said["us_p50"] <= said["us_p90"] <= said["us_p99"] <= said["us_max"]


@pytest.mark.exhaustive
def test_commands_that_show_logs(tuned: tuple[Path, TuningResult], tmp_path: Path) -> None:
    logs, result = tuned
    shown = CliRunner().invoke(app, ["logs", "show", str(logs), "--json"])
    assert shown.exit_code == 0, shown.output
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(rows) == len(result.tasks)
    exported = CliRunner().invoke(app, ["logs", "export", str(tmp_path / "out"), "--logs", str(logs)])
    assert exported.exit_code == 0, exported.output
    less = CliRunner().invoke(app, ["logs", "show", str(tmp_path / "out"), "--json"])
    fewer = [json.loads(line) for line in less.stdout.splitlines()]
    assert [(row["task"], row["best"]) for row in fewer] == [(row["task"], row["best"]) for row in rows]


@pytest.mark.exhaustive
def test_nothing_to_choose(tmp_path: Path) -> None:
    """32-bit NEON multiplies by a routine without settings: the table says so instead of being empty."""
    from rich.console import Console

    from irnn_tvm.tuning.tables import result_table

    lstm = irnn_tvm.quantize(torch.nn.LSTM(8, 8, batch_first=True).eval(), [torch.randn(1, 4, 8)])
    result = irnn_tvm.tune(lstm, "armv7", trials=4, logs=tmp_path, runner="emulator", progress=False)
    assert (list(result.tasks), result.trials) == ([], 0)
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(result_table(result))
    assert "nothing to tune: on armv7" in console.export_text()


def test_what_cannot_be_tuned(model: IntegerModel, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="c is compiled by others"):
        irnn_tvm.tune(model, "c")
    with pytest.raises(TuningError, match="trials must be at least 1"):
        irnn_tvm.tune(model, TARGET, trials=0)
    with pytest.raises(TuningError, match="runner must be 'local', 'emulator', 'rpc' or 'command'"):
        irnn_tvm.tune(model, TARGET, runner="remote")
    with pytest.raises(TuningError, match="cortex-m4 has no operating system"):
        irnn_tvm.tune(model, "cortex-m4", rpc=irnn_tvm.RPC(server="board:9090"))
    with pytest.raises(TuningError, match="there is no folder"):
        irnn_tvm.build(model, TARGET, tuning_logs=tmp_path / "none")
