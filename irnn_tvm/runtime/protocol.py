"""The files that the runner of an emulated target reads and writes. All integers are little-endian int32.

in.bin:  magic, number of operations, has_state (0 or 1), the state's bytes if has_state; then per operation:
         code, T, number of repetitions (codes 3 and 4 only), the raw bytes of every input in order (none for
         reset).
out.bin: magic; then per operation: return code, and if it is 0 the raw bytes of every output in order (none
         for reset); at the end the state's bytes, and the deepest use of the stack in bytes or -1.
Codes:   0 reset, 1 step, 2 run, 3 step and 4 run repeated on the same inputs (for counting instructions), 5 save,
         whose output is a snapshot, and 6 restore, whose input is one.
Without has_state the runner calls NAME_init first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from irnn_tvm.errors import EmulatorError

MAGIC = 0x4E525249
_CODES = {"reset": 0, "step": 1, "run": 2, "save": 5, "restore": 6}


@dataclass
class Operation:
    """One call of a library. `outputs` are allocated by the caller and filled by whoever executes it.

    repeats > 1 makes the call again and again on the same inputs, the outputs are those of the last call.
    """

    kind: Literal["reset", "step", "run", "save", "restore"]
    length: int = 1
    inputs: Sequence[npt.NDArray[Any]] = ()
    outputs: Sequence[npt.NDArray[Any]] = ()
    repeats: int | None = None
    code: int = field(default=0)


def encode(operations: Sequence[Operation], state: bytes | None) -> bytes:
    """The contents of in.bin."""
    parts = [struct.pack("<3i", MAGIC, len(operations), int(state is not None)), state or b""]
    for operation in operations:
        code = _CODES[operation.kind]
        if operation.repeats is None:
            parts.append(struct.pack("<2i", code, operation.length))
        else:
            parts.append(struct.pack("<3i", code + 2, operation.length, operation.repeats))
        parts += [array.tobytes() for array in operation.inputs]
    return b"".join(parts)


def decode(data: bytes, operations: Sequence[Operation], state_bytes: int) -> tuple[bytes, int]:
    """Reads out.bin into the operations' outputs and codes; returns (state, stack bytes or -1).

    EmulatorError when the file is truncated or not one of ours.
    """
    reader = _Reader(data)
    if reader.integer() != MAGIC:
        raise EmulatorError("The runner's output has a wrong magic number.")
    for operation in operations:
        operation.code = reader.integer()
        if operation.code == 0:
            for array in operation.outputs:
                array[...] = np.frombuffer(reader.take(array.nbytes), array.dtype).reshape(array.shape)
    state = reader.take(state_bytes)
    stack = reader.integer()
    if reader.position != len(data):
        raise EmulatorError(
            f"The runner's output is {len(data) - reader.position} bytes longer than expected."
        )
    return state, stack


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.position : self.position + count]
        if len(piece) != count:
            raise EmulatorError("The runner's output is truncated.")
        self.position += count
        return piece

    def integer(self) -> int:
        return int.from_bytes(self.take(4), "little", signed=True)
