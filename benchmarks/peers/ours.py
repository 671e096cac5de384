"""Libraries that irnn_tvm built, through their C interface and through irnn_tvm.runtime."""

from __future__ import annotations

import atexit
import ctypes
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from layers import build, integer_model
from workloads import Workload

from irnn_tvm import Library
from irnn_tvm.compiler import toolchain
from irnn_tvm.tuning import measure

NAME, NAME_PYTHON = "irnn_tvm", "irnn_tvm.runtime"
LONGEST = 256  # steps that layers are built for which need the whole sequence


@functools.cache
def library(workload: Workload, batch: int = 1) -> Library:
    """The workload for this machine."""
    folder = Path(tempfile.mkdtemp(prefix="irnn-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(integer_model(workload), workload, "host", folder, LONGEST, batch)


@functools.cache
def caller() -> ctypes.CDLL:
    """c_caller.c, compiled."""
    source = Path(__file__).parents[1] / "c_caller.c"
    with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
        made = Path(folder) / "caller.so"
        toolchain.run_zig(
            ["cc", "-O2", "-std=gnu99", "-shared", "-fPIC", source, "-o", made], "Compiling the C caller"
        )
        loaded = ctypes.CDLL(str(made))
    for name in ("time_step", "time_run"):
        getattr(loaded, name).restype = ctypes.c_double
    return loaded


def prepare_c(workload: Workload, steps: int, batch: int) -> Callable[[int], float]:
    """calls -> seconds of one, through the C interface."""
    return time_c(library(workload, batch), steps)


def time_c(built: Library, steps: int) -> Callable[[int], float]:
    """The same of a library with one input."""
    shared = ctypes.CDLL(str(built.directory / built.report["files"]["library"]))
    inputs = measure.example_inputs(built, steps)[0]
    first = built.run(inputs)
    output = first[0] if isinstance(first, tuple) else first
    state, arena = (_aligned(int(built.report[key])) for key in ("state_bytes", "arena_bytes"))
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (state, arena, inputs, output)]
    if getattr(shared, f"{built.name}_init")(pointers[0]) != 0:
        raise RuntimeError(f"{built.name}: init failed")
    single = steps == 1 and built.streamable
    function = ctypes.cast(getattr(shared, f"{built.name}_{'step' if single else 'run'}"), ctypes.c_void_p)

    # The arrays live as long as this function: `kept` refers to them.
    def time(calls: int, kept: tuple[np.ndarray, ...] = (state, arena, inputs, output)) -> float:
        del kept
        if single:
            seconds = caller().time_step(function, *pointers, ctypes.c_int32(calls))
        else:
            length = ctypes.c_int32(steps)
            seconds = caller().time_run(function, *pointers[:2], length, *pointers[2:], ctypes.c_int32(calls))
        if seconds < 0:
            raise RuntimeError(f"{built.name}: the call failed")
        return float(seconds)

    return time


def prepare_python(workload: Workload, steps: int, batch: int) -> Callable[[], object]:
    """A call of irnn_tvm.runtime into an output that is there."""
    built = library(workload, batch)
    inputs = measure.example_inputs(built, steps)
    first = built.run(*inputs)
    outputs = first if isinstance(first, tuple) else (first,)
    stream = built.stream()
    call = stream.step if steps == 1 and built.streamable else stream.run
    return lambda: call(*inputs, out=outputs)


def _aligned(size: int) -> np.ndarray:
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]
