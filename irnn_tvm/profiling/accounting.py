"""Bytes and multiply-accumulates of a call of a library, from the entry `traffic` of its report.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from irnn_tvm.errors import LoadError
from irnn_tvm.runtime import shapes


@dataclass
class Work:
    """What a kernel does in one call of the library.

    executions: how often it runs; macs: int8 products; weight_bytes: constants that it reads, each once per execution
    (of an embedding's table the selected rows); activation_bytes: inputs, results, states and scratch, likewise;
    weights: indices of the constants that it reads whole; schedule: which rule of schedules/ made it; in_a_row: whether
    it runs several times one after the other, so that its own constants come from a nearer cache than those of a call.
    """

    kernel: str
    family: str
    schedule: str
    executions: int = 0
    macs: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    weights: set[int] = field(default_factory=set)
    in_a_row: bool = False


def work(report: Mapping[str, Any], steps: int) -> dict[str, Work]:
    """By kernel symbol, in order of the calls, for a call of `steps` time steps; only kernels that run in it.

    LoadError for a report that lacks `traffic`: the library was built by an earlier version.
    """
    traffic = report.get("traffic")
    if traffic is None and "variants" in report:
        names = ", ".join(variant["target"] for variant in report["variants"])
        raise LoadError(
            f"{report['name']} chooses among several kernels: profile one that was built for {names}."
        )
    if traffic is None:
        raise LoadError(
            f"report.json of {report['name']} does not say what its kernels read: build the library again."
        )
    schedules = {kernel["name"]: kernel["schedule"] for kernel in report["kernels"]}
    found: dict[str, Work] = {}
    for call in traffic["calls"]:
        name = call["kernel"]
        entry = found.setdefault(name, Work(name, call["family"], schedules[name]))
        entry.weights.update(call["weights"])
        for count in chunks(report, steps):
            executions, macs, each, moved = (
                shapes.dimension(call[key], count)
                for key in ("executions", "macs", "weight_bytes", "activation_bytes")
            )
            entry.executions += executions
            entry.in_a_row |= executions > 1
            entry.macs += macs
            entry.weight_bytes += executions * each
            entry.activation_bytes += moved
    return {name: entry for name, entry in found.items() if entry.executions}


def chunks(report: Mapping[str, Any], steps: int) -> list[int]:
    """How many time steps each call of the graph takes in a call of the library of `steps` steps."""
    if not report["streamable"]:
        return [steps]
    most = report["traffic"]["at_once"]
    full, rest = divmod(steps, most)
    return [most] * full + ([rest] if rest else [])


def working_set(report: Mapping[str, Any], steps: int) -> list[int]:
    """Indices of the constants that a call reads whole."""
    return sorted(set().union(*(entry.weights for entry in work(report, steps).values())))
