"""What the kernels of a library take: time where it runs in this process, instructions under an emulator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from irnn_tvm.errors import InputError
from irnn_tvm.profiling.accounting import work
from irnn_tvm.profiling.probe import Probe
from irnn_tvm.runtime.library import Library
from irnn_tvm.tuning.function_count import count_functions
from irnn_tvm.tuning.measure import example_inputs

# Calls under the emulator: counts are exact, a few are enough.
_COUNTED = 5
# A round is shorter than the slices in which a busy machine shares a core out, so that most are not interrupted.
_ROUND_SECONDS, _FEWEST_ROUNDS = 1e-3, 11


@dataclass(frozen=True)
class Spent:
    """Of one call: microseconds or instructions in total and per kernel (by symbol).

    instrumented: microseconds of a call with clocks; clock: of a clock around a kernel.
    """

    total: float
    kernels: dict[str, float]
    instrumented: float | None = None
    clock: float | None = None


def timed(probes: Sequence[Probe], seconds: float) -> list[Spent]:
    """Microseconds of each probe, all of them in turns: medians over rounds that take `seconds` together, or over the
    fewest rounds that a median makes sense of.

    The total is that of the library without clocks. Shares of kernels are those of calls with clocks, whose own time is
    taken off. InputError unless `seconds` is positive.
    """
    if not seconds > 0:
        raise InputError(f"the time to measure must be positive, got {seconds}")
    rate = probes[0].ticks_per_second() / 1e6
    meters = [_Meter(probe, _ROUND_SECONDS * 1e6 * rate) for probe in probes]
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(meters[0].plain) < _FEWEST_ROUNDS:
        for meter in meters:
            meter.round()
    return [meter.spent(rate) for meter in meters]


class _Meter:
    """Rounds of one probe. round_ticks: how long each measures, either way."""

    def __init__(self, probe: Probe, round_ticks: float) -> None:
        self.probe = probe
        once = min(probe.plain(1) for _ in range(5))
        self.calls = max(1, round(round_ticks / once))
        self.plain: list[float] = []
        self.inside: list[float] = []
        self.clock: list[float] = []
        self.shares: dict[str, list[float]] = {name: [] for name in probe.kernels}

    def round(self) -> None:
        self.probe.timed(1)  # what others left in the caches
        self.plain.append(self.probe.plain(self.calls) / self.calls)
        found, whole = self.probe.clock_cost()
        ticks = self.probe.timed(self.calls)
        self.clock.append(whole)
        self.inside.append(ticks.total / self.calls)
        total = ticks.total - whole * sum(ticks.executions.values())
        for name, values in self.shares.items():
            own = max(ticks.kernels[name] - found * ticks.executions[name], 0.0)
            values.append(own / max(total, own, 1.0))

    def spent(self, rate: float) -> Spent:
        """rate: ticks per microsecond."""
        total = median(self.plain) / rate
        kernels = {name: median(values) * total for name, values in self.shares.items()}
        return Spent(total, kernels, median(self.inside) / rate, median(self.clock) / rate)


def counted(lib: Library, steps: int) -> Spent:
    """Instructions of one call of a library that runs under an emulator."""
    single = steps == 1 and lib.streamable
    functions = count_functions(lib, "step" if single else "run", example_inputs(lib, steps), _COUNTED)
    kernels = {kernel["name"]: functions.get(kernel["name"], 0.0) for kernel in lib.report["kernels"]}
    return Spent(sum(functions.values()), with_routines(kernels, functions, lib, steps))


def with_routines(
    kernels: dict[str, float], functions: dict[str, float], lib: Library, steps: int
) -> dict[str, float]:
    """Instructions of kernels with those of the routines that they call (`InstructionSet.assembly`): products in
    proportion to a kernel's multiply-accumulates, other routines to its own instructions."""
    tiles = {kernel["name"] for kernel in lib.report["kernels"] if kernel["schedule"] == "tiles"}
    macs = {name: float(entry.macs) for name, entry in work(lib.report, steps).items() if name in tiles}
    own = {name: count for name, count in kernels.items() if name in tiles or not tiles}
    found = dict(kernels)
    for name, count in functions.items():
        if name.startswith("irnn_"):
            shares = macs if name.startswith("irnn_dot_") else own
            total = sum(shares.values())
            for kernel, share in shares.items():
                found[kernel] += count * share / total if total else 0.0
    return found


def probe(lib: Library, directory: Path, steps: int) -> Probe:
    """A probe with random inputs."""
    return Probe(lib, directory, example_inputs(lib, steps), steps)
