"""The first words of TVM's RPC protocol: who listens at an address, and whether it takes our key."""

from __future__ import annotations

import socket
import struct

TRACKER, SERVER = 0x2F271, 0xFF271  # what a client says first
SUCCESS, MISMATCH = SERVER, SERVER + 2  # what a server answers to a key
SECONDS = 5


def is_tracker(host: str, port: int) -> bool:
    """Whether a tracker listens there, rather than a server or something else. OSError where nothing does."""
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        return _exchange(connection, struct.pack("<i", TRACKER)) == TRACKER


def takes_key(host: str, port: int, key: str) -> bool | None:
    """Whether a server serves clients of this key; None where it does not say, since it is busy."""
    word = f"client:{key}".encode()
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        answer = _exchange(connection, struct.pack("<ii", SERVER, len(word)) + word)
    return {SUCCESS: True, MISMATCH: False}.get(answer or 0)


def _exchange(connection: socket.socket, words: bytes) -> int | None:
    """The number that is answered; None where none is in time."""
    try:
        connection.sendall(words)
        answer = connection.recv(4, socket.MSG_WAITALL)
    except OSError:
        return None
    return int(struct.unpack("<i", answer)[0]) if len(answer) == 4 else None
