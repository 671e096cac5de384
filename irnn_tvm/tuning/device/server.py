"""`irnn-tvm rpc-server`: TVM's RPC server for devices, made to outlive candidates that crash.

TVM's own serves every session in a process of its own, but ends when one of these does not end well. Whoever can
connect may run code as the user of the server: it listens on the loopback interface unless it is told otherwise.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
from typing import Any

from irnn_tvm.errors import TuningError
from irnn_tvm.tuning.device import info
from irnn_tvm.tuning.rpc import address

LOOPBACK = "127.0.0.1"


def serve(
    host: str = LOOPBACK,
    port: int = 9090,
    tracker: str | None = None,
    key: str = "",
    custom_address: str | None = None,
) -> None:
    """Serves until the process ends. tracker: "host:port" of one to register at, as `key`; custom_address: what it
    tells clients to connect to.

    Raises TuningError when the port is taken, or there is a tracker and no key.
    """
    import tvm_ffi
    from tvm.rpc import server

    if tracker is not None and not key:
        raise TuningError("a server that registers at a tracker needs --key, by which clients ask for it")
    registry = address(tracker) if tracker else None
    tvm_ffi.register_global_func(info.FUNCTION, info.text, override=True)
    _survive(server)
    listening = listen(host, port)
    _end_with_sessions()
    found = listening.getsockname()[1]
    # The word that others wait for, as TVM's own server says it.
    print(f"bind to {host}:{found}", flush=True)
    server._listen_loop(listening, found, key, registry, None, custom_address)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. TuningError where it cannot: the port is taken, or is none."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise TuningError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}"
        ) from None
    listening.listen(1)
    return listening


def _end_with_sessions() -> None:
    """Lets SIGTERM end the process that serves a client, too: it would go on for as long as the client does."""

    def end(_number: int, _frame: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    # Such a process is in compiled code, where a handler in Python is never called.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _survive(server: Any) -> None:
    """Replaces what serves a session by what goes on when the session's process crashed."""
    serving = server._serving

    def guarded(sock: socket.socket, *arguments: Any) -> None:
        before = os.getcwd()
        try:
            serving(sock, *arguments)
        except (RuntimeError, OSError) as error:
            logging.getLogger("irnn_tvm").warning("a session ended badly: %s", error)
        finally:
            os.chdir(before)
            sock.close()

    server._serving = guarded
