"""The short way of Stream.step: see fast_call.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from irnn_tvm.runtime.fast_call import Array, FastCall, Place
from irnn_tvm.runtime.native import NativeEngine, address

if TYPE_CHECKING:
    from irnn_tvm.runtime.library import Library
    from irnn_tvm.runtime.streams import Memory

# Outputs that nobody gave are rows of a block: making an array and asking it for its address costs more.
_ROWS = 64


class _Outputs:
    """Rows for an output, in blocks that live as long as a row of them does."""

    def __init__(self, place: Place, squeeze: bool) -> None:
        self.dtype = place.dtype
        self.shape = _bare(place) if squeeze else place.full
        self.size, self.used = place.size, _ROWS
        self.block: Array | None = None
        self.start = 0

    def take(self) -> tuple[Array, int]:
        """A new array and its address."""
        if self.block is None or self.used == _ROWS:
            self.block = np.empty((_ROWS, *self.shape), self.dtype)
            self.start, self.used = address(self.block), 0
        row = self.used
        self.used = row + 1
        return self.block[row], self.start + row * self.size


class FastStep(FastCall):
    """step of one stream. Inputs may come without their T axis, and then new outputs have none either."""

    def __init__(self, library: Library, memory: Memory, engine: NativeEngine) -> None:
        assert engine.step is not None
        super().__init__(library, memory, engine.step)
        self._bare = [_bare(place) for place in self._inputs]
        self._timed = sum(place.axis is not None for place in self._inputs)
        self._new = [[_Outputs(place, squeeze) for place in self._outputs] for squeeze in (False, True)]

    def _checked(self, inputs: tuple[Any, ...], out: Any) -> tuple[Any, int] | None:
        pointers = [*self._addresses]
        squeezed = 0
        for place, array, bare in zip(self._inputs, inputs, self._bare):
            if (array is not place.last or array.shape != place.shape) and not place.take(array, False, bare):
                return None
            squeezed += len(place.shape) < len(place.full)
            pointers.append(place.pointer)
        if squeezed and squeezed != self._timed:
            return None
        if out is not None:
            return self._into(inputs, out)
        results = []
        for rows in self._new[squeezed > 0]:
            array, pointer = rows.take()
            results.append(array)
            pointers.append(pointer)
        code = self._function(*pointers)
        return (results[0] if len(results) == 1 else tuple(results)), code


def _bare(place: Place) -> tuple[int, ...]:
    """The shape of one step without the T axis."""
    return place.full if place.axis is None else place.full[: place.axis] + place.full[place.axis + 1 :]
