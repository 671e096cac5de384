"""The name of a CPU."""

from __future__ import annotations

import platform
from pathlib import Path


def device_name() -> str:
    """The CPU of this machine, as /proc/cpuinfo calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.processor() or platform.machine()
