"""Names of CPUs, from the text of /proc/cpuinfo on several machines."""

from __future__ import annotations

import pytest

from irnn_tvm.tuning.device.cpu_name import name_in


def _core(implementer: str, part: str) -> str:
    return f"CPU implementer\t: {implementer}\nCPU architecture: 7\nCPU part\t: {part}\n\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: sse2\n\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
        ("model name\t: ARMv7 Processor rev 5 (v7l)\n" + _core("0x41", "0xc07") + "Hardware\t: BCM2835\n", "Cortex-A7"),
        (_core("0x41", "0xd0b") * 4 + "Revision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B\n", "Cortex-A76"),
        (_core("0x41", "0xd03") * 4 + _core("0x41", "0xd08") * 2, "Cortex-A53 and Cortex-A72"),
        (_core("0x41", "0xd03") + _core("0x51", "0x800"), "Cortex-A53 and CPU 0x51:0x800"),
        (_core("0x51", "0x800") + "Hardware\t: Qualcomm SM8550\n", "Qualcomm SM8550"),
        (_core("0x61", "0x022"), "CPU 0x61:0x022"),
        (_core("0x41", "what"), "CPU 0x41:what"),
        ("", ""),
        ("processor\t: 0\n", ""),
    ],
)  # fmt: skip
def test_names(text: str, name: str) -> None:
    assert name_in(text) == name
