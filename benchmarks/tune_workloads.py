"""Tunes the layers of the benchmark tables for some targets and puts the best of every task into the logs that ship.

Wall clock for what this machine runs, instructions under QEMU for the rest. What was measured stays in --work, so that
another run goes on where this one ended; `--ship` alone takes over what is there. Close other programs before tuning by
wall clock.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from layers import integer_model
from workloads import WORKLOADS

import irnn_tvm
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import edit
from irnn_tvm.tuning.logs import shipped_folder

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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", required=True, choices=[*TARGETS])
    parser.add_argument("--workload", action="append", choices=[*WORKLOADS])
    parser.add_argument("--trials", type=int, default=96, help="per layer (default: 96)")
    parser.add_argument("--work", type=Path, required=True, help="folder of everything that was measured")
    parser.add_argument(
        "--out", type=Path, default=None, help="folder of the best (default: the shipped logs)"
    )
    parser.add_argument("--ship", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    for target in arguments.target:
        if not arguments.ship:
            for name in arguments.workload or WORKLOADS:
                tune(name, target, arguments.work, arguments.trials)
        ship(target, arguments.work, arguments.out or shipped_folder())


if __name__ == "__main__":
    main()
