"""Counts the instructions that each function of a library executes under QEMU: exact, as instruction_count.py."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from irnn_tvm.errors import EmulatorError, InputError, LoadError
from irnn_tvm.runtime.emulated import EmulatedEngine
from irnn_tvm.runtime.library import Library
from irnn_tvm.runtime.protocol import Operation
from irnn_tvm.runtime.streams import raise_for_code
from irnn_tvm.tuning.elf_symbols import Symbol, symbols
from irnn_tvm.tuning.instruction_count import plugin_log

_SOURCE = Path(__file__).parent / "emulator" / "block_count.c"
# Functions of the program that calls the library, not of the library (compiler/firmware).
_RUNNER = frozenset({"main", "check_zones"})
OTHER = "other"


def count_functions(
    lib: Library, op: Literal["step", "run"], inputs: Sequence[Any], n: int = 10
) -> dict[str, float]:
    """Instructions per operation by function symbol, those of the calling program left out.

    lib, inputs, n: as for `count_instructions`; the difference between 2n and n operations is divided by n. What lies
    in no function is `other`. InputError for a library that QEMU does not emulate and for n < 1; ToolNotFoundError
    without QEMU; LoadError when the program has no symbols.
    """
    engine = lib._engine
    if not isinstance(engine, EmulatedEngine):
        raise InputError(f"Instructions are counted under an emulator, and {lib.name} runs {lib.where}.")
    if engine.kind == "pc":
        raise InputError(
            f"{lib.name} runs {lib.where}, which counts whole programs; functions are counted under QEMU."
        )
    if n < 1:
        raise InputError(f"n must be at least 1, got {n}.")
    functions = [entry for entry in symbols(engine.runner).values() if entry.function and entry.size]
    if not functions:
        raise LoadError(f"{engine.runner.name} has no symbols of functions.")
    arrays = tuple(inputs)
    operation = (
        lib.stream()._step_operation(arrays, None)[0] if op == "step" else lib._run_operation(arrays, None)
    )
    few, many = (_blocks(lib, engine, operation, repeats) for repeats in (n, 2 * n))
    found = by_function({key: many.get(key, 0) - few.get(key, 0) for key in many | few}, functions)
    return {name: value / n for name, value in found.items() if value and name not in _RUNNER}


def by_function(blocks: Mapping[tuple[int, int], int], functions: Sequence[Symbol]) -> dict[str, int]:
    """Adds up executed instructions by function. blocks: (address, instructions) to executions."""
    ordered = sorted(functions, key=lambda entry: entry.address)
    starts = [entry.address for entry in ordered]
    found: dict[str, int] = {}
    for (address, instructions), executed in blocks.items():
        at = bisect_right(starts, address) - 1
        inside = at >= 0 and address < ordered[at].address + ordered[at].size
        name = ordered[at].name if inside else OTHER
        found[name] = found.get(name, 0) + instructions * executed
    return found


def _blocks(
    lib: Library, engine: EmulatedEngine, operation: Operation, repeats: int
) -> dict[tuple[int, int], int]:
    """Executions of every block, by its address and number of instructions, in a whole run of the emulator."""
    work = Operation(operation.kind, operation.length, operation.inputs, operation.outputs, repeats)
    text = plugin_log(lambda options: engine.execute(lib._memory(), [work], options), _SOURCE)
    raise_for_code(work.code, work.kind)
    if "blocks: complete" not in text:
        raise EmulatorError("The emulator did not report its blocks: it lacks plugin support.")
    found: dict[tuple[int, int], int] = {}
    for address, instructions, executed in re.findall(r"^k: (\d+) (\d+) (\d+)$", text, re.M):
        key = int(address), int(instructions)
        found[key] = found.get(key, 0) + int(executed)
    return found
