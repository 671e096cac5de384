"""Figures, and the command that shows a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pwl_samples import IN8, OUT8
from typer.testing import CliRunner, Result

from irnn_tvm import pwl
from irnn_tvm.cli import Function, app
from irnn_tvm.errors import InputError, ToolNotFoundError


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pwl", *arguments])


@pytest.mark.parametrize("bits", [8, 16])
def test_plot_writes_a_readable_png(tmp_path: Path, bits: int) -> None:
    image = pytest.importorskip("matplotlib.image", reason="the extra `plots` is not installed")
    fn, (inp, out) = pwl.FUNCTIONS["tanh"].fn, pwl.FUNCTIONS["tanh"].grids(bits)
    path = tmp_path / "tanh.png"
    figure = pwl.plot(pwl.fit(fn, 8, inp, out), fn, inp, out, path, "a title")
    pixels = image.imread(path)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 500
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 10  # curves, not an empty page
    curve, below = figure.axes
    assert curve.get_title() == "a title"
    knots = next(line for line in curve.lines if line.get_label() == "knots")
    assert knots.get_xdata().size == 8
    assert below.get_ylabel() == "error, output LSB"


def test_unused_pieces_are_not_drawn() -> None:
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    figure = pwl.plot(pwl.fit(lambda x: x, 16, IN8, IN8), lambda x: x, IN8, IN8)
    knots = next(line for line in figure.axes[0].lines if line.get_label() == "knots")
    assert knots.get_xdata().size == 1


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    table = pwl.fit(np.tanh, 4, IN8, OUT8)
    for path in (tmp_path / "missing" / "a.png", tmp_path / "a.nonsense"):
        with pytest.raises(InputError, match="cannot be written"):
            pwl.plot(table, np.tanh, IN8, OUT8, path)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ToolNotFoundError, match=r"irnn-tvm\[plots\]"):
        pwl.plot(pwl.fit(np.tanh, 4, IN8, OUT8), np.tanh, IN8, OUT8)


def test_command_prints_the_table_and_its_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    path = tmp_path / "sigmoid.png"
    result = invoke("--function", "sigmoid", "--pieces", "16", "--bits", "8", "--plot", str(path))
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(b"\x89PNG")
    fn, (inp, out) = pwl.FUNCTIONS["sigmoid"].fn, pwl.FUNCTIONS["sigmoid"].grids(8)
    table = pwl.fit(fn, 16, inp, out)
    worst, mean = pwl.error(table, fn, inp, out)
    assert f"{worst:.3f}" in result.stdout
    assert f"{mean:.3f}" in result.stdout
    assert all(f" {slope} " in result.stdout for slope in table.table[1])
    assert all(word in result.stdout for word in ("adaptive", "greedy", "uniform", "lookup", "96 B"))


def test_command_as_json() -> None:
    content = json.loads(invoke("-f", "gelu", "-p", "5", "--range", "2", "--json").stdout)
    assert content["pieces"] == 5
    assert content["bytes"] == 48
    assert len(content["knots"]) == len(content["slopes"]) == len(content["values"]) == 5
    assert content["in_scale"] == pytest.approx(2 / 32767)
    assert content["adaptive_mean"] <= content["uniform_mean"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-f", "tanh", "-p", "0"), "QuantizationError: 0 PWL pieces"),
        (("-f", "tanh", "--bits", "12"), "QuantizationError: 12 bits"),
        (("-f", "tanh", "--range", "-1"), "QuantizationError: a range of"),
        (
            ("-f", "tanh", "--bits", "8", "--plot", "/missing/x.png"),
            "InputError: the figure cannot be written",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    if "--plot" in arguments:
        pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"irnn-tvm: {message}")
    assert len(result.stderr.splitlines()) == 1


def test_the_command_knows_every_function_of_the_study() -> None:
    assert [f.value for f in Function] == list(pwl.FUNCTIONS)
