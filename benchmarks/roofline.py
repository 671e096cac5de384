"""Bytes, products and time of a step per layer, beside what this core can do, and the share that is not products.

Where a target runs on this machine that is time; under QEMU it is instructions, and no roofline. Prints one JSON object
per line with --json, else tables; `--add` takes the rows into benchmarks/results/roofline.jsonl for performance.py.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layers import build, integer_model
from roofline_section import add, count_table, time_table
from workloads import WORKLOADS

from irnn_tvm.examples.training.results import commit
from irnn_tvm.profiling import profile
from irnn_tvm.targets import TARGETS

LENGTHS = (1, 100)


def rows(
    names: list[str], targets: list[str], lengths: list[int], seconds: float
) -> Iterator[dict[str, Any]]:
    """Builds every workload for every target, and profiles it."""
    for name in names:
        workload = WORKLOADS[name]
        model = integer_model(workload)
        for target in targets:
            with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
                library = build(model, workload, target, Path(folder), max(lengths))
                for steps in lengths:
                    found = profile(
                        library.directory, steps=steps, model=model, seconds=seconds, levels=False
                    )
                    yield row(name, steps, found)


def row(name: str, steps: int, found: dict[str, Any]) -> dict[str, Any]:
    """What benchmarks/README.md explains, from a profile."""
    step, ceilings = found["per_step"], found["ceilings"] or {}
    keys = ("weight_bytes", "activation_bytes", "macs", "us", "gbytes_per_s", "gmacs_per_s", "floor_us", "bound_by",
            "roofline_share", "instructions")  # fmt: skip
    return {
        "workload": name,
        "T": steps,
        "target": found["target"],
        "measure": found["measure"],
        **{key: step[key] for key in keys if key in step},
        "elementwise_share": found["elementwise"]["share"],
        "kernels": {entry["op"]: entry["share"] for entry in found["kernels"]},
        "gbytes_per_s_ceiling": step.get("gbytes_per_s_ceiling"),
        "gmacs_per_s_ceiling": ceilings.get("gmacs_per_s"),
        "cpu": found["device"],
        "instruction_set": found["instruction_set"],
        "commit": commit(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: host; repeatable")
    parser.add_argument(
        "--workload", action="append", choices=list(WORKLOADS), help="default: all; repeatable"
    )
    parser.add_argument("--steps", action="append", type=int, help=f"default: {LENGTHS}; repeatable")
    parser.add_argument("--seconds", type=float, default=2.0, help="timing of each length")
    parser.add_argument("--core", type=int, help="run on this core alone")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of tables")
    parser.add_argument(
        "--add", action="store_true", help="keep the rows in benchmarks/results/roofline.jsonl"
    )
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    found = []
    chosen = arguments.workload or list(WORKLOADS)
    for entry in rows(
        chosen, arguments.target or ["host"], arguments.steps or list(LENGTHS), arguments.seconds
    ):
        found.append(entry)
        if arguments.add:
            add([entry])
        if arguments.json:
            print(json.dumps(entry), flush=True)
    if not arguments.json:
        timed = [entry for entry in found if "us" in entry]
        counted = [entry for entry in found if "us" not in entry]
        lines = (time_table(timed) if timed else []) + (count_table(counted) if counted else [])
        print("\n".join(lines))


if __name__ == "__main__":
    main()
