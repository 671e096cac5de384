"""Clocks around the kernels of a finished library, which is not rebuilt and not changed.

The library's own orchestration, NAME.c, is compiled once more. Its calls go to wrappers that read a clock, call the
kernel inside the loaded library, and read the clock again; its weights are those in the loaded library. What is timed
is the code that ships, in its place in memory.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from irnn_tvm import targets
from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import BuildError, LoadError
from irnn_tvm.runtime.library import Library
from irnn_tvm.runtime.native import NativeEngine, address
from irnn_tvm.runtime.streams import raise_for_code
from irnn_tvm.tuning.elf_symbols import require, symbols

NATIVE = Path(__file__).parent / "native"
_PROTOTYPE = re.compile(r"^extern void (\w+)\((.*)\);$", re.M)
_WEIGHT = re.compile(r"^extern const (\w+) (\w+_w\d+)\[\d+\];", re.M)
_TRIALS, _READINGS = 10, 100
_PARAMETER = re.compile(r"(const )?(\w+) (\*?)(\w+)")


@dataclass(frozen=True)
class Ticks:
    """Of some calls of a library: ticks of the clock in total, per kernel, and how often each kernel ran."""

    total: int
    kernels: dict[str, int]
    executions: dict[str, int]


class Probe:
    """Calls a library from C, with and without clocks around its kernels."""

    def __init__(self, lib: Library, directory: Path, inputs: Sequence[npt.NDArray[Any]], steps: int) -> None:
        """lib: runs in this process; directory: holds its NAME.c (lib.directory, unless it was built for `c`).

        inputs: of one call of `steps` time steps; a call of one step is NAME_step where there is one. LoadError when
        a symbol or NAME.c is missing.
        """
        engine = lib._engine
        if not isinstance(engine, NativeEngine):
            raise LoadError(f"{lib.name} does not run in this process ({lib.where}).")
        self.lib, self.steps = lib, steps
        self.single = steps == 1 and lib.streamable
        source = directory / f"{lib.name}.c"
        try:
            text = source.read_text(encoding="utf-8")
        except OSError:
            raise LoadError(f"{source} is missing: without it kernels cannot be timed one by one.") from None
        prototypes = [(name, args) for name, args in _PROTOTYPE.findall(text)]
        self.kernels = [name for name, _ in prototypes]
        weights = [name for _, name in _WEIGHT.findall(text)]
        path = lib.directory / lib.report["files"]["library"]
        table = symbols(path)
        require(table, [*self.kernels, *weights, f"{lib.name}_init"], path)
        init = ctypes.cast(getattr(engine._cdll, f"{lib.name}_init"), ctypes.c_void_p).value
        assert init is not None
        base = init - table[f"{lib.name}_init"].address
        self.weights = {name: base + table[name].address for name in weights}
        self._dll = _compile(lib, directory, text, prototypes, weights)
        for name, pointer in self.weights.items():
            ctypes.c_void_p.in_dll(self._dll, name).value = pointer
        functions = (ctypes.c_void_p * len(self.kernels)).in_dll(self._dll, "irnn_kernel")
        for index, name in enumerate(self.kernels):
            functions[index] = base + table[name].address
        self._memory = lib._memory()
        engine.execute(self._memory, [])
        function: Any = engine.step if self.single else engine.run
        self._function = ctypes.cast(function, ctypes.c_void_p)
        operation = lib._run_operation(tuple(inputs), None)
        self.outputs = list(operation.outputs)
        self._arrays = [*operation.inputs, *operation.outputs]
        self._io = (ctypes.c_void_p * len(self._arrays))(*(address(a) for a in self._arrays))

    def reset(self) -> None:
        """The next call starts from the initial state."""
        getattr(self._dll, f"{self.lib.name}_init")(ctypes.c_void_p(address(self._memory.state)))

    def plain(self, calls: int) -> int:
        """Ticks of `calls` calls of the library as it is."""
        return self._repeat(False, calls)

    def timed(self, calls: int) -> Ticks:
        """The same with a clock around every kernel."""
        self._slots("irnn_ticks")[:] = 0
        self._slots("irnn_executions")[:] = 0
        total = self._repeat(True, calls)
        ticks, executions = self._slots("irnn_ticks"), self._slots("irnn_executions")
        return Ticks(
            total,
            {name: int(ticks[i]) for i, name in enumerate(self.kernels)},
            {name: int(executions[i]) for i, name in enumerate(self.kernels)},
        )

    def clock_cost(self) -> tuple[float, float]:
        """What a clock around a function that does nothing takes: ticks that it finds, and ticks in all.

        The least of some trials: one that is interrupted says nothing of the clock.
        """
        self._dll.irnn_time_nothing.restype = ctypes.c_int64
        trials = []
        for _ in range(_TRIALS):
            self._slots("irnn_ticks")[:] = 0
            total = self._dll.irnn_time_nothing(ctypes.c_int32(_READINGS))
            trials.append((total / _READINGS, float(self._slots("irnn_ticks")[-1]) / _READINGS))
        whole, found = min(trials)
        return found, whole

    def ticks_per_second(self, seconds: float = 0.05) -> float:
        """Rate of the clock."""
        self._dll.irnn_clock.restype = ctypes.c_int64
        start, first = time.perf_counter_ns(), self._dll.irnn_clock()
        time.sleep(seconds)
        stop, last = time.perf_counter_ns(), self._dll.irnn_clock()
        return (last - first) * 1e9 / (stop - start)

    def _repeat(self, timed: bool, calls: int) -> int:
        code = ctypes.c_int(0)
        self._dll.irnn_repeat.restype = ctypes.c_int64
        ticks = self._dll.irnn_repeat(
            ctypes.c_void_p(None) if timed else self._function,
            ctypes.c_int32(calls),
            ctypes.c_int32(self.steps),
            ctypes.c_void_p(address(self._memory.state)),
            ctypes.c_void_p(address(self._memory.arena)),
            self._io,
            ctypes.byref(code),
        )
        raise_for_code(code.value, "step" if self.single else "run")
        return int(ticks)

    def _slots(self, name: str) -> npt.NDArray[np.int64]:
        slots = (ctypes.c_int64 * (len(self.kernels) + 1)).in_dll(self._dll, name)
        return np.ctypeslib.as_array(slots)


def _compile(
    lib: Library, directory: Path, text: str, prototypes: list[tuple[str, str]], weights: list[str]
) -> ctypes.CDLL:
    """The orchestration with wrappers, as a shared library in this process."""
    # Arrays become pointers, which are set to the arrays of the loaded library.
    orchestration = _WEIGHT.sub(r"extern const \1 *\2;", text)
    target = targets.get("host")
    with tempfile.TemporaryDirectory(prefix="irnn-probe-") as folder:
        work = Path(folder)
        (work / f"{lib.name}.c").write_text(orchestration, encoding="utf-8")
        (work / "probe.c").write_text(_wrappers(lib, text, prototypes, weights), encoding="utf-8")
        out = work / "probe.so"
        flags = ["-shared", "-fPIC", "-O2", "-g0", "-std=gnu11", "-fno-strict-aliasing", "-fno-sanitize=all"]
        toolchain.run_zig(
            ["cc", "-target", target.zig_target, *target.zig_flags, *flags, "-I", NATIVE, "-I", directory.resolve(),
             work / f"{lib.name}.c", work / "probe.c", "-o", out],
            f"Compiling the clocks around the kernels of {lib.name}",
        )  # fmt: skip
        try:
            return ctypes.CDLL(str(out))
        except OSError as error:
            raise BuildError(f"The clocks around the kernels cannot be loaded: {error}") from error


def _wrappers(lib: Library, text: str, prototypes: list[tuple[str, str]], weights: list[str]) -> str:
    """C text: a wrapper for every kernel, and the loop over calls."""
    types = {name: dtype for dtype, name in _WEIGHT.findall(text)}
    count = len(prototypes)
    lines = ["#include <stddef.h>", '#include "clock.h"', f'#include "{lib.name}.h"', ""]
    lines += [f"const {types[name]} *{name};" for name in weights]
    lines += [
        f"void *irnn_kernel[{max(count, 1)}];",
        f"int64_t irnn_ticks[{count + 1}], irnn_executions[{count + 1}];",
        "",
    ]
    for index, (name, parameters) in enumerate(prototypes):
        lines += _wrapper(index, name, parameters)
    lines += [
        "static void nothing(void) {}",
        "static void (*volatile do_nothing)(void) = nothing;",
        "int64_t irnn_time_nothing(int32_t executions) {",
        "  const int64_t first = irnn_now();",
        "  for (int32_t i = 0; i < executions; ++i) {",
        "    const int64_t start = irnn_now();",
        "    do_nothing();",
        f"    irnn_ticks[{count}] += irnn_now() - start;",
        f"    ++irnn_executions[{count}];",
        "  }",
        "  return irnn_now() - first;",
        "}",
        "int64_t irnn_clock(void) { return irnn_now(); }",
        "",
    ]
    io = ", ".join(f"io[{i}]" for i in range(len(lib.inputs) + len(lib.outputs)))
    # `original` is the same function of the loaded library, without clocks.
    lines += ["static int call(void *original, int32_t T, void *state, void *arena, void *const *io) {"]
    if lib.streamable:
        lines += [
            "  if (T == 1) {",
            f"    __typeof__(&{lib.name}_step) step = original ? original : (void *){lib.name}_step;",
            f"    return step(state, arena, {io});",
            "  }",
        ]
    lines += [
        f"  __typeof__(&{lib.name}_run) run = original ? original : (void *){lib.name}_run;",
        f"  return run(state, arena, T, {io});",
        "}",
        "int64_t irnn_repeat(void *original, int32_t calls, int32_t T, void *state, void *arena, void *const *io,",
        "                    int *code) {",
        "  const int64_t start = irnn_now();",
        "  for (int32_t i = 0; i < calls && *code == 0; ++i) *code = call(original, T, state, arena, io);",
        "  return irnn_now() - start;",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _wrapper(index: int, name: str, parameters: str) -> list[str]:
    names = [match[3] for match in _PARAMETER.findall(parameters)]
    return [
        f"void {name}({parameters}) {{",
        "  const int64_t start = irnn_now();",
        f"  ((void (*)({parameters}))irnn_kernel[{index}])({', '.join(names)});",
        f"  irnn_ticks[{index}] += irnn_now() - start;",
        f"  ++irnn_executions[{index}];",
        "}",
        "",
    ]
