"""Result rows: one JSON object per line and measured figure, with all that is needed to measure it again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import irnn_tvm
from irnn_tvm.errors import InputError


@dataclass(frozen=True)
class Row:
    """One figure.

    - recipe, size (quick, standard or full), model, seed: what was trained.
    - stage: "baseline", "float", "ptq" or "qat"; the last two are measured with the built library for `host`.
    - bits: "32" float; "8/16" 8-bit products with 16-bit gates and cell; "8" everything 8 bits wide; "" for baselines.
    - pieces: of each piecewise-linear table, 0 where there is none.
    - metric, value: what was measured on the test part.
    - size_bytes: weights, biases, multipliers and tables, each array once.
    - seconds: of training this stage, all its runs together.
    - commit: of the code; data: archive and checksum; note: what else must be known.
    """

    recipe: str
    size: str
    model: str
    stage: str
    bits: str
    pieces: int
    metric: str
    value: float
    size_bytes: int
    seed: int
    commit: str
    data: str
    seconds: float
    note: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells rows apart: a later row of the same key replaces an earlier one."""
        return self.recipe, self.size, self.model, self.stage, self.bits, self.pieces, self.metric, self.seed


class Results:
    """The rows of a file, which may be missing yet. Raises InputError for a line that is not a row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[Any, ...], Row] = {}
        for row in read_rows(path):
            self.rows[row.key] = row

    def find(self, **wanted: Any) -> list[Row]:
        """Rows whose fields have the given values."""
        return [row for row in self.rows.values() if all(getattr(row, k) == v for k, v in wanted.items())]

    def add(self, row: Row) -> None:
        """Appends a row and sees it to the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(row)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.rows[row.key] = row


def read_rows(path: Path) -> list[Row]:
    """The rows of a file in its order; none when it does not exist. Raises InputError for a line that is not a row."""
    if not path.exists():
        return []
    known = {field.name for field in fields(Row)}
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            rows.append(Row(**{key: value for key, value in content.items() if key in known}))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}, line {number} is no result row: {error}") from error
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes a file anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")


def commit() -> str:
    """The commit of this code with "+" for changes on top, or the version of the package outside of a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"version {irnn_tvm.__version__}"
