"""States that are saved go on elsewhere: later, on another board, on this machine; damaged ones are refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from irnn_tvm import Library
from irnn_tvm.errors import InputError

Libraries = Callable[..., Library]
TARGETS = ("host", "cortex-m0plus", "cortex-m4", "cortex-m55", "riscv32", "c")


@pytest.mark.emulator
@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_goes_on_from_a_snapshot_of_another_target(
    target: str, library: Libraries, sequence: np.ndarray
) -> None:
    here, there = library("host"), library(target)
    whole = here.run(sequence)
    stream = here.stream()
    stream.run(sequence[:, :4])
    snapshot = stream.save()
    other = there.stream()
    other.restore(snapshot)
    assert np.array_equal(other.run(sequence[:, 4:7]), whole[:, 4:7])
    back = here.stream()
    back.restore(other.save())
    assert np.array_equal(back.run(sequence[:, 7:]), whole[:, 7:])


def test_the_layout_is_what_the_docs_say(library: Libraries, sequence: np.ndarray) -> None:
    """magic, version, hash of the model, bytes, CRC-32; then h and c of the LSTM, the state of the GRU."""
    lib = library("host")
    stream = lib.stream()
    stream.run(sequence)
    snapshot = stream.save()
    magic, version, _, size, crc = struct.unpack_from("<5I", snapshot)
    assert (magic, version, size) == (0x534E5249, 1, len(snapshot))
    assert len(snapshot) == lib.report["snapshot_bytes"] == 20 + 13 + 2 * 13 + 2 * 9
    assert crc == zlib.crc32(snapshot[:16] + snapshot[20:])


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_every_damaged_byte_is_found(target: str, library: Libraries, sequence: np.ndarray) -> None:
    stream = library(target).stream()
    stream.run(sequence[:, :5])
    snapshot, state = stream.save(), stream.state
    places = range(len(snapshot)) if target == "host" else (0, 4, 8, 12, 16, 20, len(snapshot) - 1)
    for place in places:
        damaged = bytearray(snapshot)
        damaged[place] ^= 0x10
        # The model's hash and the size say of what it is; all else is damage.
        words = r"of another model" if 8 <= place < 16 else "damaged"
        with pytest.raises(InputError, match=words):
            stream.restore(bytes(damaged))
    assert stream.state == state
    with pytest.raises(InputError, match="has 77 bytes, got 76"):
        stream.restore(snapshot[:-1])


def test_a_snapshot_of_another_model_is_refused(library: Libraries, model: object) -> None:
    import irnn_tvm

    other = irnn_tvm.build(model, "host", name="other")
    with pytest.raises(InputError, match="another model or build"):
        library("host").stream().restore(other.stream().save())
