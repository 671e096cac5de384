"""What quantize says while it works: after a while, on a terminal, and nothing else."""

from __future__ import annotations

import io
import threading
import time

import pytest
import torch
from rich.console import Console
from torch import nn

import irnn_tvm
from irnn_tvm.quantization import progress
from irnn_tvm.quantization.progress import Progress


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100), text


def work(shown: Progress, seconds: float) -> None:
    shown.stage("capturing")
    for _ in shown.each(range(4), "calibrating"):
        time.sleep(seconds / 4)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.05)
    where, text = console(terminal=True)
    with Progress(None, where) as shown:
        work(shown, 0.6)
    said = text.getvalue()
    assert "quantize: calibrating" in said
    assert said.endswith("\x1b[2K"), "the line is taken away"
    assert "\x1b[?25h" in said, "the cursor is back"


@pytest.mark.parametrize(("terminal", "shown"), [(True, None), (True, True), (False, True)])
def test_nothing_where_it_is_quick(terminal: bool, shown: bool | None) -> None:
    where, text = console(terminal)
    with Progress(shown, where) as line:
        work(line, 0.01)
    assert text.getvalue() == ""


@pytest.mark.parametrize(("terminal", "shown"), [(False, None), (False, False), (True, False)])
def test_never_in_pipes_or_where_it_is_not_wanted(
    terminal: bool, shown: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.01)
    where, text = console(terminal)
    with Progress(shown, where) as line:
        work(line, 0.2)
    assert text.getvalue() == ""


def test_lines_in_a_pipe_that_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.05)
    where, text = console(terminal=False)
    with Progress(True, where) as shown:
        work(shown, 0.4)
        shown.stage("measuring")
    assert text.getvalue().splitlines() == ["quantize: calibrating", "quantize: measuring"]


def test_an_error_or_interrupt_leaves_the_terminal_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.05)
    where, text = console(terminal=True)
    before = threading.active_count()

    def interrupted() -> None:
        with Progress(None, where) as shown:
            work(shown, 0.3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert text.getvalue().endswith("\x1b[2K")
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_quantize_takes_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The model's integers are the same, and the stages are those of quantize."""
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    torch.manual_seed(0)
    model, data = nn.GRU(3, 4), [torch.randn(5, 1, 3) for _ in range(2)]
    loud = irnn_tvm.quantize(model, data, progress=True)
    assert "quantize: measuring the integer network" in capsys.readouterr().err
    silent = irnn_tvm.quantize(model, data)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "quantize:" not in captured.err
    x = loud.calibration_example
    for one, other in zip(loud(*x)[:1], silent(*x)[:1], strict=True):
        assert torch.equal(one, other)
