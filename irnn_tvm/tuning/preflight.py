"""What is checked before tuning on devices, each in a line: is it there, can it run the code, is it like us?"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from irnn_tvm.errors import TuningError
from irnn_tvm.targets import Target
from irnn_tvm.tuning.device.cpu_name import name_in
from irnn_tvm.tuning.handshake import is_tracker, takes_key
from irnn_tvm.tuning.rpc import RPC, address

LEAST_BYTES = 64 << 20  # of free disk on a device
UNKNOWN = "unknown CPU"


@dataclass
class Preflight:
    """Lines for people, and the device's CPU."""

    lines: list[str] = field(default_factory=list)
    cpu: str = UNKNOWN


def preflight(rpc: RPC, target: Target) -> Preflight:
    """Raises TuningError at the first thing that makes tuning impossible."""
    found = Preflight()
    host, port = address(rpc.tracker or rpc.server or "")
    what = "tracker" if rpc.tracker else "server"
    _reach(what, host, port)
    found.lines.append(f"{what} {host}:{port} answers")
    if rpc.tracker:
        found.lines.append(_registered(rpc, host, port))
    try:
        about = _ask(rpc)
    except TuningError:
        if rpc.tracker or takes_key(host, port, rpc.key) is not False:
            raise
        with_key = f"does not serve key {rpc.key!r}" if rpc.key else "serves clients with a key only"
        raise TuningError(
            f"server {host}:{port} {with_key}: give the --key (key=) that it was started with, or, where it registered "
            "at a tracker, the tracker's address and that key"
        ) from None
    if about is None:
        found.lines.append(
            "the device runs TVM's own server: its CPU, versions and disk are not known (irnn-tvm rpc-server tells)"
        )
        return found
    found.cpu = str(about["cpu"])
    found.lines += check(about, target)
    return found


def rpc_at(place: str, key: str) -> RPC:
    """The RPC of whatever listens at "host:port": a tracker, whose devices of this key are meant, or one server.

    Raises TuningError where nothing answers, and for a tracker without a key.
    """
    host, port = address(place)
    _reach("tracker or server", host, port)
    if not is_tracker(host, port):
        return RPC(server=place, key=key)
    if not key:
        raise TuningError(
            f"{place} is a tracker: give the key of a device; it has: {', '.join(_keys(host, port)) or 'none'}"
        )
    return RPC(tracker=place, key=key)


def _reach(what: str, host: str, port: int) -> None:
    try:
        with socket.create_connection((host, port), timeout=5):
            pass
    except socket.gaierror as error:
        raise TuningError(f"{what} {host}:{port}: there is no host of this name ({error.strerror})") from None
    except ConnectionRefusedError:
        raise TuningError(
            f"{what} {host}:{port}: nothing listens there. Start it, or see whether it listens on loopback only"
        ) from None
    except OSError as error:
        raise TuningError(f"{what} {host}:{port} cannot be reached: {error}") from None


def _registered(rpc: RPC, host: str, port: int) -> str:
    """How many devices have the key."""
    keys = _keys(host, port)
    count = keys.count(rpc.key)
    if not count:
        there = ", ".join(sorted(set(keys))) or "none"
        raise TuningError(f"tracker {host}:{port} has no device with key {rpc.key!r}; it has: {there}")
    return f"{count} device(s) with key {rpc.key!r}"


def _keys(host: str, port: int) -> list[str]:
    """The keys of a tracker's devices, one for each."""
    from tvm import rpc as tvm_rpc

    try:
        if not is_tracker(host, port):
            raise RuntimeError("something else answers there")
        summary = tvm_rpc.connect_tracker(host, port).summary()
    except (RuntimeError, OSError) as error:
        raise TuningError(f"{host}:{port} is no RPC tracker: {error}") from None
    return [str(server["key"]).removeprefix("server:") for server in summary["server_info"]]


def _ask(rpc: RPC) -> Mapping[str, Any] | None:
    """What a device says about itself; None where its server does not know the question."""
    from irnn_tvm.tuning.device.info import FUNCTION
    from irnn_tvm.tuning.runners.rpc import session

    with session(rpc) as remote:
        try:
            function = remote.get_function(FUNCTION)
        except Exception:
            return None
        about = dict(json.loads(str(function())))
    # The server without Python leaves it to us to find the name in there.
    about.setdefault("cpu", name_in(str(about.get("cpuinfo", ""))) or UNKNOWN)
    return about


def check(about: Mapping[str, Any], target: Target) -> list[str]:
    """Compares a device with a target and with this machine. Raises TuningError where it cannot run the target's
    code, or speaks another version of TVM."""
    from importlib.metadata import version

    lines = []
    if about["machine"] not in target.machines:
        raise TuningError(
            f"the device is {about['machine']} ({about['cpu']}), and {target.name} is for "
            f"{' or '.join(target.machines) or 'no machine with an operating system'}"
        )
    missing = [flag for flag in target.required_cpu_flags() if flag not in about["flags"]]
    if missing:
        raise TuningError(
            f"the device ({about['cpu']}) lacks {', '.join(missing)}, which {target.name} needs"
        )
    lines.append(f"{about['host']}: {about['machine']}, {about['cpu']}, {about['cores']} cores")
    ours = {"tvm": version("apache-tvm"), "tvm_ffi": version("apache-tvm-ffi")}
    for name, own in ours.items():
        if about[name] != own:
            raise TuningError(
                f"the device has {name} {about[name]}, this machine {own}: install the same there, they speak by RPC"
            )
    lines.append(f"versions match: tvm {about['tvm']}, irnn_tvm {about['irnn_tvm']}")
    if about["free_bytes"] < LEAST_BYTES:
        raise TuningError(f"the device has {about['free_bytes'] >> 20} MiB of disk free, 64 are needed")
    lines.append(f"{about['free_bytes'] >> 20} MiB of disk free")
    lines.append(_clock(about))
    return lines


def _clock(about: Mapping[str, Any]) -> str:
    governor, now, most = about["governor"], about["khz"], about["most_khz"]
    if governor is None:
        return "clock: the device does not tell"
    speed = f"{int(now) // 1000} of {int(most) // 1000} MHz" if now and most else "unknown"
    advice = "" if governor == "performance" else "; set it to performance for steadier times"
    return f"clock: {speed}, governor {governor}{advice}"
