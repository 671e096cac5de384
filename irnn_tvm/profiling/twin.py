"""A twin of a library whose kernels make next to no products: what it takes is the elementwise part of the kernels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from irnn_tvm.errors import InputError
from irnn_tvm.profiling.accounting import Work
from irnn_tvm.runtime.library import Library

_HASH = re.compile(r"^#define MODEL_HASH (\w+)$", re.M)


@contextmanager
def twin(model: Any, lib: Library, directory: Path, batch: int | None = None) -> Iterator[Path]:
    """The directory of the twin of a library, for as long as the context lasts.

    model: what the library was built from (anything that irnn_tvm.build takes, without calibration); directory: of
    the library; batch: of its build. InputError when the model gives another library.
    """
    import irnn_tvm
    from irnn_tvm.compiler.short_products import short_products

    time = lib.report["time"]
    length = {"max_seq_len": time["max"]} if time["dynamic"] else {"seq_len": time["fixed"]}
    with TemporaryDirectory(prefix="irnn-twin-") as folder:
        out = Path(folder) / "twin"
        with short_products():
            built = irnn_tvm.build(model, lib.target, out=out, name=lib.name, batch=batch, **length)
        same = _identity(built.report, out) == _identity(lib.report, directory)
        if not same:
            raise InputError(
                f"the model is not the one that {lib.name} was built from: its weights, shapes or kernels differ"
            )
        yield out


def _identity(report: Mapping[str, Any], directory: Path) -> tuple[Any, ...]:
    text = (directory / f"{report['name']}.c").read_text(encoding="utf-8")
    found = _HASH.search(text)
    kernels = [(kernel["name"], kernel["macs"]) for kernel in report["kernels"]]
    return found and found[1], report["inputs"], report["outputs"], kernels


def elementwise(
    spent: Mapping[str, float],
    short: Mapping[str, float],
    left: Mapping[str, float],
    work: Mapping[str, Work],
) -> dict[str, float]:
    """For each kernel how much of `spent` (time or instructions) is not products.

    short: the same of the twin; left: see `products_left`. Kernels without products are elementwise altogether; those
    whose products are not shortened (convolution, attention, products of two activations) and those that are too
    shallow to tell are left out.
    """
    found: dict[str, float] = {}
    for name, entry in work.items():
        if entry.macs == 0:
            found[name] = spent[name]
        elif left[name] <= 0.5:
            rest = (short[name] - left[name] * spent[name]) / (1 - left[name])
            found[name] = min(max(rest, 0.0), spent[name])
    return found


def products_left(report: Mapping[str, Any], work: Mapping[str, Work]) -> dict[str, float]:
    """By kernel, which share of its products a twin still makes (compiler/short_products.py); 1: all of them."""
    from irnn_tvm.schedules import instruction_sets

    isa = instruction_sets.get(report["traffic"]["instruction_set"])
    found: dict[str, float] = {}
    for name, entry in work.items():
        shapes = [report["weights"][index] for index in entry.weights]
        matrices = [w["shape"] for w in shapes if w["dtype"] == "int8" and len(w["shape"]) > 1]
        shares = [1.0]
        if entry.schedule == "tiles" and isa is not None:
            # [blocks, groups, weights of a group]: a loop takes `steps` groups at a time, unrolled where it divides.
            chosen = isa.for_vectors(2) if entry.family == "matmul" else isa
            corrections = int(chosen.offset != 0)
            routine = chosen.routine_rows * chosen.group  # weights of a group where a routine makes the sums
            shares = [
                1 / groups
                if size == routine
                else _tiled(groups - corrections, chosen.steps, chosen.unrolling(1, groups))
                for _, groups, size in matrices
            ]
        elif entry.family in ("recurrent_step", "matvec"):
            # A row of weights lies together. A recurrent step has a loop over x and one over h.
            loops = 2 if entry.family == "recurrent_step" else 1
            shares = [min(1.0, loops / shape[-1]) for shape in matrices]
        found[name] = max(shares, default=1.0)
    return found


def _tiled(groups: int, steps: int, unroll: int) -> float:
    loops, rest = divmod(groups, steps)
    at_once = next((factor for factor in range(unroll, 0, -1) if loops % factor == 0), 1)
    if loops // at_once < 2:  # no loop is left to be cut short
        return 1.0
    return (at_once * steps + rest) / groups
