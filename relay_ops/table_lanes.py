"""Whether the elements that a table is looked up for are worked on a register at a time."""

from __future__ import annotations

import numpy as np

from irnn_tvm.schedules.instruction_set import current
from irnn_tvm.schedules.vector_set import VectorSet

from .lanes import Lanes, short_pieces


def table_lanes(table: np.ndarray, end: int = 1 << 15) -> Lanes | None:
    """int16 [3, P] -> lanes of a register of int16; None where there are no vectors, or they are inexact or too long.

    end: all that is looked up is below that.
    """
    isa = current()
    if not isinstance(isa, VectorSet) or table.shape[1] > isa.most_pieces or not short_pieces(table, end):
        return None
    return Lanes(isa.halves, isa)
