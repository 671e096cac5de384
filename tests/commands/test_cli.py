"""The shell command: what it prints, and that mistakes are one line and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from irnn_tvm._version import __version__
from irnn_tvm.cli import app
from irnn_tvm.targets import TARGETS


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.smoke
def test_installed_command_prints_its_version() -> None:
    command = Path(sys.executable).parent / "irnn-tvm"
    done = subprocess.run([str(command), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


def test_targets_lists_every_target() -> None:
    result = invoke("targets")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in TARGETS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "{tmp}"), "LoadError: {tmp} is not a built library"),
        (("run", "{tmp}", "-i", "{tmp}/x.npy"), "LoadError: "),
        (("bench", "{tmp}"), "LoadError: "),
        (("build", "{tmp}/missing.pt2", "-o", "{tmp}/out"), "ProgramError: "),
        (
            ("build", "--example", "textgenrnn", "-t", "cortex-m77"),
            "UnknownTargetError: Unknown target 'cortex-m77'",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = invoke(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"irnn-tvm: {message.format(tmp=tmp_path)}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_build_wants_one_source() -> None:
    assert invoke("build").exit_code == 2
    assert "either a .pt2 file or --example" in invoke("build").stderr


def test_report_of_a_damaged_library(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"abi_version": 1, ')
    result = invoke("report", str(tmp_path))
    assert result.exit_code == 2
    assert "LoadError" in result.stderr


def test_report_prints_what_build_wrote(tmp_path: Path) -> None:
    content = {
        "abi_version": 1,
        "name": "model",
        "target": "cortex-m4",
        "kind": "archive",
        "inputs": [{"name": "x", "dtype": "int8", "shape": ["T", 1, 3], "scale": 0.5, "zero_point": 1}],
        "outputs": [{"name": "ids", "dtype": "int32", "shape": [1], "scale": None, "zero_point": None}],
        "flash_bytes": 12345,
        "kernels": [{"name": "lstm", "flash_bytes": 678}],
    }
    (tmp_path / "report.json").write_text(json.dumps(content))
    result = invoke("report", str(tmp_path))
    assert result.exit_code == 0
    for expected in ("int8[T, 1, 3] scale 0.5 zero point 1", "int32[1]", "12,345", "lstm", "678"):
        assert expected in result.stdout
    assert json.loads(invoke("report", str(tmp_path), "--json").stdout) == content


def test_float_inputs_are_quantized_as_the_report_says() -> None:
    from irnn_tvm.cli.arrays import as_integers as _as_integers
    from irnn_tvm.errors import InputError

    spec = {"name": "x", "dtype": "int8", "scale": 0.5, "zero_point": 1}
    assert _as_integers(np.array([0.0, 0.25, -0.25, 1e9], np.float32), spec).tolist() == [1, 2, 1, 127]
    integers = np.array([3], np.int8)
    assert _as_integers(integers, spec) is integers
    with pytest.raises(InputError, match="not finite"):
        _as_integers(np.array([np.nan]), spec)
    with pytest.raises(InputError, match="takes indices"):
        _as_integers(np.array([1.0]), {"name": "ids", "dtype": "int32", "scale": None, "zero_point": None})
