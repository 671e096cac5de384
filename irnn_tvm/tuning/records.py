"""Tuning logs: MetaSchedule's JSON databases, read and written a line at a time.

A folder per target holds `database_workload.json` and `database_tuning_record.json`, as MetaSchedule writes them. Its
trace is all that MetaSchedule keeps of a candidate, so that everything a record says is in there, as annotations of the
block "workload": what was measured (`irnn.task`), the settings (`irnn.isa` and one for each), and how (`irnn.metric`,
`irnn.device`, `irnn.cpu`, `irnn.versions`, `irnn.round`, `irnn.job`). Reading them takes neither TVM nor MetaSchedule.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from irnn_tvm.errors import TuningError
from irnn_tvm.schedules.choice import Choice

WORKLOADS, RECORDS, FAILURES = "database_workload.json", "database_tuning_record.json", "failures.jsonl"
PREFIX = "irnn."
# Annotations about a record; all others are settings.
ABOUT = ("task", "isa", "metric", "device", "cpu", "versions", "round", "job")
LEAST_GAIN = 0.01  # of time or instructions, below which a choice is no better than the default
SEARCH, FINAL = "search", "final"  # rounds


@dataclass(frozen=True)
class Record:
    """A finished trial. task: key of what was measured; values: seconds or instructions per call; round: "search", or
    "final" for the best ones and the default, measured again, more carefully and in turns."""

    task: str
    choice: Choice
    values: tuple[float, ...]
    metric: str
    device: str
    cpu: str
    versions: str
    round: str = SEARCH
    job: str = ""
    line: str = field(default="", repr=False, compare=False)
    workload: int = field(default=0, repr=False, compare=False)

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The values that a quarter and three quarters of the repeats do not exceed."""
        ordered = sorted(self.values)
        quarter = len(ordered) // 4
        return ordered[quarter], ordered[-1 - quarter]

    @property
    def how(self) -> tuple[str, str, str]:
        """What has to be the same for two records to be compared."""
        return self.metric, self.device, self.cpu


def parse(line: str) -> Record:
    """A line of the table of records. ValueError when it is none of ours."""
    try:
        number, (trace, values, *_) = json.loads(line)
        instructions, decisions = trace
        chosen = {int(index): int(decision) for index, decision in decisions}
        names: dict[str, int] = {}
        notes: dict[str, Any] = {}
        for index, (kind, inputs, attrs, outputs) in enumerate(instructions):
            if kind == "SampleCategorical":
                names[outputs[0]] = int(attrs[0][chosen[index]])
            elif kind == "Annotate" and str(attrs[0]).startswith(PREFIX):
                value = inputs[1]
                key = str(attrs[0]).removeprefix(PREFIX)
                notes[key] = names[value] if value in names else json.loads(value)
        settings = {key: int(value) for key, value in notes.items() if key not in ABOUT}
        return Record(
            task=notes["task"],
            choice=Choice(notes["isa"], settings),
            values=tuple(float(value) for value in values),
            metric=notes["metric"],
            device=notes["device"],
            cpu=notes["cpu"],
            versions=notes["versions"],
            round=notes.get("round", SEARCH),
            job=notes.get("job", ""),
            line=line,
            workload=int(number),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not a record of irnn_tvm: {error!r}") from None


def read(folder: Path) -> list[Record]:
    """The records of a folder; none where there is no such folder.

    Raises TuningError for a file that holds anything else, but for a last line that was never finished.
    """
    path = folder / RECORDS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise TuningError(f"{path} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse(line))
        except ValueError as error:
            if number == len(lines):
                break  # a trial whose record was being written when the process ended
            raise TuningError(f"{path}, line {number}: {error}") from None
    return found


def repair(folder: Path) -> None:
    """Takes a last line that was never finished off both tables: MetaSchedule reads whole lines only."""
    for name in (WORKLOADS, RECORDS, FAILURES):
        path = folder / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        last = data[len(whole) :]
        if last and _is_json(last):
            whole = data + b"\n"
        if whole != data:
            write(path, whole)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def write(path: Path, data: bytes) -> None:
    """Writes a file to a temporary name, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def groups(records: Iterable[Record]) -> dict[tuple[str, tuple[str, str, str]], list[Record]]:
    """By task and way of measuring, in the order in which they were measured."""
    found: dict[tuple[str, tuple[str, str, str]], list[Record]] = {}
    for record in records:
        found.setdefault((record.task, record.how), []).append(record)
    return found


def ranked(group: list[Record]) -> list[Record]:
    """Of records of one task and one way of measuring: those that are faster than the default choice, the fastest
    first, then the default's. Of the final round where there is one. Faster is what gains 1 %, and where times are
    repeated, what takes less in three of four repeats than the default in three of four."""
    default = default_of(group)
    known = [record for record in group if record.round == FINAL] or group
    latest = {record.choice: record for record in known}
    least = default.quartiles[0]
    faster = [
        record
        for record in latest.values()
        if record.choice != default.choice
        and record.value < default.value * (1 - LEAST_GAIN)
        and (record.quartiles[1] < least or default.metric == "instructions")
    ]
    return [*sorted(faster, key=lambda record: record.value), default]


def best(records: Iterable[Record]) -> dict[tuple[str, tuple[str, str, str]], Record]:
    """For each task and way of measuring the first that is `ranked`."""
    return {key: ranked(group)[0] for key, group in groups(records).items()}


def default_of(group: Iterable[Record]) -> Record:
    """The record of the default choice, which is measured before all others: the latest, final one if there is one."""
    these = list(group)
    same = [r for r in these if r.choice == these[0].choice]
    return [*(r for r in same if r.round != FINAL), *(r for r in same if r.round == FINAL)][-1]
