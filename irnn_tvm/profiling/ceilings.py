"""What this core can do at most: bytes per second of weights by the size of the working set, int8 products per second.

Both are small C loops, compiled by the toolchain that links libraries, for this machine's CPU.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from irnn_tvm import targets
from irnn_tvm.compiler import toolchain
from irnn_tvm.errors import BuildError
from irnn_tvm.profiling.probe import NATIVE
from irnn_tvm.runtime.native import address
from irnn_tvm.targets import Target
from irnn_tvm.targets.base import cpu_flags

# Instruction sets of schedules/ that native/peak.c has a loop for, and the instructions of a product.
SEQUENCES = {
    "avx2": "vpxor, vpmaddubsw, vpmaddwd, vpaddd: 32",
    "avx512": "vpxord, vpmaddubsw, vpmaddwd, vpaddd: 64",
    "avx-vnni": "vpdpbusd: 32",
    "avx512-vnni": "vpdpbusd: 64",
    "neon-i8mm": "smmla: 32",
    "neon-dotprod": "sdot: 16",
    "neon": "smull, smlal2, sadalp: 16",
    "armv7-neon": "vmull, vmlal, vpadal: 16",
}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
ROUND = 0.5e-3  # seconds
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


@dataclass(frozen=True)
class Level:
    """One point of the curve of bandwidths. name: of the cache that holds `bytes`, or "memory"."""

    name: str
    bytes: int
    gbytes_per_s: float


@dataclass
class Ceilings:
    """working_set_bytes: constants that a call reads, which bandwidth is measured on (None when there are none); peak:
    None for scalar code, and for instruction sets without a loop. Gigabytes and giga-MACs are 1e9."""

    working_set_bytes: int
    gbytes_per_s: float | None
    gmacs_per_s: float | None
    peak_sequence: str | None
    levels: list[Level] = field(default_factory=list)

    def floor_seconds(
        self, nbytes: int, macs: int, gbytes_per_s: float | None = None
    ) -> tuple[float, str] | None:
        """The shortest time that these bytes and products can take, and which of the two it is; None when unknown.

        gbytes_per_s: of these bytes, where that is not the bandwidth of the whole working set.
        """
        times = []
        if rate := gbytes_per_s or self.gbytes_per_s:
            times.append((nbytes / rate / 1e9, "bandwidth"))
        if self.gmacs_per_s:
            times.append((macs / self.gmacs_per_s / 1e9, "products"))
        return max(times) if times else None


def measure(
    arrays: Sequence[tuple[int, int]], instruction_set: str | None, seconds: float = 0.1, levels: bool = True
) -> Ceilings:
    """The ceilings for a working set. arrays: address and bytes of each of its parts, in this process.

    seconds: for each figure, which is the best of many rounds. levels: measure the curve over sizes, too (its largest
    buffer is four times the last-level cache, at most 256 MB).
    """
    stream = _stream()
    total = sum(size for _, size in arrays)
    found = Ceilings(total, None, None, None)
    if total:
        found.gbytes_per_s = _bandwidth(stream, arrays, seconds)
    if instruction_set in SEQUENCES:
        found.peak_sequence = SEQUENCES[instruction_set]
        found.gmacs_per_s = _peak(instruction_set, seconds)
    if levels:
        for name, size in level_sizes():
            with mmap.mmap(-1, size) as block:
                if hasattr(mmap, "MADV_NOHUGEPAGE"):  # the pages of a library's weights are small, too
                    block.madvise(mmap.MADV_NOHUGEPAGE)
                data = np.frombuffer(block, np.uint8)
                data[:: mmap.PAGESIZE] = 1
                figure = _bandwidth(stream, [(address(data), size)], seconds)
                found.levels.append(Level(name, size, round(figure, 2)))
                del data  # it holds the block open
    return found


def bandwidths(parts: Sequence[Sequence[tuple[int, int]]], seconds: float = 0.05) -> list[float | None]:
    """Gigabytes per second of each of several working sets by itself; None for one that is empty."""
    stream = _stream()
    return [_bandwidth(stream, part, seconds) if sum(size for _, size in part) else None for part in parts]


def _stream() -> Any:
    """The loop of the widest loads that this machine has registers for."""
    wide = "avx512f" in cpu_flags()
    return _library("stream.c", ["-DBYTES=64"] if wide else []).irnn_stream


def level_sizes() -> list[tuple[str, int]]:
    """A buffer that fits well into each data cache of this core, and one that fits into none."""
    caches = sorted(_caches()) or [(1, 32 << 10), (2, 512 << 10), (3, 8 << 20)]
    found = [(f"L{level}", size // 2) for level, size in caches]
    return [*found, ("memory", min(4 * caches[-1][1], 256 << 20))]


def _caches() -> list[tuple[int, int]]:
    """(level, bytes) of the data caches, as Linux reports them; empty where it does not."""
    found = []
    for index in _CACHES.glob("index*"):
        try:
            kind, level, size = (
                (index / name).read_text(encoding="ascii").strip() for name in ("type", "level", "size")
            )
        except OSError:
            continue
        match = re.fullmatch(r"(\d+)([KM]?)", size)
        if kind in ("Data", "Unified") and match:
            found.append((int(level), int(match[1]) * _UNITS[match[2]]))
    return found


def _bandwidth(stream: Any, arrays: Sequence[tuple[int, int]], seconds: float) -> float:
    """Gigabytes per second, the best round."""
    pointers = (ctypes.c_void_p * len(arrays))(*(pointer for pointer, _ in arrays))
    sizes = (ctypes.c_int64 * len(arrays))(*(size for _, size in arrays))
    stream.restype = ctypes.c_int64
    total = sum(size for _, size in arrays)
    per_pass = best(
        lambda n: stream(pointers, sizes, ctypes.c_int32(len(arrays)), ctypes.c_int32(n)), seconds
    )
    return total / per_pass / 1e9


def _peak(instruction_set: str, seconds: float) -> float:
    """Giga-MACs per second, the best round."""
    peak = _library("peak.c", [peak_flag(instruction_set)]).irnn_peak
    peak.restype = ctypes.c_int64
    macs = peak(ctypes.c_int32(1))
    return float(macs / best(lambda n: peak(ctypes.c_int32(n)), seconds) / 1e9)


def peak_flag(instruction_set: str) -> str:
    """What selects an instruction set in peak.c."""
    return f"-DPEAK_{instruction_set.upper().replace('-', '_')}"


def best(run: Callable[[int], object], seconds: float, rounds: int = 10) -> float:
    """Seconds of one of the `n` things that run(n) does, in the fastest of at least `rounds` rounds.

    Rounds are half a millisecond long, or as long as one thing is: on a busy machine longer ones are all interrupted,
    and a ceiling that is measured with less of the core than the kernels have is no ceiling.
    """
    count = 1
    while (taken := _seconds(run, count)) < min(ROUND, seconds / rounds / 2) and count < 1 << 30:
        count *= 2 if taken > ROUND / 64 else 16
    fastest = taken / count
    start = time.perf_counter()
    done = 0
    while done < rounds or time.perf_counter() < start + seconds:
        fastest = min(fastest, _seconds(run, count) / count)
        done += 1
        if time.perf_counter() > start + 5 * seconds:  # a machine that is busy with other things
            break
    return fastest


def _seconds(run: Callable[[int], object], count: int) -> float:
    start = time.perf_counter_ns()
    run(count)
    return (time.perf_counter_ns() - start) / 1e9


def compile_loop(source: str, flags: Sequence[str], out: Path, target: Target) -> Path:
    """One of the loops in native/ as a shared library."""
    options = ["-shared", "-fPIC", "-O3", "-g0", "-std=gnu11", "-fno-sanitize=all", "-nostdlib"]
    toolchain.run_zig(
        ["cc", "-target", target.zig_target, *target.zig_flags, *options, *flags, NATIVE / source, "-o", out],
        f"Compiling {source} for {target.name}",
    )
    return out


def _library(source: str, flags: Sequence[str]) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="irnn-ceilings-") as folder:
        path = compile_loop(source, flags, Path(folder) / "loop.so", targets.get("host"))
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise BuildError(f"{source} cannot be loaded: {error}") from error
