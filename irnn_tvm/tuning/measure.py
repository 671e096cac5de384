"""Measures a built library: wall-clock time where it runs on this machine, instructions under an emulator.

The two are different measures and come under different names: `us_per_step` and `instructions_per_step`.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from irnn_tvm import runtime
from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.errors import InputError
from irnn_tvm.runtime import shapes
from irnn_tvm.runtime.library import Library
from irnn_tvm.tuning.instruction_count import count_instructions

# Calls under the emulator; single steps need more of them until the caller's loop no longer shows.
_COUNTED_CALLS = {"step": 100, "run": 10}


def runnable(directory: str | Path) -> Library:
    """The library in `directory`, compiled with a C compiler of this machine when it consists of C sources."""
    lib = runtime.load(directory)
    return compile_c_library(directory) if lib.report["kind"] == "sources" else lib


def library(lib: Library, steps: int = 32, seconds: float = 1.0) -> dict[str, Any]:
    """Time or instructions per step of a library, over calls of `steps` steps.

    seconds: how long to measure the wall clock. Returns name, target, where, steps, `variant` where the library chooses
    among kernels, and `us_per_step` (median) or `instructions_per_step`, with `instructions_per_call_of_one` too where
    a library streams.
    InputError when the library does not accept a sequence of this length, LoadError when it cannot run here.
    """
    if lib.time.minimum == lib.time.maximum:
        steps = lib.time.minimum
    lib.time.check(steps)
    result: dict[str, Any] = {"name": lib.name, "target": lib.target, "where": lib.where, "steps": steps}
    if lib.variant is not None:
        result["variant"] = lib.variant
    if not lib.emulated:
        return result | {"us_per_step": _microseconds_per_step(lib, steps, seconds)}
    arrays = example_inputs(lib, steps)
    per_call = count_instructions(lib, "run", arrays, _COUNTED_CALLS["run"])
    result["instructions_per_step"] = round(per_call / steps, 1)
    if lib.streamable:
        single = count_instructions(lib, "step", example_inputs(lib, 1), _COUNTED_CALLS["step"])
        result["instructions_per_call_of_one"] = round(single, 1)
    return result


def example_inputs(lib: Library, steps: int, seed: int = 0) -> list[npt.NDArray[Any]]:
    """Inputs of the right shape: random integers over the whole range of their dtype, zeros for indices."""
    random = np.random.default_rng(seed)
    arrays: list[npt.NDArray[Any]] = []
    for tensor in lib.inputs:
        shape = shapes.shape(tensor.shape, steps)
        if tensor.scale is None:
            arrays.append(np.zeros(shape, tensor.dtype))
        else:
            limits = np.iinfo(tensor.dtype)
            arrays.append(random.integers(limits.min, limits.max, shape, tensor.dtype, endpoint=True))
    return arrays


def _microseconds_per_step(lib: Library, steps: int, seconds: float) -> float:
    """Median over calls into preallocated outputs. Python's own part of a call is in it."""
    if not seconds > 0:
        raise InputError(f"the time to measure must be positive, got {seconds}")
    inputs = example_inputs(lib, steps)
    first = lib.run(*inputs)
    outputs = first if isinstance(first, tuple) else (first,)
    stream = lib.stream()
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times) < 5:
        start = time.perf_counter()
        stream.run(*inputs, out=outputs)
        times.append(time.perf_counter() - start)
    return round(median(times) * 1e6 / steps, 3)
