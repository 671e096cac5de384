"""A platform of one emulated board, whose compiler is the system's."""

from platformio.public import PlatformBase


class EmulatedPlatform(PlatformBase):
    """MPS2 with a Cortex-M4, as QEMU has it."""
