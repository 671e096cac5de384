"""Leaving autocast: values on integer grids need float32, and half of its bits would be other integers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

DEVICES = ("cpu", "cuda", "xpu")


def in_autocast() -> bool:
    """Whether autocast is on for any device."""
    return any(torch.is_autocast_enabled(device) for device in DEVICES)


@contextmanager
def without_autocast() -> Iterator[None]:
    """Autocast off inside; also a decorator."""
    with ExitStack() as stack:
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
