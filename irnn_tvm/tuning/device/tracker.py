"""`irnn-tvm rpc-tracker`: TVM's tracker, on the loopback interface unless it is told otherwise."""

from __future__ import annotations

import socket

from irnn_tvm.errors import TuningError


def track(host: str, port: int) -> None:
    """Keeps the list of devices until the process ends. Raises TuningError when the port is taken."""
    from tvm.rpc.tracker import Tracker

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TuningError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    tracker = Tracker(host, port=port, port_end=port + 1, silent=True)
    print(f"tracker on {host}:{tracker.port}", flush=True)
    tracker.proc.join()
