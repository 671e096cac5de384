"""The hand-written library, built once for every target that a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import leaky
import pytest
from leaky import Build

from irnn_tvm import targets
from irnn_tvm.runtime import Library, load


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Build:
    """build("arm", flags=..., ballast=...) -> Library; skips when the target's emulator is missing."""
    cache: dict[Any, Path] = {}

    def get(name: str, flags: Sequence[str] = (), ballast: int = 64) -> Library:
        target = targets.get(name)
        if target.emulator:
            require_tool(target.emulator.qemu)
        key = (name, tuple(flags), ballast)
        if key not in cache:
            folder = tmp_path_factory.mktemp("leaky") / name
            cache[key] = leaky.build(target, folder, flags, ballast)
        return load(cache[key])

    return get


@pytest.fixture
def host(build: Build) -> Library:
    return build("host")
