"""What people see of tuning: the table while it goes on, and the figure of its logs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_records import line
from typer.testing import CliRunner

from irnn_tvm.cli import app
from irnn_tvm.errors import InputError
from irnn_tvm.tuning import records
from irnn_tvm.tuning.figure import best_so_far, plot
from irnn_tvm.tuning.progress import Progress

STEP, LINEAR = "lstm 4 x 24 x 36, step", "linear 1 x 20 x 24, matvec"


def trial(task: str, done: int, seconds: float | None, settings: int) -> dict[str, Any]:
    choice = json.dumps({"isa": "neon", "alone": settings})
    failure = None if seconds else "run timed out"
    values = [seconds] * 3 if seconds else []
    return {"event": "trial", "task": task, "size": 80, "choice": choice, "values": values, "done": done,
            "failure": failure, "message": ""}  # fmt: skip


def heard(progress: Progress) -> None:
    known = {STEP: {"tried": 0, "default": None, "best": None, "choice": ""},
             LINEAR: {"tried": 7, "default": 4e-6, "best": 2e-6, "choice": '{"isa": "neon", "alone": 8}'}}  # fmt: skip
    tasks = [{"label": label, "size": 80, "calls": 1, "key": label} | told for label, told in known.items()]
    progress.hear({"event": "start", "tasks": tasks, "trials": 20, "done": 0, "metric": "wall clock",
                   "device": "rpi4", "cpu": "Cortex-A72"})  # fmt: skip
    for number, seconds in enumerate((20e-6, 16e-6, 19e-6), start=1):
        progress.hear(trial(STEP, number, seconds, number))
    progress.hear(trial(LINEAR, 4, None, 1))


def test_the_table_while_it_goes_on() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=130, color_system=None)
    with Progress("arm", 20, shown=True, console=console) as progress:
        heard(progress)
        progress.restarted(-9, "Killed")
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the tuning process ended with code -9 (Killed); starting again" in said
    last = said[said.rindex("kernels of") :]
    row = next(text for text in last.splitlines() if STEP in text)
    assert all(part in row for part in ("3 of 80", "20.00 us", "16.00 us", "1.25x", "isa neon, alone 2"))
    resumed = next(text for text in last.splitlines() if LINEAR in text)
    assert all(part in resumed for part in ("8 of 80", "4.00 us", "2.00 us", "2.00x", "isa neon, alone 8"))
    assert "arm on rpi4" in last
    assert "4/20" in last
    assert "to go" in last
    assert "failed: 1 run timed out" in last


def test_without_a_terminal_nothing_is_drawn() -> None:
    console = Console(file=io.StringIO(), width=130)
    with Progress("arm", 20, shown=True, console=console) as progress:
        heard(progress)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_the_best_over_the_trials(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "logs" / "arm"
    folder.mkdir(parents=True)
    lines = [line(values=[value]) for value in (2.0, 4.0, 1.0, 1.6)]
    (folder / records.RECORDS).write_text("".join(f"{text}\n" for text in lines))
    found = records.read(folder)
    assert best_so_far(found) == [1.0, 1.0, 2.0, 2.0]
    done = CliRunner().invoke(app, ["logs", "plot", str(tmp_path / "logs"), "-o", str(tmp_path / "t.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    other = CliRunner().invoke(app, ["logs", "plot", str(tmp_path / "logs"), "-t", "host"])
    assert other.exit_code == 2
    assert "has logs of: arm; there are none of 'host'" in other.output
    with pytest.raises(InputError, match="no records"):
        plot([])
