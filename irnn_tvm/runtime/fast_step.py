"""The short way of Stream.step: calls that are right as they are, on a library in this process.

A step of a small network takes microseconds, and describing an operation, checking it and finding addresses the general
way takes ten times as long. Whatever is not plainly right is left to the general way, which has the messages.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from irnn_tvm.runtime import shapes
from irnn_tvm.runtime.native import NativeEngine, address

if TYPE_CHECKING:
    from irnn_tvm.runtime.library import Library
    from irnn_tvm.runtime.streams import Memory
    from irnn_tvm.runtime.tensors import Tensor

Array = npt.NDArray[Any]
# Outputs that nobody gave are rows of a block: making an array and asking it for its address costs more.
_ROWS = 64
# Arrays are buffers, which NumPy's stubs do not say before Python 3.12.
_BUFFER: Callable[[Any], Any] = ctypes.c_char.from_buffer


class _Place:
    """One input or output of a step: its dtype, its shapes with and without the T axis, and the last array that it was.

    Callers use their buffers again: an array that was right is right the next time, as long as its shape is the same.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.dtype = tensor.dtype
        self.full = shapes.shape(tensor.shape, 1)
        axis = shapes.time_axis(tensor.shape)
        self.timed = axis is not None
        self.bare = self.full if axis is None else self.full[:axis] + self.full[axis + 1 :]
        self.size = int(np.prod(self.full)) * tensor.dtype.itemsize
        self.last: Any = None
        self.shape: tuple[int, ...] = ()
        self.pointer = 0

    def take(self, array: Any, written: bool) -> bool:
        """Remembers an array and its address; False when it is not plainly right. written: as an output."""
        if type(array) is not np.ndarray or array.dtype != self.dtype or self.size == 0:
            return False
        flags, shape = array.flags, array.shape
        if not flags.c_contiguous or (written and not flags.writeable):
            return False
        if shape != self.full and (written or shape != self.bare):
            return False
        # The shortest way to an address that NumPy and ctypes have; it refuses what cannot be written.
        self.pointer = ctypes.addressof(_BUFFER(array)) if flags.writeable else address(array)
        self.last, self.shape = array, shape
        return True


class _Outputs:
    """Rows for an output, in blocks that live as long as a row of them does."""

    def __init__(self, place: _Place, squeeze: bool) -> None:
        self.dtype = place.dtype
        self.shape = place.bare if squeeze else place.full
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


class FastStep:
    """step of one stream. Calling it gives the result, or None when the general way has to be taken.

    The caller holds the stream's lock, and raises for codes.
    """

    def __init__(self, library: Library, memory: Memory, engine: NativeEngine) -> None:
        assert engine.step is not None
        self._function: Callable[..., int] = engine.step
        self._memory = memory
        self._state, self._arena = address(memory.state), address(memory.arena)
        self._inputs = [_Place(tensor) for tensor in library.inputs]
        self._outputs = [_Place(tensor) for tensor in library.outputs]
        self._timed = sum(place.timed for place in self._inputs)
        self._new = [[_Outputs(place, squeeze) for place in self._outputs] for squeeze in (False, True)]

    def __call__(self, inputs: Sequence[Any], out: Any) -> tuple[Any, int] | None:
        """(array or tuple of arrays, return code), or None and nothing done."""
        if not self._memory.initialized or len(inputs) != len(self._inputs):
            return None
        pointers = [self._state, self._arena]
        bare, moved = 0, False
        for place, array in zip(self._inputs, inputs):  # noqa: B905 - both lengths were compared, this is faster
            if array is not place.last or array.shape != place.shape:
                if not place.take(array, False):
                    return None
                moved = True
            bare += place.timed and len(place.shape) < len(place.full)
            pointers.append(place.pointer)
        if bare and bare != self._timed:
            return None
        if out is None:
            results = []
            for rows in self._new[bare > 0]:
                array, pointer = rows.take()
                results.append(array)
                pointers.append(pointer)
        else:
            results = [out] if type(out) is np.ndarray else list(out)
            if len(results) != len(self._outputs):
                return None
            for place, array in zip(self._outputs, results):  # noqa: B905
                if array is not place.last or array.shape != place.shape:
                    if not place.take(array, True):
                        return None
                    moved = True
                pointers.append(place.pointer)
            if moved and self._overlap():
                return None
        code = self._function(*pointers)
        return (results[0] if len(results) == 1 else tuple(results)), code

    def _overlap(self) -> bool:
        """Whether an output lies over an input or another output. Forgets them then, so that it is seen again."""
        spans = [(place.pointer, place.pointer + place.size) for place in (*self._inputs, *self._outputs)]
        for number in range(len(self._inputs), len(spans)):
            start, end = spans[number]
            if any(start < other_end and other < end for other, other_end in spans[:number]):
                for place in self._outputs:
                    place.last = None
                return True
        return False
