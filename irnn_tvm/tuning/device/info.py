"""What a device says about itself; asked before tuning."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from irnn_tvm._version import __version__
from irnn_tvm.targets.base import cpu_flags
from irnn_tvm.tuning.device.cpu_name import device_name

FUNCTION = "irnn_tvm.device"


def info() -> dict[str, Any]:
    """Architecture, CPU, versions, clock and free disk of this machine."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cpu": device_name(),
        "flags": sorted(cpu_flags()),
        "cores": os.cpu_count(),
        "irnn_tvm": __version__,
        "tvm": _version("apache-tvm"),
        "tvm_ffi": _version("apache-tvm-ffi"),
        "governor": _read("cpufreq/scaling_governor"),
        "khz": _read("cpufreq/scaling_cur_freq"),
        "most_khz": _read("cpufreq/cpuinfo_max_freq"),
        "free_bytes": shutil.disk_usage(tempfile.gettempdir()).free,
    }


def text() -> str:
    """As JSON, for RPC."""
    return json.dumps(info())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(name: str) -> str | None:
    try:
        return Path(f"/sys/devices/system/cpu/cpu0/{name}").read_text(encoding="ascii").strip()
    except OSError:
        return None
