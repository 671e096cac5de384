"""`irnn-tvm rpc-tracker`: TVM's tracker, on the loopback interface unless it is told otherwise."""

from __future__ import annotations

import logging
import secrets

from irnn_tvm.tuning.device.server import listen


def track(host: str, port: int) -> None:
    """Keeps the list of devices until the process ends. Raises TuningError when the port is taken."""
    from tvm.rpc import tracker

    # In this process and not in a child, as tracker.Tracker does it, which would go on when this one is killed.
    logging.getLogger("RPCTracker").setLevel(logging.WARNING)
    with listen(host, port) as listening:
        print(f"tracker on {host}:{listening.getsockname()[1]}", flush=True)
        tracker._tracker_server(listening, secrets.token_hex(16))
