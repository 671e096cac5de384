"""Small vocabulary for authoring kernels with TVM's IR builder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import inner_unroll, why_chosen
from irnn_tvm.schedules.leave import INNER_UNROLL_ATTR

SCAN_ATTR = "irnn.scan"
MACS_ATTR = "irnn.macs"
FAMILY_ATTR = "irnn.family"
OUTPUTS_ATTR = "irnn.outputs"
TUNED_ATTR = "irnn.tuned"  # where the choices of a kernel come from; absent: they are the default
PREPARE_PREFIX = "prepare"  # of blocks that come before the tiles: what they store, all tiles read
INDEPENDENT_ATTR = "irnn.independent_tiles"  # of the outermost loop: its iterations may run at the same time


class Kernel:
    """A PrimFunc under construction; `result` is set when the `with kernel(...)` block ends."""

    def __init__(self) -> None:
        self.result: Any = None

    def arg(self, name: str, shape: Any, dtype: str) -> Any:
        """A buffer parameter."""
        return T.arg(name, T.buffer(tuple(shape), dtype))

    def turn(self) -> Any:
        """A parameter behind all buffers, int64: 0 where tiles are taken in order, 1 where the last comes first.

        A loop over time takes turns (scan.py): what the caches still hold of a large matrix is then used first.
        """
        return T.arg("turn", T.int64())


def chosen_attrs() -> dict[str, Any]:
    """Attributes of a PrimFunc that say what was chosen for its operator; empty: the default."""
    found: dict[str, Any] = {TUNED_ATTR: why_chosen()} if why_chosen() else {}
    return found | ({INNER_UNROLL_ATTR: inner_unroll()} if inner_unroll() > 1 else {})


@contextmanager
def kernel(name: str, family: str, attrs: dict[str, Any] | None = None, outputs: int = 1) -> Iterator[Kernel]:
    """Opens a schedulable PrimFunc. family: what kind of kernel it is, recorded as an attribute (the rules in
    schedules/ look at block names); outputs: how many of the last parameters it writes."""
    builder = Kernel()
    more = chosen_attrs() | (attrs or {})
    with IRBuilder() as ib:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            T.func_attr({"tirx.noalias": True, FAMILY_ATTR: family, OUTPUTS_ATTR: outputs, **more})
            yield builder
    builder.result = ib.get()
