"""`irnn-tvm rpc-server`: TVM's RPC server for devices, made to outlive candidates that crash.

TVM's own serves every session in a process of its own, but ends when one of these does not end well. Whoever can
connect may run code as the user of the server: it listens on the loopback interface unless it is told otherwise.
"""

from __future__ import annotations

import logging
import os
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
    tvm_ffi.register_global_func(info.FUNCTION, info.text, override=True)
    _survive(server)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise TuningError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    listening.listen(1)
    found = listening.getsockname()[1]
    # The word that others wait for, as TVM's own server says it.
    print(f"bind to {host}:{found}", flush=True)
    server._listen_loop(listening, found, key, address(tracker) if tracker else None, None, custom_address)


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
