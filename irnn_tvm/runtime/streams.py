"""A stream: the state of one sequence in progress. Streams of a library share its weights, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Union

import numpy as np
import numpy.typing as npt

from irnn_tvm.boundary import public, translate
from irnn_tvm.errors import InputError, IrnnError, LoadError
from irnn_tvm.runtime import shapes
from irnn_tvm.runtime.pickling import resume
from irnn_tvm.runtime.protocol import Operation
from irnn_tvm.runtime.tensors import Tensor, as_array, output_array, sequence_length

if TYPE_CHECKING:
    from irnn_tvm.runtime.library import Library

Array = npt.NDArray[Any]
Result = Union[Array, tuple[Array, ...]]

# Return codes of every generated header.
_CODES = {
    -1: "a null pointer was passed",
    -2: "the sequence length is not accepted",
    -3: "an index input is out of range",
    -4: "the state, the arena or a tensor is not aligned",
    -5: "the state was not written by this library's init function",
    -6: "this CPU lacks instructions that the library needs",
    -7: "the snapshot is damaged or of another version",
    -8: "the snapshot, or the header, is of another model or build",
    -9: "memory that is written overlaps other memory of the call",
}
_WRONG_CPU = -6


@dataclass
class Memory:
    """What one stream owns: the library's state and its scratch memory, as aligned uint8 arrays."""

    state: npt.NDArray[np.uint8]
    arena: npt.NDArray[np.uint8]
    initialized: bool = False


class Engine(Protocol):
    """Whatever can carry out operations: this process or an emulator."""

    emulated: bool
    where: str

    def execute(self, memory: Memory, operations: Sequence[Operation]) -> None: ...


class Stream:
    """One sequence in progress. Calls from several threads are carried out one after the other.

    A copy (copy.copy, copy.deepcopy) is a stream of the same library that goes on from here by itself. A pickle holds
    the state and the library's path.
    """

    def __init__(self, library: Library, memory: Memory) -> None:
        self._library = library
        self._memory = memory
        self._lock = threading.Lock()
        self._fast_step = library._fast_step(memory)
        self._fast_run = library._fast_run(memory)

    def step(self, *inputs: Any, out: Array | Sequence[Array] | None = None) -> Result:
        """One time step. Inputs have T = 1, or no T axis at all, and then the outputs have none either.

        Returns one array, or a tuple when the model has several outputs. `out` (with the T axis) is written
        in place. InputError for a wrong shape or dtype, or for a model that cannot run step by step.
        """
        try:  # and no decorator: a step takes a microsecond
            if self._fast_step is not None:
                with self._lock:
                    done = self._fast_step(inputs, out)
                if done is not None:
                    if done[1] != 0:
                        raise_for_code(done[1], "step")
                    return done[0]
            operation, squeeze = self._step_operation(inputs, out)
            self._execute([operation])
            return self._library._result(operation, squeeze)
        except IrnnError:
            raise
        except Exception as error:
            raise translate(error, "Stream.step") from error

    @public
    def steps(self, sequence: Iterable[Any]) -> list[Result]:
        """One step for each item (an array, or a tuple of the inputs); returns the list of their results.

        Under an emulator this is much faster than calling step repeatedly: QEMU starts once.
        """
        pairs = [
            self._step_operation(item if isinstance(item, tuple) else (item,), None) for item in sequence
        ]
        self._execute([operation for operation, _ in pairs])
        return [self._library._result(operation, squeeze) for operation, squeeze in pairs]

    def run(self, *inputs: Any, out: Array | Sequence[Array] | None = None) -> Result:
        """The next T steps of this stream: inputs as in Library.run, continuing from where the stream is."""
        try:  # and no decorator: a step takes a microsecond
            if self._fast_run is not None:
                with self._lock:
                    done = self._fast_run(inputs, out)
                if done is not None:
                    if done[1] != 0:
                        raise_for_code(done[1], "run")
                    return done[0]
            operation = self._library._run_operation(inputs, out)
            self._execute([operation])
            return self._library._result(operation)
        except IrnnError:
            raise
        except Exception as error:
            raise translate(error, "Stream.run") from error

    def _run_from_start(self, inputs: Sequence[Any], out: Any) -> Result:
        """`run` from the initial state; no array of the caller is remembered."""
        if self._memory.initialized:
            self.reset()
        try:
            return self.run(*inputs, out=out)
        finally:
            if self._fast_run is not None:
                self._fast_run.release()

    @public
    def reset(self) -> None:
        """Back to the initial state."""
        self._execute([Operation("reset")])

    @property
    def state(self) -> bytes:
        """A copy of the state, which `stream.state = ...` of a stream of the same library takes back."""
        with self._lock:
            if not self._memory.initialized:
                self._library._engine_or_raise().execute(self._memory, [])
            return self._memory.state.tobytes()

    @state.setter
    def state(self, value: bytes) -> None:
        if len(value) != self._memory.state.size:
            raise InputError(f"The state has {self._memory.state.size} bytes, got {len(value)}.")
        with self._lock:
            self._memory.state[...] = bytearray(value)
            self._memory.initialized = True

    @public
    def save(self) -> bytes:
        """A snapshot of the state with a checksum, which `restore` takes back: also that of a stream of another library
        of the same model, for another target."""
        snapshot = np.empty(self._snapshot_bytes(), np.uint8)
        self._execute([Operation("save", outputs=[snapshot])])
        return snapshot.tobytes()

    @public
    def restore(self, snapshot: bytes) -> None:
        """Goes on from a snapshot. InputError where it is damaged or of another model; the stream is then as it was."""
        expected = self._snapshot_bytes()
        if len(snapshot) != expected:
            raise InputError(f"A snapshot of {self._library.name} has {expected} bytes, got {len(snapshot)}.")
        self._execute([Operation("restore", inputs=[np.frombuffer(snapshot, np.uint8)])])

    def __reduce__(self) -> tuple[Any, ...]:
        return resume, (self._library, self._state_or_none())

    def __copy__(self) -> Stream:
        return resume(self._library, self._state_or_none())

    def __deepcopy__(self, _memo: dict[int, Any]) -> Stream:
        return self.__copy__()

    def _state_or_none(self) -> bytes | None:
        """A copy of the state, None where nothing has made one yet."""
        with self._lock:
            return self._memory.state.tobytes() if self._memory.initialized else None

    def _snapshot_bytes(self) -> int:
        size = self._library.report.get("snapshot_bytes")
        if size is None:
            raise LoadError(f"{self._library.name} was built before there were snapshots: build it again.")
        return int(size)

    def _execute(self, operations: Sequence[Operation]) -> None:
        with self._lock:
            self._library._engine_or_raise().execute(self._memory, operations)
        for operation in operations:
            raise_for_code(operation.code, operation.kind)

    def _step_operation(self, inputs: Sequence[Any], out: Any) -> tuple[Operation, bool]:
        library = self._library
        if not library.streamable:
            raise InputError(
                f"{library.name} cannot run step by step (a layer needs the whole sequence): use run."
            )
        arrays = library._arrays(inputs)
        axes = [shapes.time_axis(tensor.shape) for tensor in library.inputs]
        bare = [
            array.ndim == len(tensor.shape) - 1
            for tensor, array, axis in zip(library.inputs, arrays, axes)
            if axis is not None
        ]
        squeeze = out is None and bool(bare) and all(bare)
        if squeeze:
            arrays = [a if axis is None else np.expand_dims(a, axis) for a, axis in zip(arrays, axes)]
        length = sequence_length(library.inputs, arrays, library._step_time)
        return library._operation("step", arrays, length, out), squeeze


def raise_for_code(code: int, kind: str) -> None:
    """LoadError for the return code of a CPU that the library cannot run on, InputError for others than 0."""
    if code != 0:
        error = LoadError if code == _WRONG_CPU else InputError
        raise error(f"{kind} failed: {explained(code)}.")


def explained(code: int) -> str:
    """A return code in words."""
    return f"{_CODES.get(code, 'unknown return code')} (code {code})"


def collect_outputs(tensors: Sequence[Tensor], length: int, out: Any, inputs: Sequence[Array]) -> list[Array]:
    """One array per output for a sequence of this length: new ones, or those of `out` after checks."""
    given = [None] * len(tensors) if out is None else [out] if isinstance(out, np.ndarray) else list(out)
    if len(given) != len(tensors):
        raise InputError(f"out holds {len(given)} arrays, the model has {len(tensors)} outputs.")
    arrays = [
        output_array(tensor, shapes.shape(tensor.shape, length), array)
        for tensor, array in zip(tensors, given)
    ]
    if out is not None:
        for index, array in enumerate(arrays):
            if any(np.may_share_memory(array, other) for other in (*inputs, *arrays[:index])):
                raise InputError(f"out {tensors[index].name!r} overlaps an input or another output.")
    return arrays


def checked_inputs(tensors: Sequence[Tensor], values: Sequence[Any], name: str) -> list[Array]:
    """The inputs as arrays; InputError when their number or a dtype is wrong."""
    if len(values) != len(tensors):
        expected = ", ".join(f"{tensor.name} {tensor.dtype} {tensor.shape_text()}" for tensor in tensors)
        raise InputError(f"{name} takes {len(tensors)} inputs ({expected}), got {len(values)}.")
    return [as_array(tensor, value) for tensor, value in zip(tensors, values)]
