"""What can be done with logs: merge, prune, export. Databases stay MetaSchedule's; files are replaced whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from irnn_tvm.errors import TuningError
from irnn_tvm.tuning import records
from irnn_tvm.tuning.records import FINAL, RECORDS, WORKLOADS, Record


def targets_in(root: Path) -> list[str]:
    """Names of the targets that a folder has logs of."""
    if not root.is_dir():
        raise TuningError(f"there is no folder {root}")
    return sorted(path.parent.name for path in root.glob(f"*/{RECORDS}"))


def load(folder: Path) -> tuple[list[str], list[Record]]:
    """Lines of the table of workloads, and the records."""
    try:
        workloads = (folder / WORKLOADS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        workloads = []
    found = records.read(folder)
    for record in found:
        if record.workload >= len(workloads):
            raise TuningError(
                f"{folder / RECORDS} refers to workload {record.workload}, which {WORKLOADS} lacks"
            )
    return workloads, found


def save(folder: Path, workloads: Sequence[str], found: Sequence[Record]) -> None:
    """Writes records with the workloads that they refer to, numbered anew; those of equal workloads share one."""
    numbers: dict[str, int] = {}
    lines = []
    for record in found:
        number = numbers.setdefault(workloads[record.workload], len(numbers))
        _, rest = json.loads(record.line)
        lines.append(json.dumps([number, rest], separators=(",", ":")))
    # A table of records that refers to workloads which are not there yet would be a broken one: workloads first.
    records.write(folder / WORKLOADS, _text(list(numbers)))
    records.write(folder / RECORDS, _text(lines))


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def merge(sources: Sequence[Path], out: Path) -> int:
    """Puts the logs of several folders (with a folder per target each) into one, without doubles. Returns how many
    records there are then. `out` may be one of them."""
    total = 0
    for target in sorted({name for source in sources for name in targets_in(source)}):
        workloads: list[str] = []
        found: list[Record] = []
        seen: set[str] = set()
        for source in sources:
            lines, these = load(source / target)
            for record in these:
                _, rest = json.loads(record.line)
                key = json.dumps([lines[record.workload], rest])
                if key not in seen:
                    seen.add(key)
                    found.append(_moved(record, record.workload + len(workloads)))
            workloads += lines
        save(out / target, workloads, found)
        total += len(found)
    return total


def _moved(record: Record, number: int) -> Record:
    from dataclasses import replace

    return replace(record, workload=number)


def prune(root: Path, keep: int = 3) -> tuple[int, int]:
    """Keeps of each task and way of measuring the default and the `keep` fastest, of the final round where there is
    one. Returns how many records there were and are."""
    before = after = 0
    for target in targets_in(root):
        workloads, found = load(root / target)
        kept = set()
        for group in records.groups(found).values():
            default, ranked = records.default_of(group), records.ranked(group)
            wanted = [default, *ranked[: keep + 1]]
            # What is first in a group is its default: it stays there.
            kept |= {id(group[0]), *(id(r) for r in wanted)}
            kept |= {id(r) for r in group if r.round == FINAL and any(r.choice == w.choice for w in wanted)}
        chosen = [record for record in found if id(record) in kept]
        save(root / target, workloads, chosen)
        before, after = before + len(found), after + len(chosen)
    return before, after
