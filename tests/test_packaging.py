"""The wheels of irnn-tvm and of irnn-tvm-runtime hold every file of the tree, none twice, and work away from it."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import irnn_tvm

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


def project(folder: str = ".") -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    rest = set(project()["tool"]["setuptools"]["packages"])
    runtime = set(project("packages/runtime")["tool"]["setuptools"]["packages"])
    found = set()
    for folder, package in LAYOUT.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert rest | runtime == found
    assert rest & runtime == {"irnn_tvm"}  # whose modules the two share out


def test_pins_agree_with_the_lock() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    exact = dict(entry.split("==") for entry in project()["project"]["dependencies"] if "==" in entry)
    assert exact.pop("irnn-tvm-runtime") == irnn_tvm.__version__
    assert exact == {name: pins[name] for name in exact}
    assert {"apache-tvm", "apache-tvm-ffi"} <= set(exact)


def test_torch_is_a_range_with_the_locked_release_in_it() -> None:
    from packaging.requirements import Requirement

    [torch] = [r for r in map(Requirement, project()["project"]["dependencies"]) if r.name == "torch"]
    lock = (ROOT / "constraints.txt").read_text()
    [locked] = [line.split("==")[1] for line in lock.splitlines() if line.startswith("torch==")]
    assert locked in torch.specifier
    assert {part.operator for part in torch.specifier} == {">=", "<"}


RUNTIME = [
    *sorted((ROOT / "irnn_tvm" / "runtime").rglob("*.py")),
    *(ROOT / "irnn_tvm" / f"{n}.py" for n in (ROOT / "packages/runtime/modules.txt").read_text().split()),
]


@pytest.mark.parametrize("path", RUNTIME, ids=lambda path: str(path.relative_to(ROOT / "irnn_tvm")))
def test_runtime_is_for_python_3_9(path: Path) -> None:
    """Syntax, and what later versions added that such code uses; .ci/torch-range runs it with Python 3.9."""
    source = path.read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    assert (
        "from __future__ import annotations" in source
        or path.name in ("_version.py", "boundary.py", "errors.py")
        or (path.parts[-2:] == ("runtime", "__init__.py"))
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names = {keyword.arg for keyword in node.keywords}
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert called != "zip" or "strict" not in names, f"zip(strict=) in line {node.lineno}"
            assert called != "dataclass" or not names & {"slots", "kw_only"}, f"line {node.lineno}"
            if called in ("isinstance", "issubclass"):
                assert not isinstance(node.args[1], ast.BinOp), f"a union in line {node.lineno}"
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            unions = [
                n for n in ast.walk(node.value) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.BitOr)
            ]
            types = [n for n in unions if {"int", "str", "None", "bytes"} & set(ast.unparse(n).split(" | "))]
            assert not types, f"a union of types in line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module:
            later = {"StrEnum", "pairwise", "batched", "Self", "TypeAlias", "ParamSpec", "override"}
            assert not later & {alias.name for alias in node.names}, f"line {node.lineno}"
            assert (
                node.module.partition(".")[0]
                in {*sys.stdlib_module_names, "irnn_tvm", "numpy", ""} - {"tomllib"}
                or node.level
            ), f"line {node.lineno}"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of irnn-tvm and irnn-tvm-runtime, built from a copy of the tree: building in place would leave build/ and pick
    it up."""
    scratch = tmp_path_factory.mktemp("wheel")
    source = scratch / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for folder in (*LAYOUT, "packages"):
        shutil.copytree(
            ROOT / folder,
            source / folder,
            ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"),
        )
    for folder in (source, source / "packages" / "runtime"):
        pip("wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(scratch), str(folder))
    [rest] = scratch.glob("irnn_tvm-*.whl")
    [runtime] = scratch.glob("irnn_tvm_runtime-*.whl")
    return rest, runtime


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_wheels_have_every_file_once(wheels: tuple[Path, Path]) -> None:
    rest, runtime = (set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels)
    assert shipped_files() - rest - runtime == set()
    assert rest & runtime == set()
    assert {name for name in runtime if not name.startswith(("irnn_tvm/runtime/", "irnn_tvm_runtime-"))} == {
        "irnn_tvm/__init__.py",
        "irnn_tvm/_version.py",
        "irnn_tvm/boundary.py",
        "irnn_tvm/errors.py",
        "irnn_tvm/py.typed",
    }
    for names in (rest, runtime):
        assert any(name.endswith("licenses/LICENSE") for name in names)
    metadata = (
        zipfile.ZipFile(wheels[1])
        .read(f"irnn_tvm_runtime-{irnn_tvm.__version__}.dist-info/METADATA")
        .decode()
    )
    assert "Requires-Python: >=3.9" in metadata
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        "Requires-Dist: numpy>=1.21"
    ]


def run_python(code: str, site: Path, folder: Path, *arguments: str) -> str:
    """What a program prints that sees packages of `site` first, away from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheels_work_away_from_the_checkout(wheels: tuple[Path, Path], tmp_path: Path) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "site")
    code = (
        "import irnn_tvm, irnn_tvm.cli, irnn_tvm.runtime, irnn_tvm.targets, irnn_tvm.examples.g2p.model\n"
        "for module in (irnn_tvm, irnn_tvm.targets, irnn_tvm.runtime, irnn_tvm.examples):\n"
        "    print(module.__file__)\n"
    )
    files = run_python(code, tmp_path / "site", tmp_path).splitlines()
    assert all(Path(line).is_relative_to(tmp_path / "site") for line in files)


ALONE = """
import importlib.util, json, pickle, sys
import numpy as np
import irnn_tvm
from irnn_tvm.runtime import load
library = load(sys.argv[1])
rng = np.random.default_rng(0)
inputs = [rng.integers(-99, 99, [9 if d == "T" else d for d in t.shape]).astype(t.dtype) for t in library.inputs]
whole = library.run(*inputs)
outputs = whole if isinstance(whole, tuple) else (whole,)
stream = pickle.loads(pickle.dumps(library.stream()))
parts = [stream.run(*(i[n : n + 3] if i.shape[0] == 9 else i for i in inputs)) for n in (0, 3, 6)]
first = np.concatenate([p[0] if isinstance(p, tuple) else p for p in parts])
found = []
for name in ("quantize", "build", "targets", "tune"):
    try:
        getattr(irnn_tvm, name)
    except ImportError as error:
        found.append(str(error))
print(json.dumps({
    "file": irnn_tvm.runtime.__file__, "whole": outputs[0].tolist(), "parts": first.tolist(), "errors": found,
    "foreign": [m for m in ("torch", "tvm", "scipy") if m in sys.modules or importlib.util.find_spec(m)],
}))
"""


def test_runtime_wheel_alone(wheels: tuple[Path, Path], tmp_path: Path) -> None:
    """In an environment of its own, with NumPy and nothing else: a library of this machine runs and streams."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    library = irnn_tvm.build(
        nn.GRU(4, 6), "host", calibration=[torch.randn(9, 1, 4) for _ in range(2)], out=tmp_path / "gru"
    )
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=300
    )
    python = tmp_path / "venv" / "bin" / "python"
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for name in ("numpy", "numpy.libs"):
        source = Path(np.__file__).parents[1] / name
        if source.exists():
            (site / name).symlink_to(source)
    pip("--python", str(python), "install", "-q", "--no-deps", str(wheels[1]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", ALONE, str(library.directory)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["file"]).is_relative_to(site)
    assert found["foreign"] == []
    assert found["whole"] == found["parts"]
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(-99, 99, [9 if d == "T" else d for d in t.shape]).astype(t.dtype) for t in library.inputs
    ]
    here = library.run(*inputs)
    assert found["whole"] == (here[0] if isinstance(here, tuple) else here).tolist()
    assert len(found["errors"]) == 4
    assert all("is not in irnn-tvm-runtime: install irnn-tvm" in error for error in found["errors"])
