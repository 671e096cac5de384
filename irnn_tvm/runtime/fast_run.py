"""The short way of Stream.run and Library.run: see fast_call.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from irnn_tvm.runtime.fast_call import FastCall
from irnn_tvm.runtime.native import NativeEngine, address

if TYPE_CHECKING:
    from irnn_tvm.runtime.library import Library
    from irnn_tvm.runtime.streams import Memory


class FastRun(FastCall):
    """run of one stream. Lengths that the library refuses are left to the general way."""

    def __init__(self, library: Library, memory: Memory, engine: NativeEngine) -> None:
        super().__init__(library, memory, engine.run)
        self._time = library.time
        # The input that says how long the sequence is, and where.
        self._guide = next((i for i, place in enumerate(self._inputs) if place.axis is not None), None)
        self._length = 1

    def _checked(self, inputs: tuple[Any, ...], out: Any) -> tuple[Any, int] | None:
        length = self._length_of(inputs)
        if length is None:
            return None
        if length != self._length:
            self._length = length
            for place in self._places:
                place.resize(length)
        for place, array in zip(self._inputs, inputs):
            if (array is not place.last or array.shape != place.shape) and not place.take(array, False):
                return None
        if out is not None:
            return self._into(inputs, out, length)
        results = tuple(np.empty(place.full, place.dtype) for place in self._outputs)
        pointers = [place.pointer for place in self._inputs] + [address(array) for array in results]
        code = self._function(*self._addresses, length, *pointers)
        return (results[0] if len(results) == 1 else results), code

    def _length_of(self, inputs: tuple[Any, ...]) -> int | None:
        """T of the inputs, None when the general way has something to say about it."""
        if self._guide is None:
            return self._time.minimum
        array, place = inputs[self._guide], self._inputs[self._guide]
        if type(array) is not np.ndarray or array.ndim != len(place.full):
            return None
        assert place.axis is not None
        length = int(array.shape[place.axis])
        return length if self._time.accepts(length) else None
