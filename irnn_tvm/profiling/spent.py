"""What the kernels of a library take: time where it runs in this process, instructions under an emulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from irnn_tvm.errors import InputError
from irnn_tvm.profiling.probe import Probe
from irnn_tvm.runtime.library import Library
from irnn_tvm.tuning.function_count import count_functions
from irnn_tvm.tuning.measure import example_inputs

# Calls under the emulator: counts are exact, a few are enough.
_COUNTED = 5
_ROUNDS = 11


@dataclass(frozen=True)
class Spent:
    """Of one call: microseconds or instructions in total and per kernel (by symbol).

    instrumented: microseconds of a call with clocks; clock: of a reading, which is taken off every execution.
    """

    total: float
    kernels: dict[str, float]
    instrumented: float | None = None
    clock: float | None = None


def timed(probes: Sequence[Probe], seconds: float) -> list[Spent]:
    """Microseconds of each probe, all of them in turns: medians over rounds that take `seconds` together.

    InputError unless `seconds` is positive.
    """
    if not seconds > 0:
        raise InputError(f"the time to measure must be positive, got {seconds}")
    rate = probes[0].ticks_per_second() / 1e6
    counts = []
    for probe in probes:
        probe.timed(2)  # caches
        once = min(probe.plain(2) / 2 for _ in range(3))
        counts.append(max(1, round(seconds * 1e6 * rate / (2 * _ROUNDS * len(probes)) / once)))
    plain: list[list[float]] = [[] for _ in probes]
    inside: list[list[float]] = [[] for _ in probes]
    empty: list[list[float]] = [[] for _ in probes]
    kernels: list[list[Mapping[str, float]]] = [[] for _ in probes]
    executions: list[Mapping[str, float]] = [{} for _ in probes]
    for _ in range(_ROUNDS):
        for index, (probe, calls) in enumerate(zip(probes, counts, strict=True)):
            plain[index].append(probe.plain(calls) / calls)
            empty[index].append(probe.empty(1000))
            ticks = probe.timed(calls)
            inside[index].append(ticks.total / calls)
            kernels[index].append({name: value / calls for name, value in ticks.kernels.items()})
            executions[index] = {name: value / calls for name, value in ticks.executions.items()}
    found = []
    for index, probe in enumerate(probes):
        clock = median(empty[index])
        each = {
            name: max(median(row[name] for row in kernels[index]) - clock * executions[index][name], 0.0) / rate
            for name in probe.kernels
        }
        total, instrumented = median(plain[index]) / rate, median(inside[index]) / rate
        found.append(Spent(total, each, instrumented, clock / rate))
    return found


def counted(lib: Library, steps: int) -> Spent:
    """Instructions of one call of a library that runs under an emulator."""
    single = steps == 1 and lib.streamable
    functions = count_functions(lib, "step" if single else "run", example_inputs(lib, steps), _COUNTED)
    kernels = {kernel["name"]: functions.get(kernel["name"], 0.0) for kernel in lib.report["kernels"]}
    return Spent(sum(functions.values()), kernels)


def probe(lib: Library, directory: Path, steps: int) -> Probe:
    """A probe with random inputs."""
    return Probe(lib, directory, example_inputs(lib, steps), steps)
