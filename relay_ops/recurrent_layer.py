"""What the kernels of LSTM and GRU have in common: the sizes of a call, and how a step's PrimFunc begins."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .kernel import INDEPENDENT_ATTR, MACS_ATTR, Kernel, kernel


@dataclass(frozen=True)
class RecurrentLayer:
    """Sizes of a call of a recurrent op. pieces: of its tables; fits: every sum that is rescaled fits int32 before it
    is saturated."""

    call: Any
    batch: int
    width: int
    hidden: int
    pieces: int
    fits: bool

    def open(
        self, name: str, outputs: int, macs: int, independent: bool = False
    ) -> AbstractContextManager[Kernel]:
        """The PrimFunc of a step that writes its last `outputs` parameters. independent: see `INDEPENDENT_ATTR`."""
        attrs = {MACS_ATTR: macs} | ({INDEPENDENT_ATTR: 1} if independent else {})
        return kernel(name, "recurrent_step", attrs, outputs)
