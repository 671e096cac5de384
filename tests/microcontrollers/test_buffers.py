"""Misaligned and overlapping memory is an error code of the C interface, for every pair of buffers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from irnn_tvm import Library

OK, E_ALIGN, E_STATE, E_MODEL, E_OVERLAP = 0, -4, -5, -8, -9
STEPS = 3


@pytest.fixture(scope="module")
def native(library: Callable[..., Library]) -> Library:
    return library("host")


class Call:
    """Buffers of a call, apart from each other in one block of memory."""

    def __init__(self, library: Library) -> None:
        report = library.report
        self.cdll = ctypes.CDLL(str(library.directory / report["files"]["library"]))
        sizes = (
            report["state_bytes"],
            report["arena_bytes"],
            STEPS * 10,
            STEPS * 5 * library.outputs[0].dtype.itemsize,
        )
        self.sizes = dict(zip(("state", "arena", "x", "y"), sizes, strict=True))
        self.block = np.zeros(sum(sizes) + 64 * 16, np.uint8)
        place = -self.block.ctypes.data % 64
        self.at: dict[str, int] = {}
        for name, size in self.sizes.items():
            self.at[name] = self.block.ctypes.data + place
            place += -(-size // 64) * 64 + 64
        assert self.cdll.tiny_init(ctypes.c_void_p(self.at["state"])) == OK

    def run(self, **moved: int) -> int:
        places = self.at | moved
        state, arena, x, y = (ctypes.c_void_p(places[name]) for name in self.sizes)
        return int(self.cdll.tiny_run(state, arena, STEPS, x, y))


def test_buffers_apart_are_taken(native: Library) -> None:
    assert Call(native).run() == OK


@pytest.mark.parametrize("other", ["state", "arena", "x"])
def test_an_output_may_overlap_nothing(native: Library, other: str) -> None:
    call = Call(native)
    item = native.outputs[0].dtype.itemsize
    before = call.block.copy()
    last = call.at[other] + (call.sizes[other] - 1) // item * item
    first = call.at[other] - (call.sizes["y"] - 1) // item * item
    for place in (call.at[other], last, first):
        assert call.run(y=place) == E_OVERLAP
    assert np.array_equal(call.block, before)  # nothing was touched
    assert call.run(y=call.at[other] + -(-call.sizes[other] // item) * item) in (OK, E_OVERLAP)


@pytest.mark.parametrize("other", ["state", "y"])
def test_the_arena_may_overlap_nothing(native: Library, other: str) -> None:
    call = Call(native)
    assert call.run(arena=call.at[other] // 16 * 16) == E_OVERLAP


@pytest.mark.parametrize("name", ["state", "arena", "y"])
def test_misaligned(native: Library, name: str) -> None:
    call = Call(native)
    by = 8 if name != "y" else 1
    if name == "y" and native.outputs[0].dtype.itemsize == 1:
        pytest.skip("bytes are always aligned")
    assert call.run(**{name: call.at[name] + by}) == E_ALIGN


def test_a_header_of_another_build_is_found_out(native: Library) -> None:
    call = Call(native)
    state = ctypes.c_void_p(call.at["state"])
    text = (native.directory / "tiny.h").read_text()
    interface = int(text.partition("#define TINY_INTERFACE ")[2].split("u")[0], 16)
    assert call.cdll.tiny_init_for(state, ctypes.c_uint32(interface)) == OK
    assert call.cdll.tiny_init_for(state, ctypes.c_uint32(interface ^ 1)) == E_MODEL


def test_a_corrupted_header_of_a_state_is_found_out(native: Library) -> None:
    for place in range(12):
        call = Call(native)
        ctypes.c_uint8.from_address(call.at["state"] + place).value ^= 0x40
        assert call.run() == E_STATE
        assert call.cdll.tiny_reset(ctypes.c_void_p(call.at["state"])) == E_STATE
