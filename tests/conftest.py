"""Shared fixtures. Tests that need a program which may be missing ask `require_tool` for it; builds that several tests
look at are made once, whichever test worker comes first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# One thread for torch in each test worker, before anything imports it: workers that share the cores would spend their
# time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nobody's own tuning logs decide what is tested.
os.environ["IRNN_TVM_TUNING_LOGS"] = str(Path(__file__).parent / "no_tuning_logs")

import pytest

if TYPE_CHECKING:
    from irnn_tvm import Library


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


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """once(name, make): the path that make(path) writes, in one test worker only; the others wait and share it."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"
    root.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[Path], object]) -> Path:
        path = root / name
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                make(path)
        return path

    return get


@pytest.fixture(scope="session")
def built(once: Once, require_tool: Callable[[str], str]) -> Callable[..., Library]:
    """built("stack", "arm", make_model, batch=2): the library of make_model() for a target, built once per name and
    target. C sources are compiled with gcc. Skips when the emulator is missing."""
    libraries: dict[tuple[str, str], Library] = {}

    def get(key: str, target: str, make_model: Callable[[], Any], **options: Any) -> Library:
        from every_target import runnable

        import irnn_tvm
        from irnn_tvm.compiler.compile_sources import compile_c_library

        chosen = runnable(target)
        if chosen.emulator is not None:
            require_tool(chosen.emulator.qemu)
        if (key, target) not in libraries:
            folder = once(
                f"{key}-{target}", lambda path: irnn_tvm.build(make_model(), chosen, out=path, **options)
            )
            gcc = require_tool("gcc") if target == "c" else ""
            libraries[key, target] = compile_c_library(folder, gcc) if gcc else irnn_tvm.load(folder)
        return libraries[key, target]

    return get
