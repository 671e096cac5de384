"""What a library costs beside its weights: bytes of code, the start, memory, and the overhead of a call.

Sizes are read from the ELF sections of every workload's library. Start, memory and calls are measured in fresh
processes on one core: C programs that use dlopen (footprint_caller.c), and Python with irnn_tvm.runtime.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from code_size import code_size
from latency import environment
from layers import build, integer_model
from performance_tables import code_size_table, footprint_table
from workloads import WORKLOADS, Workload

from irnn_tvm import TARGETS, Library
from irnn_tvm.compiler import toolchain
from irnn_tvm.examples.training.results import commit
from irnn_tvm.runtime import load

HERE = Path(__file__).parent
SHARED = tuple(name for name, target in TARGETS.items() if target.kind == "shared")
LARGE = WORKLOADS["lstm-1024"]  # starts and memory
TINY = Workload("lstm", 1)  # nothing but the overhead of calls
CALLED = (WORKLOADS["lstm-256"], WORKLOADS["lstm-2x650"], LARGE)
LONGEST = 256
KIB = 1024


def sizes(names: list[str], targets: list[str]) -> Iterator[dict[str, Any]]:
    """A row per workload and target."""
    for name in names:
        model = integer_model(WORKLOADS[name])
        for target in targets:
            with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
                built = build(model, WORKLOADS[name], target, Path(folder), LONGEST)
                found = code_size(built.directory / built.report["files"]["library"], built.name)
            yield {"bench": "code size", "workload": name, "target": target, **found, "commit": commit()}


def processes(count: int) -> Iterator[dict[str, Any]]:
    """Rows of start, memory and calls. count: processes of each."""
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as name:
        folder = Path(name)
        caller = compile_program(HERE / "footprint_caller.c", folder / "caller")
        built = {
            workload: build(integer_model(workload), workload, "host", folder, LONGEST)
            for workload in (TINY, *CALLED)
        }
        large, tiny = built[LARGE], built[TINY]

        def figure(
            what: str, workload: Workload, value: float, unit: str, goal: float | None, digits: int
        ) -> dict[str, Any]:
            return {
                "bench": "footprint",
                "figure": what,
                "workload": workload.name,
                "value": round(value, 3),
                "unit": unit,
                "digits": digits,
                "goal": goal,
                "processes": count,
            }

        start = in_c(caller, "start", large, count)
        yield figure("start in C: dlopen to the first output", LARGE, start / 1e6, "ms", 5, 2)
        python = in_python(START, large, count)
        yield figure("start in Python: load to the first output", LARGE, python * 1e3, "ms", 5, 2)
        imported = in_python(IMPORT, large, count)
        yield figure("import of irnn_tvm.runtime, with NumPy", LARGE, imported * 1e3, "ms", None, 1)
        peak, bare = (in_c(caller, mode, large, count, calls=10) for mode in ("memory", "bare"))
        beside = peak - bare - large.report["weight_bytes"] / KIB
        yield figure("memory beside weights, state and arena", LARGE, beside, "KiB", 2048, 0)
        for workload in CALLED:
            empty = empty_kernels(built[workload], folder / f"empty-{workload.name}")
            overhead = in_c(caller, "call", empty, count, calls=2_000)
            yield figure("overhead of step in C", workload, overhead, "ns", 100, 1)
        whole = in_c(caller, "call", tiny, count, calls=2_000)
        yield figure("all of step in C, kernels too, of one unit", TINY, whole, "ns", None, 0)
        step = in_python(STEP, tiny, count)
        yield figure("overhead of Stream.step in Python", TINY, step * 1e6 - whole / 1e3, "µs", 3, 2)


def compile_program(source: Path, out: Path) -> Path:
    toolchain.run_zig(["cc", "-O2", "-std=gnu11", source, "-ldl", "-o", out], f"Compiling {source.name}")
    return out


def empty_kernels(library: Library, folder: Path) -> Library:
    """A copy of a library for `host` with its own C file, and kernels and weights that are empty.

    What its calls take is everything but kernels.
    """
    files, name = library.report["files"], library.name
    library.export(folder)
    source, stubs = folder / files["sources"][0], folder / "stubs.c"
    stubs.write_text(without_kernels(source.read_text(encoding="utf-8")), encoding="utf-8")
    target = TARGETS["host"]
    objects = toolchain.compile_c([source, stubs], folder / "objects", target, ["-I", str(folder)])
    exports = [f"{name}_{function}" for function in ("init", "reset", "step", "run")]
    (folder / files["library"]).unlink()
    toolchain.link_shared(objects, folder / files["library"], target, exports)
    return load(folder)


def without_kernels(source: str) -> str:
    """Definitions that do nothing, for everything that a generated C file declares as extern."""
    lines = ["#include <stdint.h>"]
    for declaration in re.findall(r"^extern ([^;]*);", source, re.MULTILINE):
        if declaration.startswith("void "):  # a kernel
            lines.append(declaration + " {}")
        else:  # a table: its address counts, not what is in it
            lines.append(re.sub(r"\[.*\]$", "[1] = {0};", declaration))
    return "\n".join(lines) + "\n"


def in_c(caller: Path, mode: str, library: Library, count: int, calls: int = 0) -> float:
    """Median of what footprint_caller prints in fresh processes."""
    report = library.report
    sizes = [report["state_bytes"], report["arena_bytes"], buffer_bytes(library), buffer_bytes(library)]
    path = library.directory / report["files"]["library"]
    command = [str(caller), mode, str(path), library.name, *map(str, sizes), str(calls)]
    return median(float(output(command)) for _ in range(count))


def buffer_bytes(library: Library) -> int:
    """Bytes of a step's largest input or output."""
    tensors = (*library.inputs, *library.outputs)
    return max(tensor.dtype.itemsize * int(tensor.shape[-1]) for tensor in tensors)


IMPORT = """
import time
start = time.perf_counter()
import irnn_tvm.runtime
print(time.perf_counter() - start)
"""
START = """
import sys, time
import numpy as np
import irnn_tvm.runtime
start = time.perf_counter()
library = irnn_tvm.runtime.load(sys.argv[1])
tensor = library.inputs[0]
library.stream().step(np.zeros([1 if n == "T" else n for n in tensor.shape], tensor.dtype))
print(time.perf_counter() - start)
"""
STEP = """
import sys, time
import numpy as np
import irnn_tvm.runtime
library = irnn_tvm.runtime.load(sys.argv[1])
tensor = library.inputs[0]
x = np.zeros([1 if n == "T" else n for n in tensor.shape], tensor.dtype)
stream = library.stream()
out = stream.step(x)
times = []
for _ in range(501):  # short slices: most of them lie between two interruptions
    start = time.perf_counter()
    for _ in range(100):
        stream.step(x, out=out)
    times.append((time.perf_counter() - start) / 100)
print(sorted(times)[len(times) // 2])
"""


def in_python(program: str, library: Library, count: int) -> float:
    """Median of what a Python program prints in fresh processes."""
    command = [sys.executable, "-c", program, str(library.directory)]
    return median(float(output(command)) for _ in range(count))


def output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("sizes", "processes"), help="default: both")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="sizes; default: all")
    parser.add_argument(
        "--target", action="append", choices=SHARED, help="sizes; default: host and arm; repeatable"
    )
    parser.add_argument("--processes", type=int, default=21, help="fresh processes of each kind")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core to run on")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of tables")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    found: dict[str, list[dict[str, Any]]] = {"sizes": [], "processes": []}
    if arguments.only != "processes":
        names, targets = arguments.workload or list(WORKLOADS), arguments.target or ["host", "arm"]
        for row in sizes(names, targets):
            found["sizes"].append(row)
            if arguments.json:
                print(json.dumps(row), flush=True)
    if arguments.only != "sizes":
        where = environment()
        for row in processes(arguments.processes):
            found["processes"].append(row)
            if arguments.json:
                print(json.dumps(row | where), flush=True)
    if not arguments.json:
        if found["sizes"]:
            print("\n".join(code_size_table(found["sizes"])) + "\n")
        if found["processes"]:
            print("\n".join(footprint_table(found["processes"])))


if __name__ == "__main__":
    main()
