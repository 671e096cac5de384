"""The README speaks of every target, and of commands, make targets and files that there are."""

import re
from pathlib import Path

from irnn_tvm.cli import app
from irnn_tvm.targets import TARGETS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


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
