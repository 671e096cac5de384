"""Which devices measure: those that have registered at a tracker, or one server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from irnn_tvm.errors import TuningError


@dataclass(frozen=True)
class RPC:
    """tracker: "host:port" of a tracker, at which devices of the name `key` have registered; or server: "host:port"
    of a single server. devices: how many of the tracker's are used at a time. session_timeout: seconds that a device
    may be held for one candidate; connect_timeout: seconds to wait for one that is free."""

    tracker: str | None = None
    key: str = ""
    server: str | None = None
    devices: int = 1
    session_timeout: float = 60.0
    connect_timeout: float = 30.0

    def __post_init__(self) -> None:
        if (self.tracker is None) == (self.server is None):
            raise TuningError("RPC needs either tracker='host:port' and key=, or server='host:port'")
        if self.tracker is not None and not self.key:
            raise TuningError("RPC needs the key= by which devices have registered at the tracker")
        address(self.tracker or self.server or "")
        if self.devices < 1 or not self.session_timeout > 0 or not self.connect_timeout > 0:
            raise TuningError("RPC: devices, session_timeout and connect_timeout must be positive")

    def settings(self) -> dict[str, Any]:
        """For `make_runner`."""
        return asdict(self)


def address(text: str) -> tuple[str, int]:
    """Host and port of "host:port". Raises TuningError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise TuningError(f"{text!r} is no address: write host:port, as in raspberrypi.local:9190")
    return host, int(port)
