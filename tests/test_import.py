"""Importing stays light: NumPy alone is enough to load libraries, and a shell command answers at once."""

import json
import subprocess
import sys
import time

import pytest

import irnn_tvm

LIST_MODULES = """
import json, sys
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules_after_import(module: str) -> set[str]:
    code = LIST_MODULES.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.smoke
@pytest.mark.parametrize(
    "module", ["irnn_tvm", "irnn_tvm.errors", "irnn_tvm.runtime", "irnn_tvm.targets", "irnn_tvm.cli"]
)
def test_loads_neither_torch_nor_tvm(module: str) -> None:
    assert not modules_after_import(module) & {"torch", "tvm", "tvm_ffi", "xgboost", "scipy"}


def test_runtime_loads_numpy_and_the_standard_library_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"irnn_tvm", "numpy"}
    # Editable installs put a finder of their own in place; NumPy's C extensions appear under private names.
    foreign = {
        name
        for name in modules_after_import("irnn_tvm.runtime") - allowed
        if not name.startswith(("_", "numpy"))
    }
    assert foreign == set()


def test_import_takes_less_than_half_a_second() -> None:
    def once() -> float:
        code = "import time; t = time.perf_counter(); import irnn_tvm; print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout)

    # The best of three: other tests run at the same time.
    assert min(once() for _ in range(3)) < 0.5


def test_help_is_quick() -> None:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "irnn_tvm.cli", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(once() for _ in range(3)) < 2.0


@pytest.mark.parametrize("name", irnn_tvm.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(irnn_tvm, name) is not None
    assert name in dir(irnn_tvm)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        irnn_tvm.quantise  # noqa: B018


@pytest.mark.parametrize("name", ["QatConfig", "save_program", "tune"])
def test_any_public_name_may_come_first(name: str) -> None:
    """No circle of imports depends on which stage is loaded first."""
    subprocess.run([sys.executable, "-c", f"import irnn_tvm; irnn_tvm.{name}"], check=True)
