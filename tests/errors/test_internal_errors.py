"""No raw error leaves the public API: what is unexpected becomes an InternalError, with what was worked on."""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import irnn_tvm
from irnn_tvm import cli
from irnn_tvm.boundary import public, shortened, working_on
from irnn_tvm.errors import InputError, InternalError, IrnnError, ResourceError, UnsupportedModuleError
from irnn_tvm.quantization import ptq
from irnn_tvm.quantization.rules.activation import ActivationOp
from irnn_tvm.quantization.rules.linear import LinearOp


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        return self.out(y)


def batches() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(5, 4)]


def _fails(error: BaseException) -> Any:
    """A function of the package that raises."""
    names: dict[str, Any] = {"__name__": "irnn_tvm.pretended", "error": error}
    exec("def fail(*_, **__):\n    raise error", names)
    return names["fail"]


@pytest.mark.parametrize(
    ("kind", "method", "what", "line"),
    [
        (ActivationOp, "plan", "tanh", "y = torch.tanh(x)"),
        (ActivationOp, "observe", "tanh", "y = torch.tanh(x)"),
        (LinearOp, "emit", "out, Linear", "return self.out(y)"),
    ],
)
@pytest.mark.parametrize(
    "error", [AssertionError(), TypeError("int() argument\nmore"), KeyError("k")], ids=str
)
def test_a_defect_names_layer_and_line(
    monkeypatch: pytest.MonkeyPatch, kind: Any, method: str, what: str, line: str, error: Exception
) -> None:
    error = copy.copy(error)  # which learns where it was raised
    monkeypatch.setattr(kind, method, _fails(error))
    with pytest.raises(InternalError) as caught:
        irnn_tvm.quantize(Net(), batches())
    text = str(caught.value)
    assert f"quantize failed at '{what}'" in text
    assert line in text
    assert type(error).__name__ in text
    assert "report it" in text
    assert "more" not in text.split("This is a defect")[0]
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3)])
def test_interrupts_pass(monkeypatch: pytest.MonkeyPatch, stop: BaseException) -> None:
    monkeypatch.setattr(LinearOp, "emit", _fails(stop))
    with pytest.raises(type(stop)):
        irnn_tvm.quantize(Net(), batches())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "quantize ran out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), "ran out of memory"),
        (OSError(errno.ENOSPC, "No space left", "/x/y"), "/x/y: no space is left on the disk"),
        (PermissionError(errno.EACCES, "denied", "/x/y"), "/x/y: the permission is missing"),
    ],
)
def test_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    monkeypatch.setattr(ptq, "measure", _fails(error))
    with pytest.raises(ResourceError, match=text):
        irnn_tvm.quantize(Net(), batches())


@pytest.mark.parametrize("error", [ValueError("no file"), TypeError("not so"), RuntimeError("odd")])
def test_calibration_that_fails_is_the_users(error: Exception) -> None:
    def items() -> Iterator[Tensor]:
        yield torch.randn(5, 4)
        raise error

    with pytest.raises(InputError, match=r"test_internal_errors.py:\d+: raise error") as caught:
        irnn_tvm.quantize(Net(), items())
    assert str(error) in str(caught.value)


def test_forward_that_fails_is_the_users() -> None:
    class Broken(Net):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("odd")

    with pytest.raises(InputError, match=r"the float model itself fails.*odd"):
        irnn_tvm.quantize(Broken(), batches())


class Refused(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        y = x + 1.0
        return self.function(y)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.std(1),
        lambda x: x / (x * x + 1),
        lambda x: x * 0.0,
        lambda x: torch.nn.functional.pad(x, (1, 1), value=3.0),
        lambda x: x + torch.arange(4),
        lambda x: torch.exp(x * 1e3),
        lambda x: torch.relu(x - 1e6),
        lambda x: torch.nn.functional.softmax(x, -1).log(),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x if x.sum() > 0 else -x,
    ],
)
def test_every_refusal_has_the_users_line(function: Any) -> None:
    with pytest.raises(IrnnError, match=r"\[.*test_internal_errors.py:\d+: .*lambda x"):
        irnn_tvm.quantize(Refused(function), batches())


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x.logaddexp(x), "has no integer version"),
        (lambda x: torch.log1p(x.abs()), "log1p has no integer version.*docs/quantization.md"),
        (lambda x: x.sigmoid_like() if hasattr(x, "sigmoid_like") else x.sinh(), "did you mean .*sin"),
    ],
)
def test_names_by_nearness(function: Any, text: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=text) as caught:
        irnn_tvm.quantize(Refused(function), batches())
    assert len(str(caught.value)) < 300


def test_place_is_said_once() -> None:
    with pytest.raises(InputError) as caught:
        with working_on("outer", "a.py:1: x"), working_on("inner", "b.py:2: y"):
            raise InputError("wrong")
    assert str(caught.value) == "wrong [b.py:2: y]"


def test_messages_of_many_lines_are_shortened() -> None:
    text = 'Traceback (most recent call last):\n  File "x.cc", line 3\nInternalError: Check failed: a == b\n  [bt] 1'
    assert shortened(text) == "InternalError: Check failed: a == b"
    assert len(shortened("x" * 999)) == 200


def test_a_call_that_does_not_fit_is_explained_by_python() -> None:
    @public
    def call(a: int) -> int:
        return a

    with pytest.raises(TypeError, match="unexpected keyword"):
        call(b=1)


def test_build_and_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    q = irnn_tvm.quantize(Net(), batches())
    lib = irnn_tvm.build(q, out=tmp_path / "lib")
    x = np.zeros(lib.inputs[0].shape, np.int8)
    lib.run(x)
    monkeypatch.setattr(type(lib._idle[0]), "run", _fails(IndexError("odd")))
    with pytest.raises(InternalError, match=r"Library\.run failed: IndexError: odd"):
        lib.run(x)
    monkeypatch.undo()
    from irnn_tvm.compiler import build_library

    monkeypatch.setattr(
        build_library, "lower_program", _fails(TypeError("int() argument must be a string, not Mul"))
    )
    with pytest.raises(InternalError, match="build failed: TypeError: int"):
        irnn_tvm.build(q)


def test_commands_keep_the_traceback_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("irnn_tvm.cli.libraries._read_report", _fails(TypeError("odd")))
    result = CliRunner().invoke(cli.app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "InternalError: the command failed: TypeError: odd" in result.output
    [file] = tmp_path.glob("irnn-tvm-*.txt")
    assert "Traceback" in file.read_text()
    assert str(file) in result.output


def test_a_defect_of_a_lowering_is_not_taken_for_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors pass through TVM on their way out, which makes frames of its own for them."""
    monkeypatch.setattr("irnn_tvm.relay_ops.conv1d.shape_of", int)
    integer = irnn_tvm.quantize(nn.Sequential(nn.Conv1d(4, 4, 3)), [torch.randn(2, 4, 9)])
    with pytest.raises(InternalError, match=r"build failed.*TypeError"):
        irnn_tvm.build(integer)
