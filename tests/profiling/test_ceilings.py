"""The loops that measure a core: they read every byte, they compile for every instruction set, and count right."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from irnn_tvm import targets
from irnn_tvm.profiling.ceilings import (
    SEQUENCES,
    Ceilings,
    _library,
    best,
    compile_loop,
    level_sizes,
    measure,
    peak_flag,
)
from irnn_tvm.runtime.native import address

TARGET = {"neon-dotprod": "arm", "neon": "arm-a53", "armv7-neon": "armv7"}


@pytest.mark.parametrize("width", [32, 64])
def test_every_byte_is_read(width: int) -> None:
    """The checksum against NumPy's, for arrays with every kind of rest."""
    stream = _library("stream.c", [f"-DBYTES={width}"]).irnn_stream
    stream.restype = ctypes.c_int64
    random = np.random.default_rng(4)
    arrays = [random.integers(0, 256, size, np.uint8) for size in (5, 32, 256, 700, 4096 + 33)]
    pointers = (ctypes.c_void_p * len(arrays))(*(address(a) for a in arrays))
    sizes = (ctypes.c_int64 * len(arrays))(*(a.size for a in arrays))
    words, rest = np.int64(0), 0
    for array in arrays:
        whole = array.size // width * width
        words ^= np.bitwise_xor.reduce(array[:whole].view(np.int64), initial=np.int64(0))
        rest += int(array[whole:].astype(np.int64).sum())
    assert stream(pointers, sizes, ctypes.c_int32(len(arrays)), ctypes.c_int32(1)) == int(words ^ rest)


@pytest.mark.parametrize("name", sorted(set(SEQUENCES) & set(TARGET)))
def test_loops_compile_for_other_machines(name: str, tmp_path: Path) -> None:
    made = compile_loop("peak.c", [peak_flag(name)], tmp_path / "peak.so", targets.get(TARGET[name]))
    assert made.read_bytes().startswith(b"\x7fELF")


def test_this_machine() -> None:
    block = np.ones(1 << 16, np.uint8)
    found = measure([(address(block), block.size)], targets.get("host").simd(), seconds=0.02, levels=False)
    assert found.working_set_bytes == 1 << 16
    assert found.gbytes_per_s is not None
    assert found.gbytes_per_s > 0.1
    if targets.get("host").simd() in SEQUENCES:
        assert found.gmacs_per_s is not None
        assert found.gmacs_per_s > 0.1
        assert found.peak_sequence


def test_what_has_no_loop_has_no_peak() -> None:
    found = measure([], "an unknown instruction set", seconds=0.01, levels=False)
    assert (found.gbytes_per_s, found.gmacs_per_s) == (None, None)
    assert found.floor_seconds(1, 1) is None


def test_the_floor_is_the_larger_bound() -> None:
    ceilings = Ceilings(1000, 10.0, 100.0, "")
    assert ceilings.floor_seconds(20, 100) == (20 / 10e9, "bandwidth")
    assert ceilings.floor_seconds(20, 1000) == (1000 / 100e9, "products")


def test_levels_grow() -> None:
    sizes = [size for _, size in level_sizes()]
    assert sizes == sorted(sizes)
    assert level_sizes()[-1][0] == "memory"


def test_best_is_the_time_of_one() -> None:
    """A thing that takes 20 microseconds takes 20 microseconds, whatever the number of rounds."""

    def spin(count: int) -> None:
        import time

        end = time.perf_counter_ns() + 20_000 * count
        while time.perf_counter_ns() < end:
            pass

    assert best(spin, 0.02) == pytest.approx(20e-6, rel=0.5)
