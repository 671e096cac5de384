"""tune: searches for faster kernels of a model's operators, on this machine, on devices or under an emulator."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irnn_tvm import targets
from irnn_tvm.boundary import public
from irnn_tvm.compiler.tuned import logs_name
from irnn_tvm.errors import TuningError
from irnn_tvm.tuning import logs as logs_of
from irnn_tvm.tuning import records
from irnn_tvm.tuning.rpc import RPC
from irnn_tvm.tuning.runners.make import check_runner

DEFAULT_TRIALS = 256
RESTARTS = 3  # of a session in a row that finishes no trial


@dataclass(frozen=True)
class TunedTask:
    """A task and what was found: seconds or instructions per call of the default and of the best choice (None: the
    default itself failed)."""

    label: str
    calls: int
    candidates: int
    default: float | None
    best: float | None
    choice: str

    @property
    def speedup(self) -> float:
        """How many times faster than by default; 1 where nothing was."""
        return 1.0 if not self.default or not self.best else self.default / self.best


@dataclass(frozen=True)
class TuningResult:
    """What `tune` returns. logs: the folder of the target's database; trials: finished ones, failed ones among them;
    failures: of each kind, how many; metric: "wall clock" (seconds), "cycles" or "instructions"."""

    target: str
    logs: Path
    metric: str
    device: str
    cpu: str
    trials: int
    failures: Mapping[str, int]
    tasks: tuple[TunedTask, ...]


@public
def tune(
    model: Any,
    target: str = "host",
    *,
    trials: int | None = None,
    rpc: RPC | None = None,
    runner: str | None = None,
    command: str | None = None,
    board: str = "board",
    logs: str | Path | None = None,
    seconds: float | None = None,
    resume: bool | str = False,
    batch: int | None = None,
    seq_len: int | None = None,
    max_seq_len: int | None = None,
    calibration: Iterable[Any] | None = None,
    config: Any = None,
    workers: int | None = None,
    timeout: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> TuningResult:
    """Measures candidates for the kernels of a model and logs every one; `build` takes the fastest from then on.

    model, batch, seq_len, max_seq_len, calibration, config: as for `build`. target: one with kernels of one kind; for
    "host" and "x86" it is the kind that this machine runs ("x86-avx512" and the like).
    trials: candidates that are measured, the defaults among them; None: 256, or as many as the job that is resumed was
    started with. seconds: how long the call may take in all; the search stops in time for the best to be measured once
    more, and that has fewer rounds where time is short.
    rpc: devices that measure wall-clock time; runner: "local" (wall-clock time here), "emulator" (instructions under
    QEMU); default: devices if there are any, else local where the target runs here, else the emulator.
    command: for microcontrollers (runner="command", which is the default then), what builds a firmware of the files in
    {folder}, flashes it to a board of yours, and prints what the board says (docs/tuning.md); board: its name in the
    records.
    logs: folder of logs, in which each target has one of its own; default: see `irnn_tvm.tuning.logs.user_folder`.
    resume: goes on with the latest unfinished job of the same model, target and way of measuring, or with the one of
    this id. workers: processes that build candidates (default: one per core). timeout: seconds for a measurement.
    progress: draws on the terminal.

    The search runs in a process of its own, which is started again where the compiler takes it down. Interrupted
    (Ctrl-C, kill), nothing that was measured is lost. Raises TuningError where it cannot start, and what `build` raises
    for models that it refuses; ToolNotFoundError where the emulator is not installed.
    """
    from irnn_tvm.compiler.build_library import resolve_program
    from irnn_tvm.frontend import save_program
    from irnn_tvm.frontend.sizes import check_sizes
    from irnn_tvm.tuning.progress import Progress

    started = time.monotonic()
    if importlib.util.find_spec("xgboost") is None:
        raise TuningError("tuning needs XGBoost: pip install 'irnn-tvm[tune]', or pip install xgboost")
    chosen = tuning_target(target)
    check_sizes(batch=batch, seq_len=seq_len, max_seq_len=max_seq_len)
    if trials is not None and trials < 1:
        raise TuningError(f"trials must be at least 1, got {trials}")
    if seconds is not None and not seconds > 0:
        raise TuningError(f"seconds must be positive, got {seconds}")
    if timeout is not None and not timeout > 0:
        raise TuningError(f"timeout must be positive, got {timeout}")
    if command is not None:
        if rpc is not None or runner not in (None, "command"):
            raise TuningError("command= measures on a board: give neither rpc= nor another runner=")
        settings: dict[str, Any] = {"kind": "command", "command": command, "device": board}
        settings |= {} if timeout is None else {"timeout": timeout}
    else:
        settings = _runner(chosen, rpc, runner, timeout)
    check_runner(settings, chosen)
    program, specs = resolve_program(
        model, batch=batch, seq_len=seq_len, max_seq_len=max_seq_len, calibration=calibration, config=config
    )
    folder = logs_of.folder_for(logs, chosen.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuningError(f"logs cannot be written to {folder}: {error.strerror or error}") from None
    with _locked(folder), tempfile.TemporaryDirectory(prefix="irnn-tuning-job-") as job:
        save_program(program, Path(job) / "program.pt2", specs)
        same = _same(program, chosen.name, settings)
        identity = _job_id(folder, same, resume)
        trials = trials or _trials_of(folder, identity) or DEFAULT_TRIALS
        values = {
            "target": chosen.name,
            "trials": trials,
            "seconds": seconds,
            "logs": str(folder),
            "runner": settings,
            "id": identity,
            "seed": seed,
            "workers": workers or os.cpu_count() or 1,
            "started": started,
        }
        records.write(Path(job) / "job.json", json.dumps(values).encode())
        _remember(folder, same, identity, trials, finished=False)
        with Progress(chosen.name, trials, shown=progress) as shown:
            start, end = _sessions(Path(job), shown)
        _remember(folder, same, identity, trials, finished=True)
    return _result(chosen.name, folder, start, end, identity)


def tuning_target(name: str) -> targets.Target:
    """The target whose kernels are tuned: of several, those that this machine runs."""
    target = targets.get(name)
    if target.name == "host":
        same = logs_name(target)
        if same is None:
            raise TuningError("host has no vector instructions that kernels are written for: nothing to tune")
        return targets.get(same)
    if target.variants:
        runs = [targets.get(v) for v in target.variants if targets.get(v).runs_natively]
        if not runs:
            raise TuningError(f"{name} is one of {', '.join(target.variants)}: name one of them")
        return runs[0]
    if target.kind == "sources":
        raise TuningError(f"{name} is compiled by others: there is nothing to measure here")
    return target


def _runner(
    target: targets.Target, rpc: RPC | None, runner: str | None, timeout: float | None
) -> dict[str, Any]:
    """Settings for `make_runner`."""
    if rpc is not None and runner not in (None, "rpc"):
        raise TuningError(f"rpc= measures on devices, and runner={runner!r} does not: give one of them")
    kind = runner or ("rpc" if rpc is not None else "local" if target.runs_natively else "emulator")
    if kind == "command":
        raise TuningError(
            "runner='command' needs command='./measure.sh {folder}', which measures on your board"
        )
    if kind not in ("local", "emulator", "rpc"):
        raise TuningError(f"runner must be 'local', 'emulator', 'rpc' or 'command', not {kind!r}")
    if kind == "rpc" and rpc is None:
        raise TuningError("runner='rpc' needs rpc=irnn_tvm.RPC(...)")
    if kind == "rpc" and target.is_bare_metal:
        raise TuningError(
            f"{target.name} has no operating system that a server could run on: use runner='emulator'"
        )
    more = {} if timeout is None else {"timeout": timeout}
    return {"kind": kind, **more} | (rpc.settings() if rpc is not None else {})


def _same(program: Any, target: str, settings: Mapping[str, Any]) -> str:
    """A hash that is the same for jobs that one may resume for the other."""
    text = f"{program.graph} {target} {json.dumps(dict(settings), sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _job_id(folder: Path, same: str, resume: bool | str) -> str:
    """Of a new job, or of the one that is resumed."""
    jobs = _jobs(folder)
    if isinstance(resume, str):
        if resume not in {job["id"] for job in jobs.values()}:
            known = ", ".join(sorted(job["id"] for job in jobs.values())) or "none"
            raise TuningError(f"no job {resume!r} in {folder}; there are: {known}")
        return resume
    if resume and same in jobs and not jobs[same]["finished"]:
        return str(jobs[same]["id"])
    return uuid.uuid4().hex[:8]


def _jobs(folder: Path) -> dict[str, Any]:
    """The latest job of each kind."""
    try:
        found = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _trials_of(folder: Path, identity: str) -> int | None:
    """How many trials a job was started with; None for a new one, and where an earlier version did not write it."""
    return next((job.get("trials") for job in _jobs(folder).values() if job["id"] == identity), None)


def _remember(folder: Path, same: str, identity: str, trials: int, *, finished: bool) -> None:
    jobs = _jobs(folder) | {same: {"id": identity, "finished": finished, "trials": trials}}
    records.write(folder / "jobs.json", (json.dumps(jobs, indent=1) + "\n").encode())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One job at a time writes to a folder of logs."""
    import fcntl

    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TuningError(f"{folder} is in use by another tuning job") from None
        yield


def _sessions(job: Path, shown: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs sessions until one ends. Returns the events of its start and end."""
    start: dict[str, Any] = {}
    fruitless = 0
    while True:
        trials, ended = 0, None
        command = [sys.executable, "-m", "irnn_tvm.tuning.session", str(job)]
        with (job / "errors.txt").open("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    event = _event(line)
                    if event is None:
                        continue
                    shown.hear(event)
                    trials += event["event"] == "trial"
                    start = event if event["event"] == "start" else start
                    ended = event if event["event"] == "end" else ended
                    if event["event"] == "error":
                        raise TuningError(event["message"])
                code = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
            errors.seek(0)
            said = [line.strip() for line in errors if line.strip()]
        if code == 0 and ended is not None:
            return start, ended
        fruitless = 0 if trials else fruitless + 1
        if fruitless >= RESTARTS:
            last = said[-1] if said else "it said nothing"
            raise TuningError(f"the tuning process ended {fruitless} times with code {code}: {last}")
        shown.restarted(code, said[-1] if said else "")


def _event(line: str) -> dict[str, Any] | None:
    """What a session said; None for words of libraries."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _result(
    target: str, folder: Path, start: Mapping[str, Any], end: Mapping[str, Any], identity: str
) -> TuningResult:
    from irnn_tvm.tuning.trials import failures

    how = start["metric"], start["device"], start["cpu"]
    known = [record for record in records.read(folder) if record.how == how]
    winners = records.best(known)
    tasks = []
    for task in end["tasks"]:
        these = [record for record in known if record.task == task["key"]]
        default = records.default_of(these).value if these else None
        winner = winners.get((task["key"], how))
        tasks.append(
            TunedTask(
                task["label"],
                task["calls"],
                task["size"],
                default,
                None if winner is None else winner.value,
                "" if winner is None else winner.choice.text(),
            )
        )
    counts: dict[str, int] = {}
    said = ""
    for failure in failures(folder):
        if failure.get("job") == identity:
            counts[failure["failure"]] = counts.get(failure["failure"], 0) + 1
            said = f"{failure['failure']}: {failure['message']}"
    if tasks and counts and not any(task.default or task.best for task in tasks):
        raise TuningError(
            f"nothing was measured: all {sum(counts.values())} trials failed, the last one like this: {said}"
        )
    return TuningResult(target, folder, *how, int(end["done"]), counts, tuple(tasks))
