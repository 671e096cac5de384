"""Builds the library of a candidate: one operator, with the kernels that were chosen for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from irnn_tvm import targets
from irnn_tvm.compiler.build_library import write_module
from irnn_tvm.compiler.pipeline import lower_module
from irnn_tvm.schedules.spaces import Choice, apply
from irnn_tvm.tuning.tasks import Task, extract_module

NAME = "candidate"


@cache
def tasks_of(module: str, target: str) -> dict[str, Task]:
    """The tasks of a program by key. module: file with the imported program, as TVM writes it: a worker needs no torch,
    and one that builds candidate after candidate reads it once."""
    import tvm

    import irnn_tvm.relay_ops.register  # noqa: F401  the operators that the file names

    mod = tvm.ir.load_json(Path(module).read_text(encoding="utf-8"))
    return {task.key: task for task in extract_module(mod, targets.get(target))}


def build(module: str, target: str, key: str, choice: Choice, folder: str, emulated: bool) -> None:
    """Writes the library of task `key` with a choice into a folder, which must be there and empty. emulated: it is
    measured under the target's emulator. Objects that candidates have alike are kept beside the folder."""
    path = Path(folder)
    write(tasks_of(module, target)[key], targets.get(target), choice, path, emulated, path.parent / "objects")


def write(
    task: Task,
    target: targets.Target,
    choice: Choice,
    folder: Path,
    emulated: bool = True,
    cache: Path | None = None,
) -> None:
    """The same of a task. cache: see `write_module`."""
    if not emulated and not target.is_bare_metal:
        target = replace(
            target, emulator=None
        )  # whose program takes as long to link as the kernels to compile

    def choose(_call: Any, isa: Any) -> Any:
        return apply(choice, isa, "candidate")

    lowered = lower_module(
        task.module(),
        max(task.steps, 1),
        target.simd(),
        choose=lambda _streams: choose,
        usual_steps=task.steps,
    )
    write_module(lowered, target, NAME, folder, cache)
