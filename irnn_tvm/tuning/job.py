"""What a tuning session is to do, as a folder describes it: job.json, program.pt2."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irnn_tvm import targets
from irnn_tvm._version import __version__
from irnn_tvm.tuning import records


@dataclass
class Job:
    """What is to be done. runner: settings for `make_runner`; logs: folder of the target's database; seconds: budget;
    id: of the job, in its records, by which a session knows what is done; started: when `tune` was called
    (time.monotonic, which all processes share), from when the budget counts."""

    folder: Path
    target: str
    trials: int
    seconds: float | None
    logs: Path
    runner: dict[str, Any]
    id: str
    seed: int = 0
    workers: int = 2
    started: float | None = None

    @staticmethod
    def load(folder: Path) -> Job:
        values = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        return Job(**{**values, "folder": folder, "logs": Path(values["logs"])})

    @property
    def module(self) -> str:
        """The imported program (`candidates.tasks_of`)."""
        return str(self.folder / "module.json")


def import_once(job: Job) -> None:
    """Imports program.pt2, unless an earlier session did."""
    if Path(job.module).is_file():
        return
    import tvm

    from irnn_tvm.frontend import load_program
    from irnn_tvm.frontend.import_program import import_program

    mod = import_program(load_program(job.folder / "program.pt2")[0])
    records.write(Path(job.module), tvm.ir.save_json(mod).encode())


def versions() -> str:
    """Of what makes kernels what they are."""
    from importlib.metadata import version

    return f"irnn_tvm {__version__}, tvm {version('apache-tvm')}"


def tvm_target(name: str) -> Any:
    """For MetaSchedule's records."""
    import tvm

    return tvm.target.Target(targets.get(name).tvm_target)
