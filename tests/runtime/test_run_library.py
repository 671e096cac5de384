"""The same integers from every target: in this process, under user-mode QEMU, on emulated boards."""

from __future__ import annotations

import logging

import leaky
import numpy as np
import pytest
from leaky import Build

from irnn_tvm.runtime import load

USER = ("arm", "arm-i8mm", "arm-a53", "armv7")
BOARDS = (*(f"cortex-m{n}" for n in ("0plus", 3, 4, 7, 33, 55, 85)), "riscv32")
RUNNABLE = [
    "host",
    *(pytest.param(name, marks=pytest.mark.emulator) for name in (*USER, *BOARDS)),
]


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("length", [1, 2, 33, 1000])
def test_run_equals_the_reference(build: Build, name: str, length: int) -> None:
    x, k = leaky.sample(length, seed=length)
    y, last = build(name).run(x, k)
    expected_y, expected_last = leaky.reference(x, k)
    assert y.dtype == np.int16
    assert last.dtype == np.int32
    assert np.array_equal(y, expected_y)
    assert np.array_equal(last, expected_last)


@pytest.mark.parametrize("name", RUNNABLE)
def test_steps_and_pieces_equal_one_run(build: Build, name: str) -> None:
    lib = build(name)
    x, k = leaky.sample(12)
    whole, last = leaky.reference(x, k)
    stream = lib.stream()
    first = stream.step(x[0], k[0])
    assert first[0].shape == (1, 4)  # given without the T axis, returned without it
    second = stream.step(x[1:2], k[1:2])
    assert second[0].shape == (1, 1, 4)
    several = stream.steps([(x[t], k[t]) for t in range(2, 6)])
    rest = stream.run(x[6:], k[6:])
    rows = [first[0][None], second[0], *(y[None] for y, _ in several), rest[0]]
    assert np.array_equal(np.concatenate(rows), whole)
    assert np.array_equal(rest[1], last)
    stream.reset()
    assert np.array_equal(stream.run(x, k)[0], whole)


@pytest.mark.parametrize("name", RUNNABLE)
def test_streams_do_not_touch_each_other(build: Build, name: str) -> None:
    lib = build(name)
    samples = [leaky.sample(4, seed) for seed in range(3)]
    streams = [lib.stream() for _ in samples]
    got: list[list[np.ndarray]] = [[] for _ in samples]
    for t in range(4):
        for stream, (x, k), rows in zip(streams, samples, got, strict=True):
            rows.append(stream.step(x[t : t + 1], k[t : t + 1])[0])
    for (x, k), rows in zip(samples, got, strict=True):
        assert np.array_equal(np.concatenate(rows), leaky.reference(x, k)[0])


@pytest.mark.parametrize("name", RUNNABLE)
def test_run_many_starts_every_sequence_afresh(build: Build, name: str) -> None:
    samples = [leaky.sample(length, length) for length in (3, 17, 1, 256)]
    for (x, k), (y, last) in zip(samples, build(name).run_many(samples), strict=True):
        expected = leaky.reference(x, k)
        assert np.array_equal(y, expected[0])
        assert np.array_equal(last, expected[1])


@pytest.mark.parametrize("name", RUNNABLE)
def test_state_moves_between_streams(build: Build, name: str) -> None:
    lib = build(name)
    x, k = leaky.sample(8)
    one, two = lib.stream(), lib.stream()
    assert one.state == lib.stream().state  # the initial one
    one.run(x[:5], k[:5])
    two.state = one.state
    assert np.array_equal(two.run(x[5:], k[5:])[0], leaky.reference(x, k)[0][5:])


@pytest.mark.emulator
def test_state_moves_between_targets(build: Build) -> None:
    x, k = leaky.sample(8)
    here, there = build("host").stream(), build("cortex-m7").stream()
    here.run(x[:5], k[:5])
    there.state = here.state
    assert np.array_equal(there.run(x[5:], k[5:])[0], leaky.reference(x, k)[0][5:])


@pytest.mark.emulator
@pytest.mark.parametrize("name", BOARDS)
def test_two_megabytes_of_weights(build: Build, name: str) -> None:
    x, k = leaky.sample(5)
    lib = build(name, ballast=2 << 20)
    assert np.array_equal(lib.run(x, k)[0], leaky.reference(x, k)[0])


@pytest.mark.emulator
@pytest.mark.parametrize("name", BOARDS)
def test_sequence_of_two_megabytes(build: Build, name: str) -> None:
    x, k = leaky.sample(100_000)
    assert np.array_equal(build(name).run(x, k)[0], leaky.reference(x, k)[0])


@pytest.mark.emulator
@pytest.mark.parametrize("name", BOARDS)
def test_position_independent_objects_link_into_the_firmware(build: Build, name: str) -> None:
    x, k = leaky.sample(5)
    lib = build(name, flags=["-fPIC"])
    assert np.array_equal(lib.run(x, k)[0], leaky.reference(x, k)[0])


@pytest.mark.emulator
def test_emulated_library_says_so(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    lib = build("arm")
    assert lib.emulated
    assert lib.where == "emulated: qemu-aarch64 -cpu cortex-a76"
    assert lib.where in repr(lib)
    with caplog.at_level(logging.INFO, "irnn_tvm.runtime"):
        lib.run(*leaky.sample(1))
        lib.run(*leaky.sample(1))
    assert [record.getMessage() for record in caplog.records] == [f"leaky runs {lib.where}"]


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["arm", "cortex-m4", "cortex-m55"])
def test_stack_use_is_measured(build: Build, name: str) -> None:
    lib = build(name)
    lib.run(*leaky.sample(3))
    assert 0 <= lib.stack_bytes < 1024  # on AArch64 its functions need none


def test_host_runs_here(host) -> None:
    assert not host.emulated
    assert host.where.startswith("native: ")
    assert host.stack_bytes is None


def test_rebuilt_library_in_the_same_place_is_the_new_one(host, tmp_path) -> None:
    from irnn_tvm import targets

    x, k = leaky.sample(1)
    place = tmp_path / "out"
    host.export(place)
    before = load(place)
    assert before.run(x, k)[1].shape == (1, 4)
    leaky.build(targets.get("host"), tmp_path / "other", ["-DFAULT_INPUT"])
    load(tmp_path / "other").export(place)
    after = load(place)
    changed = x.copy()
    after.run(changed, k)  # this build writes into its input
    assert not np.array_equal(changed, x)
    before.run(x, k)
    assert np.array_equal(x, leaky.sample(1)[0])
