"""The name of a CPU."""

from __future__ import annotations

import platform
from pathlib import Path

_PLACE = Path("/proc/cpuinfo")
# Cores of ARM by their numbers (CPU implementer 0x41, CPU part), which kernels tell and no name.
_ARM_CORES = {
    0xC05: "Cortex-A5",
    0xC07: "Cortex-A7",
    0xC08: "Cortex-A8",
    0xC09: "Cortex-A9",
    0xC0D: "Cortex-A12",
    0xC0E: "Cortex-A17",
    0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
}


def device_name() -> str:
    """The CPU of this machine, as /proc/cpuinfo calls it; of ARM's cores, all kinds there are."""
    try:
        text = _PLACE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return name_in(text) or platform.processor() or platform.machine()


def name_in(cpuinfo: str) -> str:
    """The name that the text of /proc/cpuinfo tells; empty where it tells none.

    ARM's cores by their own names: "model name" is the architecture there (ARMv7 Processor rev 4), "Hardware" and
    "Model" are the chip and the board, which may hold other cores than their first ones did.
    """
    cores: list[str] = []
    known = False
    names: dict[str, str] = {}
    implementer = ""
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in ("model name", "Model", "Hardware"):
            names.setdefault(key, value)
        elif key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            name = _core(implementer, value)
            known |= name is not None
            core = name or f"CPU {implementer}:{value}"
            cores += [core] if core not in cores else []
    told = next((names[key] for key in ("Hardware", "Model", "model name") if names.get(key)), "")
    return " and ".join(cores) if known or not told else told


def _core(implementer: str, part: str) -> str | None:
    """ARM's name of a core, by its numbers in hexadecimal."""
    try:
        return _ARM_CORES.get(int(part, 16)) if int(implementer, 16) == 0x41 else None
    except ValueError:
        return None
