"""The wheel holds every package and every data file of the tree, and works away from the checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Folder in the repository -> package that it installs as.
LAYOUT = {
    "irnn_tvm": "irnn_tvm",
    "relay_ops": "irnn_tvm.relay_ops",
    "schedules": "irnn_tvm.schedules",
    "targets": "irnn_tvm.targets",
    "tuning_logs": "irnn_tvm.tuning_logs",
    "examples": "irnn_tvm.examples",
}
DATA_SUFFIXES = {".c", ".cc", ".h", ".S", ".ld", ".json", ".typed"}


def shipped_files() -> set[str]:
    """Paths inside the wheel of everything in the tree that has to ship."""
    expected = set()
    for folder, package in LAYOUT.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix in DATA_SUFFIXES | {".py"}:
                expected.add(f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}")
    return expected


def test_every_package_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = set()
    for folder, package in LAYOUT.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert listed == found


def test_pins_agree_with_the_lock() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    exact = dict(entry.split("==") for entry in dependencies if "==" in entry)
    assert exact == {name: pins[name] for name in exact}
    assert {"apache-tvm", "apache-tvm-ffi", "torch"} <= set(exact)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree: building in place would leave build/ and pick it up."""
    scratch = tmp_path_factory.mktemp("wheel")
    source = scratch / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for folder in LAYOUT:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*pip, "-q", "-w", str(scratch), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = scratch.glob("*.whl")
    return built


def test_wheel_has_every_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert shipped_files() - names == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import irnn_tvm, irnn_tvm.cli, irnn_tvm.runtime, irnn_tvm.targets, irnn_tvm.examples.g2p.model\n"
        "for module in (irnn_tvm, irnn_tvm.targets, irnn_tvm.runtime, irnn_tvm.examples):\n"
        "    print(module.__file__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(tmp_path / "site") for line in done.stdout.splitlines())
