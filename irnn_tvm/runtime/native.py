"""Calls a shared library in this process through ctypes, on the caller's arrays, without a copy."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from irnn_tvm.errors import LoadError
from irnn_tvm.runtime.protocol import Operation
from irnn_tvm.runtime.streams import Memory, explained

_ELF_MACHINES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
_HERE = {"AMD64": "x86_64", "arm64": "aarch64", "armv7l": "arm", "armv8l": "arm", "i686": "x86"}

# glibc recognises an opened library by its path alone. A library that was rebuilt in the same place is
# another file under the same name, and gets a name of its own by a longer spelling of the path.
_opened: dict[str, list[tuple[int, int]]] = {}
_opened_lock = threading.Lock()


def _forget_lock() -> None:
    """In a child of fork, where the thread that held it does not exist."""
    global _opened_lock
    _opened_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def refusal(library: Path, cpu_flags: Sequence[str]) -> str | None:
    """Why a shared library cannot be called in this process, None when it can; LoadError when it is none."""
    with library.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        raise LoadError(f"{library.name} is not an ELF shared library.")
    number = int.from_bytes(header[18:20], "little")
    built_for = _ELF_MACHINES.get(number, f"ELF machine {number}")
    here = _HERE.get(platform.machine(), platform.machine())
    if built_for != here:
        return f"it was built for {built_for} and this machine is {here}"
    if (header[4] == 2) != (ctypes.sizeof(ctypes.c_void_p) == 8):
        return f"it is {'64' if header[4] == 2 else '32'}-bit code and this Python is not"
    present = _cpu_flags() if cpu_flags else frozenset()
    missing = [flag for flag in cpu_flags if flag not in present] if present else []
    if missing:
        return f"its code uses {', '.join(missing)}, which this CPU does not have"
    return None


class NativeEngine:
    """The functions of one loaded library. Holds no state: any number of threads and streams may use it."""

    emulated = False

    def __init__(self, library: Path, report: Mapping[str, Any]) -> None:
        self.where = f"native: {platform.machine()}"
        self._cdll = _open(library)
        name = report["name"]
        count = len(report["inputs"]) + len(report["outputs"])
        pointer = ctypes.c_void_p
        self._prefix, self._chooses = name, "variants" in report
        self._init = self._function(f"{name}_init", [pointer])
        self.reset = self._function(f"{name}_reset", [pointer])
        self.run = self._function(f"{name}_run", [pointer, pointer, ctypes.c_int32] + [pointer] * count)
        self.step = (
            self._function(f"{name}_step", [pointer, pointer] + [pointer] * count)
            if report["streamable"]
            else None
        )

    def execute(self, memory: Memory, operations: Sequence[Operation]) -> None:
        """Carries the operations out in order on a stream's memory; sets the code of each."""
        if not memory.initialized:
            code = self._init(address(memory.state))
            if code != 0:
                raise LoadError(f"The library's init function failed: {explained(code)}.")
            memory.initialized = True
        state, arena = address(memory.state), address(memory.arena)
        for operation in operations:
            pointers = [address(array) for array in (*operation.inputs, *operation.outputs)]
            for _ in range(operation.repeats or 1):
                if operation.kind == "reset":
                    operation.code = self.reset(state)
                elif operation.kind in ("save", "restore"):
                    function = self._function(f"{self._prefix}_{operation.kind}", [ctypes.c_void_p] * 2)
                    operation.code = function(state, *pointers)
                elif operation.kind == "run":
                    operation.code = self.run(state, arena, operation.length, *pointers)
                else:
                    assert self.step is not None  # Stream.step has refused before
                    operation.code = self.step(state, arena, *pointers)

    def variant(self) -> str | None:
        """Which kernels run, None where there is no choice."""
        if not self._chooses:
            return None
        name: bytes = self._function(f"{self._prefix}_variant", [], ctypes.c_char_p)()
        return name.decode()

    def choose(self, variant: str) -> bool:
        """Takes other kernels; whether this CPU can run them."""
        return bool(self._function(f"{self._prefix}_choose", [ctypes.c_char_p])(variant.encode()) == 0)

    def _function(self, name: str, arguments: list[Any], result: Any = ctypes.c_int) -> Any:
        try:
            function = getattr(self._cdll, name)
        except AttributeError as error:
            raise LoadError(f"The library has no function {name}.") from error
        function.argtypes = arguments
        function.restype = result
        return function


def address(array: npt.NDArray[Any]) -> int:
    """Address of the first element."""
    return int(array.__array_interface__["data"][0])


def aligned(count: int, alignment: int) -> npt.NDArray[np.uint8]:
    """`count` bytes of memory at a multiple of `alignment`; the returned view keeps its base alive."""
    block = np.empty(count + alignment, np.uint8)
    start = -address(block) % alignment
    return block[start : start + count]


def _open(library: Path) -> ctypes.CDLL:
    path = library.resolve()
    status = path.stat()
    identity = (status.st_dev, status.st_ino)
    with _opened_lock:
        known = _opened.setdefault(str(path), [])
        if identity not in known:
            known.append(identity)
        spelling = f"{path.parent}/{'./' * known.index(identity)}{path.name}"
    try:
        return ctypes.CDLL(spelling)
    except OSError as error:
        raise LoadError(f"{library.name} cannot be loaded: {error}") from error


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()
