"""The short way of Stream.step and Stream.run: calls that are right as they are, on a library in this process.

A step of a small network takes microseconds, and describing an operation, checking it and finding addresses the general
way takes ten times as long. Whatever is not plainly right is left to the general way, which has the messages.
"""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from irnn_tvm.runtime import shapes
from irnn_tvm.runtime.native import address

if TYPE_CHECKING:
    from irnn_tvm.runtime.library import Library
    from irnn_tvm.runtime.streams import Memory
    from irnn_tvm.runtime.tensors import Tensor

Array = npt.NDArray[Any]
# Arrays are buffers, which NumPy's stubs do not say before Python 3.12.
_BUFFER: Callable[[Any], Any] = ctypes.c_char.from_buffer
_NOTHING = object()  # is no caller's `out`


class Place:
    """One input or output of a call: its dtype, its shape and the last array that it was.

    Callers use their buffers again: an array that was right is right the next time, as long as its shape is the same.
    """

    def __init__(self, tensor: Tensor, length: int = 1) -> None:
        self.expressions, self.dtype = tensor.shape, tensor.dtype
        self.axis = shapes.time_axis(tensor.shape)
        self.last: Any = None
        self.shape: tuple[int, ...] = ()
        self.pointer = 0
        self.resize(length)

    def resize(self, length: int) -> None:
        """From now on, arrays of sequences of this length."""
        self.last = None
        self.full = shapes.shape(self.expressions, length)
        self.size = math.prod(self.full) * self.dtype.itemsize

    def take(self, array: Any, written: bool, bare: tuple[int, ...] | None = None) -> bool:
        """Remembers an array and its address; False when it is not plainly right.

        written: as an output. bare: another shape that is right, too.
        """
        if type(array) is not np.ndarray or array.dtype != self.dtype or self.size == 0:
            return False
        flags, shape = array.flags, array.shape
        if not flags.c_contiguous or (written and not flags.writeable):
            return False
        if shape != self.full and shape != bare:
            return False
        # The shortest way to an address that NumPy and ctypes have; it refuses what cannot be written.
        self.pointer = ctypes.addressof(_BUFFER(array)) if flags.writeable else address(array)
        self.last, self.shape = array, shape
        return True


class FastCall(ABC):
    """One function of a library on one stream's memory.

    Calling it gives the result and the return code, or None when the general way has to be taken. The caller holds the
    stream's lock, and raises for codes.
    """

    def __init__(self, library: Library, memory: Memory, function: Callable[..., int]) -> None:
        self._function = function
        self._memory = memory
        self._addresses = address(memory.state), address(memory.arena)
        self._inputs = [Place(tensor) for tensor in library.inputs]
        self._outputs = [Place(tensor) for tensor in library.outputs]
        self._places = [*self._inputs, *self._outputs]
        # The last call into the caller's arrays, for as long as the next one is the same.
        self._out: Any = _NOTHING
        self._count = 0
        self._arguments: tuple[int, ...] = ()
        self._results: tuple[Any, ...] = ()
        self._result: Any = None

    def __call__(self, inputs: tuple[Any, ...], out: Any) -> tuple[Any, int] | None:
        """(array or tuple of arrays, return code), or None and nothing done."""
        # The very arrays of the last call. Every attribute less counts here: a large layer's weights drive the
        # interpreter's own memory out of the caches in every step.
        if out is self._out and len(inputs) == self._count:
            for place, array in zip(self._places, inputs + self._results):
                if array is not place.last or array.shape != place.shape:
                    break
            else:
                return self._result, self._function(*self._arguments)
        self._forget()
        if not self._memory.initialized or len(inputs) != len(self._inputs):
            return None
        return self._checked(inputs, out)

    def release(self) -> None:
        """Holds the caller's arrays no longer."""
        self._forget()
        self._results, self._result = (), None
        for place in self._places:
            place.last = None

    @abstractmethod
    def _checked(self, inputs: tuple[Any, ...], out: Any) -> tuple[Any, int] | None:
        """The call, after every array was looked at."""

    def _into(self, inputs: tuple[Any, ...], out: Any, *length: int) -> tuple[Any, int] | None:
        """The call into the caller's arrays; the inputs have been taken."""
        results = (out,) if type(out) is np.ndarray else tuple(out)
        if len(results) != len(self._outputs):
            return None
        for place, array in zip(self._outputs, results):
            if (array is not place.last or array.shape != place.shape) and not place.take(array, True):
                return None
        if self._overlap():
            return None
        pointers = [place.pointer for place in self._places]
        self._arguments = (*self._addresses, *length, *pointers)
        self._results, self._result = results, results[0] if len(results) == 1 else results
        if type(out) is not list:  # a list may hold others the next time
            self._out, self._count = out, len(inputs)
        return self._result, self._function(*self._arguments)

    def _forget(self) -> None:
        """There is no last call."""
        self._out = _NOTHING

    def _overlap(self) -> bool:
        """Whether an output lies over an input or another output. Forgets them then, so that it is seen again."""
        spans = [(place.pointer, place.pointer + place.size) for place in self._places]
        for number in range(len(self._inputs), len(spans)):
            start, end = spans[number]
            if any(start < other_end and other < end for other, other_end in spans[:number]):
                for place in self._outputs:
                    place.last = None
                return True
        return False
