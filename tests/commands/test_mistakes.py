"""What a new user does wrong: one line that says so, exit code 2, and nothing is written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from irnn_tvm.cli import app

MISTAKES = [
    ("bild", "No such command 'bild'. Did you mean 'build'?"),
    ("build", "give either a .pt2 file or --example"),
    ("build model.pt2 --batch many", "Invalid value for '--batch'"),
    ("build model.pt2 --ram -1", "Invalid value for '--ram'"),
    ("build model.pt2 --out model.pt2", "model.pt2 is a file; out= names a directory"),
    ("build model.pt2 --out model.pt2/new", "model.pt2 is a file"),
    ("build model.pt2 --out other", "other is not empty and is not an earlier build"),
    ("build model.pt2 --out /proc/new", "/proc/new cannot be written"),
    ("build other --out new", "ProgramError: other does not exist or is not a file"),
    ("build x.npy --out new", "ProgramError: x.npy is not a .pt2 file"),
    ("build model.pt2 --out new --placement .fast", "placement is for microcontrollers and C sources"),
    ("build model.pt2 --out new -t cortex-m4 --placement a=.x --placement a=.y", "two sections of 'a'"),
    ("build model.pt2 --out new -t cortex-m4 --placement lost=.x", "placement names 'lost'"),
    ("build model.pt2 --out new --stream-weights .qspi", "placement is for microcontrollers"),
    ("build model.pt2 --out new --tuning-logs none", "none"),
    ("build model.pt2 --tuning-logs a --default-kernels", "either --tuning-logs or --default-kernels"),
    ("run out", "Missing option '--input'"),
    ("run out -i lost.npy", "InputError: lost.npy does not exist"),
    ("run out -i other", "other cannot be read as a .npy file"),
    ("run out -i model.pt2", "model.pt2"),
    ("run out -i words.npy", "expected dtype int8, got <U1"),
    ("run out -i x.npy -i x.npy", "has 1 inputs, 2 files were given"),
    ("run out -i x.npy -o y.dat", "outputs are written as .npz, .npy, .csv, .txt, not as .dat"),
    ("run out -i x.npy -o y", "not as no suffix"),
    ("run out -i x.npy -o lost/y.npy", "lost is no directory"),
    ("run model.pt2 -i x.npy", "LoadError: model.pt2 is a file"),
    ("report model.pt2", "LoadError: model.pt2 is a file"),
    ("report lost", "LoadError: lost is not a built library"),
    ("bench other", "LoadError: other holds no report.json"),
    ("bench out --steps 0", "Invalid value for '--steps'"),
    ("bench out --plot a.png", "--model and --plot belong to --profile"),
    ("bench out --profile --plot a.gif", "figures are written as .png, .svg, .pdf, not as .gif"),
    ("bench out --profile --model lost.pt2", "ProgramError: lost.pt2"),
    ("bench out --key k", "--key belongs to --rpc"),
    ("bench out --rpc nowhere", "'nowhere' is no address"),
    ("export out model.pt2", "model.pt2 exists and is not a directory"),
    ("export out other", "other holds other files"),
    ("export out new --layout cmake", "is a shared library; layouts are for firmware"),
    ("export out new --layout cmkae", "'cmkae' is not one of 'plain', 'cmake'"),
    ("export out model.pt2/new", "model.pt2 is a file"),
    ("firmware out", "host is no microcontroller"),
    ("firmware model.pt2 --board lost", "No board 'lost' with a cortex-m4"),
    ("firmware model.pt2 --out other", "the image cannot be written: other is a directory"),
    ("firmware model.pt2 --out lost/a.elf", "the image cannot be written: lost is no directory"),
    ("tune model.pt2 --key k", "--key and --devices belong to --tracker"),
    ("tune model.pt2 --runner command", "runner='command' needs command="),
    ("tune model.pt2 --runner command --command x", "has an operating system"),
    ("tune model.pt2 -t cortex-m4 --command x", "the command has to name {folder}"),
    ("tune model.pt2 --logs model.pt2", "logs cannot be written to model.pt2"),
    ("tune model.pt2 --timeout 0", "timeout must be positive"),
    ("tune model.pt2 --seconds 0", "seconds must be positive"),
    ("tune model.pt2 --batch 2", "model.pt2 is fixed to a batch of 1"),
    ("tune model.pt2 --plot lost/a.png", "lost is no directory"),
    ("logs show lost", "there is no folder lost"),
    ("logs merge lost --out both", "there is no folder lost"),
    ("pwl --function sigmoid --pieces 0", "0 PWL pieces are not supported"),
    ("pwl --function sine", "'sine' is not one of 'sigmoid'"),
    ("rpc-server --tracker 127.0.0.1:9190", "needs --key"),
    ("rpc-server --port 70000", "Invalid value for '--port'"),
    ("rpc-tracker --host 203.0.113.1", "cannot listen on 203.0.113.1"),
    ("rpc-server-build -t cortex-m4 -o server", "no server is built for cortex-m4"),
    ("rpc-server-build -t armv7 -o other", "other is a folder"),
]


@pytest.mark.emulator
@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_one_line_and_exit_code_2(folder: Path, line: str, message: str) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "file").write_text("of somebody")
    np.save(folder / "words.npy", np.array(["a", "b"]))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.startswith("irnn-tvm: ")
    assert len(result.stderr.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv", ".txt"])
def test_outputs_lie_where_it_says(folder: Path, suffix: str) -> None:
    import irnn_tvm

    library = irnn_tvm.load(folder / "out")
    expected = library.run(library.inputs[0].quantize(np.load(folder / "x.npy")))
    result = CliRunner().invoke(app, ["run", "out", "-i", "x.npy", "-o", f"y{suffix}"])
    assert result.exit_code == 0, result.output
    assert f"written to y{suffix}" in result.stdout
    path = folder / f"y{suffix}"
    if suffix == ".npz":
        found = np.load(path)[library.outputs[0].name]
    elif suffix == ".npy":
        found = np.load(path)
    else:
        found = np.loadtxt(path, delimiter="," if suffix == ".csv" else None, dtype=np.int16)
        expected = expected.reshape(found.shape)
    assert np.array_equal(found, expected)


def test_nobody_reads_the_output(folder: Path) -> None:
    command = [sys.executable, "-m", "irnn_tvm.cli", "report", "out", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait() == 1
    assert said == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_no_space_for_the_output(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "irnn_tvm.cli", "targets"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.strip() == "irnn-tvm: ResourceError: the command failed: no space is left on the disk"


def test_interrupted(folder: Path) -> None:
    command = [sys.executable, "-m", "irnn_tvm.cli", "build", "model.pt2", "--out", "new"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not psutil.Process(process.pid).children():  # until it compiles: imports may swallow the signal
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "irnn-tvm: interrupted"
    assert not (folder / "new").exists()
