"""Every block of README and docs runs as it stands, in the order of its page, in one folder and one namespace.

What cannot be run here is marked in the page, on the line above the block: <!-- not run: needs a Raspberry Pi -->.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pages import PAGES, RUNS, Block, Reader, blocks, mistakes

# Pages that take more than about 20 s.
LONG = {"training.md", "tuning.md", "profiling.md"}
MOST_MARKS = 6  # of all blocks of all pages
RUNNABLE = [page for page in PAGES if any(b.language in RUNS and b.not_run is None for b in blocks(page))]


def test_every_block_is_run_or_says_why_not() -> None:
    found = [block for page in PAGES for block in blocks(page)]
    assert not [wrong for block in found for wrong in mistakes(block)]
    assert sum(block.not_run is not None for block in found) <= MOST_MARKS


@pytest.mark.emulator
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.exhaustive if page.name in LONG else ())
        for page in RUNNABLE
    ],
)
def test_a_reader_can_follow(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IRNN_TVM_TUNING_LOGS", str(tmp_path / "logs of the user"))
    torch.manual_seed(0)
    reader = Reader(tmp_path)
    for block in blocks(page):
        if block.language in RUNS and block.not_run is None:
            reader.follow(block)


def block(language: str, code: str, reason: str | None = None) -> Block:
    return Block(PAGES[0], 3, language, code, reason)


def test_a_wrong_block_is_found(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow(block("python", "x = 1\n"))
    reader.follow(block("python", "assert x == 1\n"))
    with pytest.raises(NameError):
        reader.follow(block("python", "lost\n"))
    with pytest.raises(AssertionError, match=r"README.md:3: exit code 2"):
        reader.follow(block("sh", "irnn-tvm report lost | cat\ntrue\n"))
    with pytest.raises(AssertionError, match="no earlier block built a library lost"):
        reader.follow(block("c", '#include "lost.h"\n'))


@pytest.mark.parametrize(
    "wrong", [block("", "x"), block("bash", "x"), block("text", "irnn-tvm targets"), block("sh", "x", "no")]
)
def test_a_block_that_nobody_runs_is_found(wrong: Block) -> None:
    assert list(mistakes(wrong))


def test_blocks_and_their_marks_are_found(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    lines = ["- a list", "", "  ```sh", "  true", "  ```", "", "<!-- not run: needs a board -->"]
    path.write_text("\n".join([*lines, "```c", "int x;", "```", "", "    indented", ""]))
    found = [(b.line, b.language, b.code, b.not_run) for b in blocks(path)]
    assert found == [
        (3, "sh", "true\n", None),
        (8, "c", "int x;\n", "needs a board"),
        (12, "", "indented\n", None),
    ]
