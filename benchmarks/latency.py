"""Microseconds of one inference on one core of this machine: ours beside the runtimes that people use instead.

All runtimes take turns in one process that is pinned to a core, so that whatever disturbs the machine disturbs all; a
figure is the median over the rounds. Peers come with `pip install .[bench]`; what is not installed, or cannot run a
workload, is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from peers import Unsupported, ncnn_int8, onnx_runtime, ours, torch_dynamic, torch_eager
from performance import latency_table
from workloads import WORKLOADS, Workload

from irnn_tvm.examples.training.results import commit
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning import measure

LENGTHS = (1, 100)
PREPARE: dict[str, Callable[[Workload, int], Callable[[], object]]] = {
    ours.NAME_PYTHON: ours.prepare_python,
    "torch f32": torch_eager.prepare,
    "torch f32, no oneDNN": torch_eager.prepare_without_onednn,
    torch_dynamic.NAME: torch_dynamic.prepare,
    onnx_runtime.NAME: onnx_runtime.prepare,
    onnx_runtime.NAME_INT8: onnx_runtime.prepare_int8,
    ncnn_int8.NAME: ncnn_int8.prepare,
}
RUNTIMES = (ours.NAME, *PREPARE)
PACKAGES = ("torch", "onnxruntime", "ncnn")


def timers(workload: Workload, steps: int, wanted: list[str]) -> dict[str, Callable[[int], float]]:
    """Runtime to a function of a number of calls that gives the seconds of one."""
    found: dict[str, Callable[[int], float]] = {}
    for name in wanted:
        try:
            found[name] = (
                ours.prepare_c(workload, steps) if name == ours.NAME else _timer(name, workload, steps)
            )
        except Unsupported as reason:
            print(f"{workload.name}: no {name}: {reason}", file=sys.stderr)
    return found


def _timer(name: str, workload: Workload, steps: int) -> Callable[[int], float]:
    call = PREPARE[name](workload, steps)

    def seconds(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    return seconds


def measure_workload(
    workload: Workload, steps: int, wanted: list[str], rounds: int, slice_seconds: float
) -> list[dict[str, Any]]:
    """Rows of one workload and length."""
    running = timers(workload, steps, wanted)
    calls = {}
    for name, timer in running.items():
        timer(2)  # caches, lazily made things
        calls[name] = max(1, round(slice_seconds / timer(3)))
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, timer in running.items():
            times[name].append(timer(calls[name]))
    return [
        {
            "workload": workload.name,
            "T": steps,
            "runtime": name,
            "us_median": round(median(values) * 1e6, 3),
            "us_min": round(min(values) * 1e6, 3),
            "rounds": rounds,
        }
        for name, values in times.items()
    ]


def environment() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": measure.device_name(),
        "machine": platform.machine(),
        "instruction_set": TARGETS["host"].simd(),
        "commit": commit(),
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="default: all")
    parser.add_argument("--runtime", action="append", choices=RUNTIMES, help="default: all")
    parser.add_argument("--steps", action="append", type=int, help="sequence length; default: 1 and 100")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slice", type=float, default=0.05, help="seconds of a runtime in a round")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core to run on")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    found: list[dict[str, Any]] = []
    where = environment()
    for name in arguments.workload or list(WORKLOADS):
        for steps in arguments.steps or LENGTHS:
            rows = measure_workload(
                WORKLOADS[name],
                steps,
                arguments.runtime or list(RUNTIMES),
                arguments.rounds,
                arguments.slice,
            )
            found += rows
            for row in rows:
                if arguments.json:
                    print(json.dumps(row | where), flush=True)
    if not arguments.json:
        print("\n".join(latency_table(found)))
        print(f"\n{where}")


if __name__ == "__main__":
    main()
