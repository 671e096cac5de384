"""The profile of a built library: bytes, products and time of each kernel beside what this core can do at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from irnn_tvm.errors import InputError, LoadError
from irnn_tvm.profiling.accounting import Work, work, working_set
from irnn_tvm.profiling.ceilings import Ceilings, bandwidths, measure
from irnn_tvm.profiling.probe import Probe
from irnn_tvm.profiling.spent import Spent, counted, probe, timed
from irnn_tvm.profiling.twin import elementwise, products_left, twin
from irnn_tvm.runtime.library import Library
from irnn_tvm.tuning.device.cpu_name import device_name
from irnn_tvm.tuning.measure import runnable

TIME, INSTRUCTIONS = "time", "instructions (emulated)"
Figures = dict[str, Any]


def profile(
    directory: str | Path,
    *,
    steps: int = 32,
    model: Any = None,
    batch: int | None = None,
    seconds: float = 2.0,
    levels: bool = True,
) -> Figures:
    """Profiles the library that `build` wrote into `directory`, over calls of `steps` time steps.

    steps: 1 stands for a single step where the library streams. model, batch: what it was built from, for the share of
    elementwise work (a second library is built for that, and thrown away); without it that share is None. seconds: how
    long to time, ceilings apart. levels: measure bandwidth over sizes, too.

    Returns what --json prints; docs/profiling.md explains every entry. Times are microseconds, rates 1e9 per second,
    all of them per time step but `executions`. LoadError when the library cannot run here or lacks symbols, InputError
    for a length that it does not take, another model or a library with threads, ToolNotFoundError without QEMU.
    """
    directory = Path(directory)
    lib = runnable(directory)
    if lib.time.minimum == lib.time.maximum:
        steps = lib.time.minimum
    lib.time.check(steps)
    if lib.report.get("threads", 1) > 1:
        raise InputError(
            f"{lib.name} was built for {lib.report['threads']} threads; kernels are timed one by one: "
            "build it with threads=1."
        )
    done = work(lib.report, steps)
    with ExitStack() as stack:
        other: Library | None = None
        if model is not None:
            folder = stack.enter_context(twin(model, lib, directory, batch))
            other = runnable(folder)
        ceilings: Ceilings | None = None
        near: dict[str, float | None] = {}
        if lib.emulated:
            spent, short = counted(lib, steps), None if other is None else counted(other, steps)
        elif not lib.where.startswith("native"):
            raise LoadError(f"{lib.name} cannot be profiled {lib.where}")
        else:
            probes = [probe(lib, directory, steps)]
            if other is not None:
                probes.append(probe(other, folder, steps))
            ceilings = measure(
                _arrays(probes[0], working_set(lib.report, steps)),
                lib.report["traffic"]["instruction_set"],
                levels=levels,
            )
            again = {name: sorted(entry.weights) for name, entry in done.items() if entry.in_a_row}
            parts = [_arrays(probes[0], indices) for indices in again.values()]
            near = dict(zip(again, bandwidths(parts), strict=True))
            spent, *rest = timed(probes, seconds)
            short = rest[0] if rest else None
    apart = None
    if short is not None:
        apart = elementwise(spent.kernels, short.kernels, products_left(lib.report, done), done)
    return _assemble(lib, steps, done, spent, apart, ceilings, near)


def _arrays(found: Probe, indices: Iterable[int]) -> list[tuple[int, int]]:
    """Address and bytes of constants, in the loaded library."""
    report = found.lib.report
    return [
        (found.weights[f"{found.lib.name}_w{index}"], report["weights"][index]["bytes"]) for index in indices
    ]


def _assemble(
    lib: Library,
    steps: int,
    done: Mapping[str, Work],
    spent: Spent,
    apart: Mapping[str, float] | None,
    ceilings: Ceilings | None,
    near: Mapping[str, float | None],
) -> Figures:
    """near: gigabytes per second of the constants of kernels that run several times in a row."""
    ops = {kernel["name"]: kernel["op"] for kernel in lib.report["kernels"]}
    rows = []
    whole = 0.0 if ceilings is None else ceilings.gbytes_per_s or 0.0
    rates = {name: max(whole, near.get(name) or 0.0) or None for name in done}
    for name, entry in done.items():
        row: Figures = {"kernel": name, "op": ops[name], "executions": entry.executions}
        row |= _figures(
            entry.weight_bytes,
            entry.activation_bytes,
            entry.macs,
            spent.kernels[name],
            steps,
            ceilings,
            rates[name],
        )
        row["share"] = _ratio(spent.kernels[name], spent.total)
        row["elementwise_share"] = None
        if apart is not None and name in apart:
            row["elementwise_share"] = _ratio(apart[name], spent.kernels[name])
        rows.append(row)
    inside = sum(spent.kernels.values())
    total = [
        sum(getattr(entry, key) for entry in done.values())
        for key in ("weight_bytes", "activation_bytes", "macs")
    ]
    arrival = sum(entry.weight_bytes / (rates[name] or 1.0) for name, entry in done.items())
    rate = total[0] / arrival if whole and arrival else None
    per_step = _figures(total[0], total[1], total[2], spent.total, steps, ceilings, rate)
    single = steps == 1 and lib.streamable
    result: Figures = {
        "name": lib.name,
        "target": lib.target,
        "where": lib.where,
        "measure": TIME if ceilings else INSTRUCTIONS,
        "call": "step" if single else "run",
        "steps": steps,
        "instruction_set": lib.report["traffic"]["instruction_set"],
        "device": device_name() if ceilings else None,
        "per_step": per_step,
        "kernels": rows,
        "outside_kernels": _spent(max(spent.total - inside, 0.0), steps, ceilings)
        | {"share": _ratio(max(spent.total - inside, 0.0), spent.total)},
        "elementwise": None if apart is None else _elementwise(done, spent, apart),
        "ceilings": None if ceilings is None else _ceilings(ceilings),
        "clocks": None,
    }
    if ceilings is not None and spent.clock is not None and spent.instrumented is not None:
        result["clocks"] = {
            "us_per_step_with_clocks": round(spent.instrumented / steps, 4),
            "us_per_kernel_taken_off": round(spent.clock, 4),
        }
    return result


def _elementwise(done: Mapping[str, Work], spent: Spent, apart: Mapping[str, float]) -> Figures:
    """Share of the whole call; kernels that were not taken apart count as products, and are named."""
    return {
        "share": _ratio(sum(apart.values()), spent.total),
        "counted_as_products": [name for name in done if name not in apart],
    }


def _figures(
    weights: int,
    activations: int,
    macs: int,
    spent: float,
    steps: int,
    ceilings: Ceilings | None,
    rate: float | None,
) -> Figures:
    """rate: gigabytes per second at which these weights can arrive."""
    row: Figures = {
        "weight_bytes": _per(weights, steps),
        "activation_bytes": _per(activations, steps),
        "macs": _per(macs, steps),
        "macs_per_weight_byte": _ratio(macs, weights),
        **_spent(spent, steps, ceilings),
    }
    if ceilings is None:
        row["instructions_per_mac"] = _ratio(spent, macs)
        return row
    seconds = spent / 1e6
    row["gbytes_per_s"] = _ratio(weights, seconds * 1e9)
    row["gmacs_per_s"] = _ratio(macs, seconds * 1e9)
    row["gbytes_per_s_ceiling"] = _rounded(rate)
    floor = ceilings.floor_seconds(weights, macs, rate) if weights or macs else None
    row["floor_us"] = None if floor is None else round(floor[0] * 1e6 / steps, 4)
    row["bound_by"] = None if floor is None else floor[1]
    row["roofline_share"] = None if floor is None else _ratio(floor[0], seconds)
    return row


def _spent(spent: float, steps: int, ceilings: Ceilings | None) -> Figures:
    if ceilings is None:
        return {"instructions": round(spent / steps, 1)}
    return {"us": round(spent / steps, 4)}


def _ceilings(found: Ceilings) -> Figures:
    return {
        "working_set_bytes": found.working_set_bytes,
        "gbytes_per_s": _rounded(found.gbytes_per_s),
        "gmacs_per_s": _rounded(found.gmacs_per_s),
        "product": found.peak_sequence,
        "levels": [vars(level) for level in found.levels],
    }


def _per(total: int, steps: int) -> int | float:
    return total // steps if total % steps == 0 else round(total / steps, 1)


def _ratio(a: float, b: float) -> float | None:
    return round(a / b, 4) if b else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
