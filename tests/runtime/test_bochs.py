"""x86 libraries on the PC that Bochs emulates, whatever this machine is."""

from __future__ import annotations

import leaky
import numpy as np
import pytest
from leaky import Build

from irnn_tvm.errors import EmulatorError, InputError
from irnn_tvm.runtime import Library, load
from irnn_tvm.runtime.emulated import EmulatedEngine
from irnn_tvm.tuning.function_count import count_functions
from irnn_tvm.tuning.instruction_count import count_instructions

pytestmark = pytest.mark.emulator
X, K = leaky.sample(3)


def emulated(build: Build, name: str, flags: tuple[str, ...] = (), ballast: int = 64) -> Library:
    return load(build(name, flags, ballast).directory, emulate=True)


@pytest.mark.parametrize("name", ["x86-avx2", "x86-avx512-vnni"])
def test_the_integers_are_the_same(build: Build, name: str) -> None:
    lib = emulated(build, name)
    assert lib.where == f"emulated: bochs {'tigerlake' if '512' in name else 'corei7_haswell_4770'}"
    x, k = leaky.sample(1000)
    assert all(np.array_equal(a, b) for a, b in zip(lib.run(x, k), leaky.reference(x, k), strict=True))
    stream = lib.stream()
    rows = [stream.step(x[t], k[t])[0] for t in range(3)]
    assert np.array_equal(np.stack(rows), leaky.reference(x[:3], k[:3])[0])
    assert 0 < (lib.stack_bytes or 0) < 65536


def test_more_than_a_block_of_memory(build: Build) -> None:
    """Weights of 9 MB, and 1.2 MB of input behind them: Bochs gives its guest memory in blocks of 128 KiB."""
    lib = emulated(build, "x86-avx512-vnni", ballast=9_000_003)
    x, k = leaky.sample(150_000)
    y, last = lib.run(x, k)
    expected, final = leaky.reference(x, k)
    assert np.array_equal(y, expected)
    assert np.array_equal(last, final)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("-DFAULT_ARENA", "outside its memory.*wrote past the end of the arena"),
        ("-DFAULT_INPUT", "outside its memory.*wrote into input x"),
        ("-DFAULT_INSTRUCTION", "processor took a fault"),
    ],
)
def test_misbehaviour_is_found_out(build: Build, flag: str, words: str) -> None:
    with pytest.raises(EmulatorError, match=words):
        emulated(build, "x86-avx512-vnni", (flag,)).run(X, K)


def test_what_does_not_fit_is_refused(build: Build) -> None:
    lib = emulated(build, "x86-avx512-vnni")
    x, k = leaky.sample(40_000_000)
    with pytest.raises(EmulatorError, match="the emulated PC has room for"):
        lib.run(x, k)


def test_it_is_ended_in_time(build: Build) -> None:
    lib = emulated(build, "x86-avx512-vnni")
    engine = lib._engine
    assert isinstance(engine, EmulatedEngine)
    engine.timeout_s = 0.01
    with pytest.raises(EmulatorError, match=r"still running after 0\.01 s"):
        lib.run(X, K)


def test_instructions_are_counted(build: Build) -> None:
    lib = emulated(build, "x86-avx512-vnni")
    counts = [count_instructions(lib, "step", (X[0], K[0]), n) for n in (10, 20)]
    assert counts[0] == counts[1]
    assert 10 < counts[0] < 1000
    with pytest.raises(InputError, match="counts whole programs; functions are counted under QEMU"):
        count_functions(lib, "step", (X[0], K[0]))
