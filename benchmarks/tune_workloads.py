"""Tunes the layers of the benchmark tables for some targets and puts the best of every task into the logs that ship.

Wall clock for what this machine runs, instructions under QEMU for the rest. What was measured stays in --work, so that
another run goes on where this one ended; `--ship` alone takes over what is there. Close other programs before tuning by
wall clock. `--compare` builds every layer with and without the shipped logs, and measures both: by turns, one step of a
stream and a sequence of 100.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from layers import integer_model
from peers import ours
from workloads import WORKLOADS

import irnn_tvm
from irnn_tvm.compiler.build_library import resolve_program
from irnn_tvm.examples.training.results import commit
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import edit, measure, records
from irnn_tvm.tuning.instruction_count import count_instructions
from irnn_tvm.tuning.logs import shipped_folder
from irnn_tvm.tuning.tasks import extract

ROUNDS, SLICE = 15, 0.05  # of a comparison, and seconds of a library in each
LEAST = 0.99  # times faster that a layer must be with logs for them to stay
LONGEST = 100  # of sequences of layers that need the whole of them


def tune(name: str, target: str, work: Path, trials: int) -> None:
    """Tunes one layer and says what it gained."""
    started = time.monotonic()
    result = irnn_tvm.tune(
        integer_model(WORKLOADS[name]),
        target,
        trials=trials,
        logs=work,
        max_seq_len=LONGEST,
        resume=True,
        progress=False,
    )
    failed = ", ".join(f"{count} {kind}" for kind, count in result.failures.items()) or "none failed"
    minutes = (time.monotonic() - started) / 60
    print(
        f"{name} {target}: {result.trials} trials in {minutes:.1f} min, {result.metric}, {failed}", flush=True
    )
    for task in result.tasks:
        print(f"    {task.speedup:.3f}x  {task.label}  {task.choice}", flush=True)


def ship(target: str, work: Path, out: Path) -> None:
    """Replaces the shipped logs of a target by the default and the best choice of each task in `work`."""
    kept = work.parent / f"{work.name}.shipped"
    shutil.rmtree(kept, ignore_errors=True)
    (kept / target).mkdir(parents=True)
    edit.save(kept / target, *edit.load(work / target))
    before, after = edit.prune(kept, keep=1)
    shutil.rmtree(out / target, ignore_errors=True)
    shutil.copytree(kept / target, out / target)
    shutil.rmtree(kept)
    print(f"{target}: {after} of {before} records in {out / target}")


def compare(name: str, target: str, logs: Path) -> list[float]:
    """How many times faster a layer is with logs, for both lengths; prints it. Integers are compared, too."""
    model, native = integer_model(WORKLOADS[name]), TARGETS[target].runs_natively
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
        pair = [
            irnn_tvm.build(
                model,
                target,
                out=Path(folder) / folder_name,
                name="layer",
                max_seq_len=LONGEST,
                tuning_logs=use,
            )
            for folder_name, use in (("default", False), ("tuned", logs))
        ]
        told = [kernel["tuned"] for kernel in pair[1].report["kernels"] if kernel["tuned"] != "default"]
        gains = []
        for steps in (1, LONGEST):
            inputs = measure.example_inputs(pair[0], steps)
            first, second = (library.run(*inputs) for library in pair)
            if not np.array_equal(first, second):
                raise SystemExit(f"{name}, {target}: integers differ")
            if native:
                timers = [ours.time_c(library, steps) for library in pair]
                calls = max(1, round(SLICE / timers[0](3)))
                values = [[timer(calls) for timer in timers] for _ in range(ROUNDS)]
                default, tuned = (median(column) for column in zip(*values, strict=True))
            else:
                calls = 100 if steps == 1 else 3
                kind: Literal["step", "run"] = "step" if steps == 1 and pair[0].streamable else "run"
                default, tuned = (count_instructions(library, kind, inputs, calls) for library in pair)
            gains.append(default / tuned)
        row = {"workload": name, "target": target, "T=1": round(gains[0], 3), "T=100": round(gains[1], 3)}
        row |= {"metric": "wall clock" if native else "instructions", "tuned": len(told), "commit": commit()}
        print(json.dumps(row), flush=True)
    return gains


def drop(name: str, target: str, logs: Path) -> None:
    """Takes the choices of a layer's tasks out of logs, of which only the defaults stay."""
    program, _ = resolve_program(
        integer_model(WORKLOADS[name]),
        batch=1,
        seq_len=None,
        max_seq_len=LONGEST,
        calibration=None,
        config=None,
    )
    texts = {task.workload.text for task in extract(program, TARGETS[target])}
    workloads, found = edit.load(logs / target)
    defaults = {key: records.default_of(group).choice for key, group in records.groups(found).items()}
    kept = [
        record
        for record in found
        if record.choice == defaults[record.task, record.how]
        or not any(text in record.task for text in texts)
    ]
    edit.save(logs / target, workloads, kept)
    print(f"{name} {target}: {len(found) - len(kept)} records dropped", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", required=True, choices=[*TARGETS])
    parser.add_argument("--workload", action="append", choices=[*WORKLOADS])
    parser.add_argument("--trials", type=int, default=96, help="per layer (default: 96)")
    parser.add_argument("--work", type=Path, help="folder of everything that was measured")
    parser.add_argument(
        "--out", type=Path, default=None, help="folder of the best (default: the shipped logs)"
    )
    parser.add_argument("--ship", action="store_true", help="measure nothing")
    parser.add_argument(
        "--compare", action="store_true", help="tune nothing: the default against the logs in --out"
    )
    parser.add_argument(
        "--drop", action="store_true", help="with --compare: take choices out that make a whole layer slower"
    )
    arguments = parser.parse_args()
    out = arguments.out or shipped_folder()
    names = arguments.workload or list(WORKLOADS)
    if not arguments.compare and arguments.work is None:
        parser.error("tuning needs --work")
    for target in arguments.target:
        if arguments.compare:
            gains = []
            for name in names:
                found = compare(name, target, out)
                if arguments.drop and min(found) < LEAST:
                    drop(name, target, out)
                    found = compare(name, target, out)
                gains += found
            mean = math.exp(sum(map(math.log, gains)) / len(gains))
            print(f"{target}: geometric mean {mean:.3f}, least {min(gains):.3f}", flush=True)
            continue
        if not arguments.ship:
            for name in names:
                tune(name, target, arguments.work, arguments.trials)
        ship(target, arguments.work, out)


if __name__ == "__main__":
    main()
