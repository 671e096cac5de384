"""Objects that candidates share: the libraries are the same as without."""

from __future__ import annotations

from pathlib import Path

from tuned_networks import everything

from irnn_tvm.schedules.choice import Choice
from irnn_tvm.targets import get
from irnn_tvm.tuning.candidates import NAME, write
from irnn_tvm.tuning.tasks import Task, extract

TARGET = "x86-avx2"


def library(task: Task, choice: Choice, folder: Path, cache: Path | None) -> bytes:
    folder.mkdir()
    write(task, get(TARGET), choice, folder, False, cache)
    return (folder / f"lib{NAME}.so").read_bytes()


def test_libraries_are_the_same(tmp_path: Path) -> None:
    """Made with an empty cache, with a full one, and without any; another choice does not take what does not fit."""
    task = next(t for t in extract(everything(), get(TARGET)) if t.family == "matvec")
    default, cache = task.spaces[0].default(), tmp_path / "objects"
    first = library(task, default, tmp_path / "first", cache)
    kept = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert len(kept) == 3  # the interface in C, what TVM calls, and the weights
    assert library(task, default, tmp_path / "again", cache) == first
    assert library(task, default, tmp_path / "without", None) == first
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == kept
    lanes = task.spaces[0].settings["chosen_lanes"][-1]
    other = Choice(default.isa, {**default.values, "chosen_lanes": lanes})
    assert library(task, other, tmp_path / "other", cache) == library(task, other, tmp_path / "bare", None)
    assert len(list(cache.iterdir())) > 3  # weights that lie in another order
