"""Counts the instructions that a library executes under an emulator: exact, and the same on every machine."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from irnn_tvm.cache import cache_folder
from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import EmulatorError, InputError
from irnn_tvm.runtime.emulated import EmulatedEngine
from irnn_tvm.runtime.library import Library
from irnn_tvm.runtime.protocol import Operation
from irnn_tvm.runtime.streams import raise_for_code
from irnn_tvm.targets.base import host_triples

_SOURCE = Path(__file__).parent / "emulator" / "insn_count.c"
# QEMU accepts a range of interface versions: 1 up to QEMU 8, 2 and more since. What is used here is in all.
_PLUGIN_VERSIONS = (1, 2, 4)


def count_instructions(
    lib: Library, op: Literal["step", "run"] = "step", inputs: Sequence[Any] = (), n: int = 100
) -> float:
    """Instructions per operation: difference between 2n and n operations on the same inputs, divided by n.

    lib: a library that runs under an emulator (`lib.emulated`); inputs: arrays as for Stream.step or
    Library.run.
    Start-up, reading and checking cancel out; what is left beyond the library is its caller's loop, some ten
    instructions. The state carries on from one operation to the next. InputError for a library without an
    emulator and for n < 1; ToolNotFoundError without QEMU (the dynamically linked build: plugins need it).
    """
    engine = lib._engine
    if not isinstance(engine, EmulatedEngine):
        raise InputError(f"Instructions are counted under an emulator, and {lib.name} runs {lib.where}.")
    if n < 1:
        raise InputError(f"n must be at least 1, got {n}.")
    arrays = tuple(inputs)
    operation = (
        lib.stream()._step_operation(arrays, None)[0] if op == "step" else lib._run_operation(arrays, None)
    )
    return (_count(lib, engine, operation, 2 * n) - _count(lib, engine, operation, n)) / n


def plugin(version: int = 1, source: Path = _SOURCE) -> Path:
    """A plugin for this machine, in the user's cache (irnn_tvm/cache.py); compiled at first use."""
    triple = host_triples()[0]
    text = source.read_bytes() + source.with_name("qemu_plugin.h").read_bytes()
    digest = hashlib.sha256(text + triple.encode()).hexdigest()[:16]
    folder = cache_folder()
    path = folder / f"{source.stem}-v{version}-{digest}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{source.stem}-", dir=folder) as work:
            made = Path(work) / path.name
            options = ["-O2", "-g0", "-fPIC", "-nostdlib", "-fvisibility=hidden", "-Wl,-z,undefs"]
            toolchain.run_zig(
                [
                    "cc",
                    "-target",
                    triple,
                    "-shared",
                    f"-DPLUGIN_VERSION={version}",
                    *options,
                    source,
                    "-o",
                    made,
                ],
                "Compiling the plugin that counts instructions",
            )
            made.replace(path)
    return path


def count(start: Callable[[list[str]], None]) -> int:
    """Instructions of one whole run of an emulator. start: see `plugin_log`."""
    found = re.search(r"instructions: (\d+)", plugin_log(start))
    if found is None:
        raise EmulatorError("The emulator did not report a number of instructions: it lacks plugin support.")
    return int(found[1])


def plugin_log(start: Callable[[list[str]], None], source: Path = _SOURCE) -> str:
    """What a plugin writes during one whole run of an emulator.

    start: runs the emulator with the given further options, and raises EmulatorError with its words when it
    fails; it is called again when QEMU wants another version of the plugin interface.
    """
    with tempfile.TemporaryDirectory(prefix="irnn-count-") as folder:
        log = Path(folder) / "count.log"
        for version in _PLUGIN_VERSIONS:
            try:
                start(["-plugin", str(plugin(version, source)), "-d", "plugin", "-D", str(log)])
                break
            except EmulatorError as error:
                if version == _PLUGIN_VERSIONS[-1] or "version" not in str(error):
                    raise
        return log.read_text() if log.is_file() else ""


def _count(lib: Library, engine: EmulatedEngine, operation: Operation, repeats: int) -> int:
    """Instructions of a whole run of the emulator with `repeats` operations."""
    work = Operation(operation.kind, operation.length, operation.inputs, operation.outputs, repeats)
    if engine.kind == "pc":  # Bochs counts by itself
        engine.execute(lib._memory(), [work])
        total = engine.instructions or 0
    else:
        total = count(lambda options: engine.execute(lib._memory(), [work], options))
    raise_for_code(work.code, work.kind)
    return total
