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
# Families of kernels whose dot products can be made short (relay_ops/short_products.py).
_SHORTENED = ("recurrent_step", "matvec")


@contextmanager
def twin(model: Any, lib: Library, directory: Path, batch: int = 1) -> Iterator[Path]:
    """The directory of the twin of a library, for as long as the context lasts.

    model: what the library was built from (anything that irnn_tvm.build takes, without calibration); directory: of
    the library; batch: of its build. InputError when the model gives another library.
    """
    import irnn_tvm
    from irnn_tvm.relay_ops.short_products import short_products

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


def elementwise(spent: Mapping[str, float], short: Mapping[str, float], work: Mapping[str, Work]) -> dict[str, float]:
    """For each kernel how much of `spent` (time or instructions) is not products.

    short: the same of the twin, in which a share `left` of the products is left. Kernels without products are
    elementwise altogether; those whose products are not shortened (convolution, attention, products of two
    activations) and those that are too shallow to tell are left out.
    """
    found: dict[str, float] = {}
    for name, entry in work.items():
        if entry.macs == 0:
            found[name] = spent[name]
        elif (entry.left or entry.family in _SHORTENED) and entry.left <= 0.5:
            rest = (short[name] - entry.left * spent[name]) / (1 - entry.left)
            found[name] = min(max(rest, 0.0), spent[name])
    return found
