"""A built library: what a model becomes. Runs here, or under an emulator and says so; needs NumPy only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from irnn_tvm.boundary import public, translate
from irnn_tvm.errors import IrnnError, LoadError
from irnn_tvm.runtime import layouts, shapes
from irnn_tvm.runtime.emulated import EmulatedEngine
from irnn_tvm.runtime.export import copy_directory
from irnn_tvm.runtime.fast_run import FastRun
from irnn_tvm.runtime.fast_step import FastStep
from irnn_tvm.runtime.native import NativeEngine, aligned, refusal
from irnn_tvm.runtime.pickling import identity, reopen
from irnn_tvm.runtime.protocol import Operation
from irnn_tvm.runtime.streams import (
    Array,
    Engine,
    Memory,
    Result,
    Stream,
    checked_inputs,
    collect_outputs,
    raise_for_code,
)
from irnn_tvm.runtime.tensors import Tensor, TimeRange, sequence_length

ABI_VERSION = 1
_REQUIRED = (
    *("abi_version", "name", "target", "kind", "files", "inputs", "outputs", "state_bytes", "arena_bytes"),
    *("alignment", "streamable", "time", "emulator"),
)


@public
def load(directory: str | Path, *, emulate: bool = False) -> Library:
    """Opens the directory that a build wrote. emulate=True: under QEMU even where the code could run
    natively.

    LoadError when it is missing, incomplete or made for another version.
    """
    folder = Path(directory)
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LoadError(f"{folder} holds no report.json: it is not the output of a build.") from error
    except NotADirectoryError as error:
        raise LoadError(f"{folder} is a file; the output of a build is a directory.") from error
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}") from error
    return Library(folder, report, emulate=emulate)


class Library:
    """One compiled model. `run` and `stream` call it, `export` copies it, `report` says what it holds.

    inputs, outputs: descriptions with `quantize` and `dequantize`. emulated: True when QEMU runs it. where:
    who runs it, in words. Several threads may use one Library, and several streams of it at once.

    Pickles hold the path: whoever takes one opens the library there again, so that process pools work. A copy of a
    Library is the Library itself, which never changes.
    """

    def __init__(
        self, directory: Path, report: Mapping[str, Any], *, emulate: bool = False, owner: object = None
    ) -> None:
        """`owner` is kept alive as long as the library, for example the temporary directory of it."""
        self.directory = Path(directory)
        # Where pickles say that it is, also after the process has changed its directory.
        self._place, self._emulate, self._temporary = os.path.abspath(directory), emulate, False
        self.report = dict(report)
        self._owner = owner
        self._check()
        self.name: str = report["name"]
        self.target: str = report["target"]
        self.streamable: bool = report["streamable"]
        self.inputs = tuple(Tensor.from_report(entry) for entry in report["inputs"])
        self.outputs = tuple(Tensor.from_report(entry) for entry in report["outputs"])
        self.time = TimeRange.from_report(report["time"])
        self._step_time = TimeRange(1, 1)
        self._engine, self._refusal = self._choose_engine(emulate)
        # Streams that `run` used, for the next call: as many as threads were in it at once.
        self._idle: list[Stream] = []

    @property
    def emulated(self) -> bool:
        """True when calls go through QEMU."""
        return self._engine is not None and self._engine.emulated

    @property
    def where(self) -> str:
        """Who runs this library: "native: x86_64", "emulated: qemu-aarch64 -cpu ...", or why nobody does."""
        return self._engine.where if self._engine is not None else f"not here: {self._refusal}"

    @property
    def stack_bytes(self) -> int | None:
        """Deepest use of the stack in emulated calls so far, in bytes; None when not measured."""
        return getattr(self._engine, "stack_bytes", None)

    @property
    def variant(self) -> str | None:
        """The target whose kernels run, of a library that chooses among several here ("x86"); else None."""
        return self._engine.variant() if isinstance(self._engine, NativeEngine) else None

    @public
    def choose(self, variant: str) -> None:
        """Takes the kernels of this variant (report["variants"]) from now on, in all of this process.

        Not while another thread calls the library. LoadError when there are none, or this CPU cannot run them.
        """
        names = [entry["target"] for entry in self.report.get("variants", ())]
        if variant not in names:
            there_are = f"it has {', '.join(names)}" if names else "it has one set of kernels"
            raise LoadError(f"{self.name} has no kernels {variant!r}: {there_are}.")
        if not isinstance(self._engine, NativeEngine):
            raise LoadError(f"{self.name} does not run in this process: {self.where}.")
        if not self._engine.choose(variant):
            raise LoadError(f"This CPU cannot run the kernels {variant!r} of {self.name}.")

    def run(self, *inputs: Any, out: Array | Sequence[Array] | None = None) -> Result:
        """The model on a whole sequence, from the initial state.

        inputs: one integer array (NumPy, or a torch tensor on the CPU) per model input, in order, of the
        dtype and shape in `inputs`; a C-contiguous array is read in place, any other layout is copied. out:
        array, or a sequence of them, that receives the outputs in place. Returns one array, or a tuple when
        the model has several outputs. InputError names the input that is wrong; LoadError when the library
        cannot run on this machine.
        """
        try:  # and no decorator: a call takes a few microseconds
            if not isinstance(self._engine, NativeEngine):
                operation = self._run_operation(inputs, out)
                self._execute([operation])
                return self._result(operation)
            try:
                stream = self._idle.pop()
            except IndexError:
                stream = self.stream()
            try:
                return stream._run_from_start(inputs, out)
            finally:
                self._idle.append(stream)
        except IrnnError:
            raise
        except Exception as error:
            raise translate(error, "Library.run") from error

    @public
    def run_many(self, sequences: Iterable[Any]) -> list[Result]:
        """`run` for each item (an array, or a tuple of the inputs), each from the initial state.

        Under an emulator this is much faster than calling run repeatedly: QEMU starts once.
        """
        runs = [self._run_operation(item if isinstance(item, tuple) else (item,), None) for item in sequences]
        self._execute([item for operation in runs for item in (Operation("reset"), operation)])
        return [self._result(operation) for operation in runs]

    @public
    def stream(self) -> Stream:
        """A new stream in the initial state, with memory of its own."""
        return Stream(self, self._memory())

    @public
    def export(self, directory: str | Path, layout: str | None = None) -> Path:
        """Copies header, library and report into a new directory, all or nothing; replaces an earlier export.

        layout: for the build system of a firmware, with a minimal program and a self-test: "plain", "cmake", "arduino",
        "platformio", "zephyr" or "cmsis-pack". None: as build wrote it. LoadError when the place holds something else,
        for an unknown layout, and for layouts of a shared library.
        """
        if layout is None:
            return copy_directory(self.directory, Path(directory))
        return layouts.write(layouts.Package(self.directory, self.report), layout, Path(directory))

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen, (self._place, self._emulate, identity(self.report), self._temporary)

    def __copy__(self) -> Library:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Library:
        return self

    def __repr__(self) -> str:
        return f"<Library {self.name} for {self.target}, {self.where}>"

    def _choose_engine(self, emulate: bool) -> tuple[Engine | None, str | None]:
        report, kind = self.report, self.report["kind"]
        if kind == "sources" and report["emulator"] is None:
            return None, (
                "it consists of C sources; irnn_tvm.compiler.compile_sources.compile_c_library(directory) "
                "compiles and loads them"
            )
        reason = "it is firmware"
        if kind == "shared":
            reason = refusal(self.directory / report["files"]["library"], report.get("cpu_flags", ())) or ""
            if not reason and not emulate:
                native = NativeEngine(self.directory / report["files"]["library"], report)
                # A library that looks at the CPU itself knows better than /proc/cpuinfo.
                if native.variant() != "":
                    return native, None
                reason = "this CPU, or its operating system, lacks instructions that all of its kernels need"
        if report["emulator"] is not None:
            return EmulatedEngine(self.directory, report, reason), None
        return None, reason or f"the target {self.target} has no emulator"

    def _check(self) -> None:
        where = self.directory
        missing = [key for key in _REQUIRED if key not in self.report]
        if missing:
            raise LoadError(f"{where}/report.json has no entry {', '.join(missing)}.")
        if self.report["abi_version"] != ABI_VERSION:
            raise LoadError(
                f"{where} was built for version {self.report['abi_version']} of the C interface, "
                f"this is {ABI_VERSION}."
            )
        files = self.report["files"]
        for path in [
            files.get("library"),
            files.get("header"),
            files.get("runner"),
            *files.get("sources", ()),
        ]:
            if path and not (where / path).is_file():
                raise LoadError(f"{where} is incomplete: {path} is missing.")

    def _engine_or_raise(self) -> Engine:
        if self._engine is None:
            raise LoadError(f"{self.name} for {self.target} cannot run here: {self._refusal}.")
        return self._engine

    def _memory(self) -> Memory:
        alignment = int(self.report["alignment"])
        return Memory(
            aligned(int(self.report["state_bytes"]), alignment),
            aligned(int(self.report["arena_bytes"]), alignment),
        )

    def _fast_step(self, memory: Memory) -> FastStep | None:
        """The short way of a stream's step, where the library runs in this process."""
        if not self.streamable or not isinstance(self._engine, NativeEngine):
            return None
        return FastStep(self, memory, self._engine)

    def _fast_run(self, memory: Memory) -> FastRun | None:
        """The short way of a stream's run, where the library runs in this process."""
        return FastRun(self, memory, self._engine) if isinstance(self._engine, NativeEngine) else None

    def _execute(self, operations: Sequence[Operation]) -> None:
        self._engine_or_raise().execute(self._memory(), operations)
        for operation in operations:
            raise_for_code(operation.code, operation.kind)

    def _arrays(self, inputs: Sequence[Any]) -> list[Array]:
        return checked_inputs(self.inputs, inputs, self.name)

    def _run_operation(self, inputs: Sequence[Any], out: Any) -> Operation:
        arrays = self._arrays(inputs)
        return self._operation("run", arrays, sequence_length(self.inputs, arrays, self.time), out)

    def _operation(self, kind: Any, arrays: list[Array], length: int, out: Any) -> Operation:
        return Operation(kind, length, arrays, collect_outputs(self.outputs, length, out, arrays))

    def _result(self, operation: Operation, squeeze: bool = False) -> Result:
        arrays = list(operation.outputs)
        if squeeze:
            axes = [shapes.time_axis(tensor.shape) for tensor in self.outputs]
            arrays = [
                array if axis is None else array.reshape(array.shape[:axis] + array.shape[axis + 1 :])
                for array, axis in zip(arrays, axes)
            ]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)
