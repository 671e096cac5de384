"""Microseconds of one inference on one core of this machine: ours beside the runtimes that people use instead.

All runtimes take turns in one process that is pinned to a core, so that whatever disturbs the machine disturbs all; a
figure is the median over the rounds. `--batch`: several sequences, or streams with a state each, in one call. Peers
come with `pip install .[bench]`; what is not installed, or cannot run a workload, is left out and named.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from peers import (
    Inference,
    Unsupported,
    litert,
    ncnn_int8,
    onnx_runtime,
    openvino_runtime,
    ours,
    torch_dynamic,
    torch_eager,
)
from performance_tables import latency_table, streams_table
from workloads import WORKLOADS, Workload

from irnn_tvm.examples.training.results import commit
from irnn_tvm.targets import TARGETS
from irnn_tvm.tuning.device.cpu_name import device_name

LENGTHS = (1, 100)
PREPARE: dict[str, Callable[[Workload, int, int], Inference]] = {
    torch_eager.NAME: torch_eager.prepare,
    torch_eager.NAME_PLAIN: torch_eager.prepare_without_onednn,
    torch_dynamic.NAME: torch_dynamic.prepare,
    onnx_runtime.F32.name: onnx_runtime.F32.prepare,
    onnx_runtime.INT8.name: onnx_runtime.INT8.prepare,
    openvino_runtime.NAME: openvino_runtime.prepare,
    litert.HYBRID.name: litert.HYBRID.prepare,
    litert.INT8.name: litert.INT8.prepare,
    ncnn_int8.INT8.name: ncnn_int8.INT8.prepare,
}
RUNTIMES = (ours.NAME, ours.NAME_PYTHON, *PREPARE)
PACKAGES = ("torch", "onnxruntime", "openvino", "ai-edge-litert", "ncnn")


def timers(
    workload: Workload, steps: int, batch: int, wanted: list[str]
) -> dict[str, Callable[[int], float]]:
    """Runtime to a function of a number of calls that gives the seconds of one."""
    found: dict[str, Callable[[int], float]] = {}
    for name in wanted:
        try:
            if name == ours.NAME:
                found[name] = ours.prepare_c(workload, steps, batch)
            elif name == ours.NAME_PYTHON:
                found[name] = timer(ours.prepare_python(workload, steps, batch))
            else:
                found[name] = timer(PREPARE[name](workload, steps, batch).run)
        except Unsupported as reason:
            print(f"{workload.name}, T={steps}, batch {batch}: no {name}: {reason}", file=sys.stderr)
    return found


def timer(call: Callable[[], object]) -> Callable[[int], float]:
    """calls -> seconds of one."""

    def seconds(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    return seconds


def take_turns(
    running: dict[str, Callable[[int], float]], rounds: int, slice_seconds: float
) -> dict[str, list[float]]:
    """Seconds of a call in every round, by name: all of them are timed in every round, one after the other."""
    calls = {}
    for name, seconds in running.items():
        seconds(2)  # caches, lazily made things
        calls[name] = max(1, round(slice_seconds / seconds(3)))
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, seconds in running.items():
            times[name].append(seconds(calls[name]))
    return times


def measure_workload(
    workload: Workload, steps: int, batch: int, wanted: list[str], rounds: int, slice_seconds: float
) -> list[dict[str, Any]]:
    """Rows of one workload, length and number of streams that share a call."""
    times = take_turns(timers(workload, steps, batch, wanted), rounds, slice_seconds)
    return [
        {
            "workload": workload.name,
            "T": steps,
            "batch": batch,
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
        "cpu": device_name(),
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
    parser.add_argument(
        "--batch",
        action="append",
        type=int,
        help="sequences or streams that share a call, for runtimes that can; default: 1; repeatable",
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slice", type=float, default=0.05, help="seconds of a runtime in a round")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core to run on")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    found: list[dict[str, Any]] = []
    where = environment()
    cases = itertools.product(
        arguments.workload or list(WORKLOADS), arguments.steps or LENGTHS, arguments.batch or [1]
    )
    for name, steps, batch in cases:
        rows = measure_workload(
            WORKLOADS[name],
            steps,
            batch,
            arguments.runtime or list(RUNTIMES),
            arguments.rounds,
            arguments.slice,
        )
        found += rows
        for row in rows:
            if arguments.json:
                print(json.dumps(row | where), flush=True)
    if not arguments.json:
        print("\n".join(latency_table([row for row in found if row["batch"] == 1])))
        if arguments.batch:
            print("\n" + "\n".join(streams_table(found)))
        print(f"\n{where}")


if __name__ == "__main__":
    main()
