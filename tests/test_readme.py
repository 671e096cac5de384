"""The example in README.md runs as it stands, and the README speaks of every target and every command."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from irnn_tvm.cli import app
from irnn_tvm.targets import TARGETS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.emulator
def test_the_example_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    require_tool: Callable[[str], str],
) -> None:
    require_tool("qemu-system-arm")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert "emulated: qemu-system-arm" in capsys.readouterr().out
    assert {"libkeywords.a", "keywords.h", "report.json"} <= {
        path.name for path in (tmp_path / "out" / "keywords").iterdir()
    }


def test_every_target_is_named() -> None:
    assert all(f"`{name}`" in README for name in TARGETS)


def test_every_command_that_it_shows_exists() -> None:
    shown = set(re.findall(r"^irnn-tvm ([\w-]+)", README, re.MULTILINE))
    known = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert shown <= known


def test_every_make_target_that_it_shows_exists() -> None:
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text(encoding="utf-8")
    for name in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_links_lead_somewhere() -> None:
    root = Path(__file__).resolve().parents[1]
    for page in [root / "README.md", *(root / "docs").glob("*.md"), *(root / "benchmarks").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
