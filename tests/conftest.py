"""Shared fixtures. Tests that need a program which may be missing ask `require_tool` for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest


def _require_tool(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed"
        if os.environ.get("IRNN_REQUIRE_EMULATORS") == "1":
            pytest.fail(f"{reason}, and IRNN_REQUIRE_EMULATORS=1 forbids skipping")
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """require_tool("qemu-arm") returns its path, skips the test when it is missing, or fails it in CI."""
    return _require_tool
