"""The blocks of code of the pages, and how each is run: a page's blocks share one folder and one Python namespace."""

from __future__ import annotations

import json
import linecache
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RUNS = ("python", "sh", "c")  # `text` is everything else: formulas, diagrams
_MARK = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True)
class Block:
    """line: of the fence, from 1; not_run: the reason in the comment above it, None where the block runs."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, fenced and indented, in their order."""
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block") and token.map is not None:
            start = token.map[0]
            mark = _MARK.fullmatch(lines[start - 1].strip()) if start else None
            reason = mark[1] if mark else None
            found.append(Block(page, start + 1, token.info.strip(), token.content, reason))
    return found


@dataclass
class Reader:
    """Somebody who does what a page says, in a folder of theirs."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def follow(self, block: Block) -> None:
        """Runs a block. AssertionError, or what the code raises, names the line of the page."""
        {"python": self._python, "sh": self._shell, "c": self._c}[block.language](block)

    def _python(self, block: Block) -> None:
        # As a file of its own, whose lines are those of the page: inspect and messages find them.
        source = "\n" * block.line + block.code
        name = str(block)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), self.names)

    def _shell(self, block: Block) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-xeuo", "pipefail", "-c", block.code],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}: exit code {done.returncode}\n{done.stdout}"

    def _c(self, block: Block) -> None:
        """Compiles for the library whose header the block includes; a program for this machine is run, too."""
        from irnn_tvm import targets
        from irnn_tvm.compiler import toolchain

        source = self.folder / f"block_{block.line}.c"
        source.write_text(block.code)
        header = re.search(r'#include "(\w+)\.h"', block.code)
        assert header, f"{block} includes no header of a library that the page built"
        library = self._library(header[1])
        report = json.loads((library / "report.json").read_text())
        target = targets.get(report["target"])
        flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", library]
        runs = "int main(" in block.code and target.runs_natively and report["kind"] == "shared"
        out = source.with_suffix("" if runs else ".o")
        ends = [library / report["files"]["library"], f"-Wl,-rpath,{library}"] if runs else ["-c"]
        toolchain.run_zig(
            ["cc", "-target", target.zig_target, *target.zig_flags, *flags, source, *ends, "-o", out],
            str(block),
        )
        if runs:
            assert subprocess.run([out], cwd=self.folder, check=False).returncode == 0, block

    def _library(self, name: str) -> Path:
        """The library of this name that was built last."""
        found = [path for path in self.folder.rglob(f"{name}.h") if (path.parent / "report.json").is_file()]
        assert found, f"no earlier block built a library {name}"
        return max(found, key=lambda path: path.stat().st_mtime).parent


def mistakes(block: Block) -> Iterator[str]:
    """What is wrong with how a block is written: nobody could tell whether it is right."""
    if block.language not in (*RUNS, "text"):
        yield f"{block} is {block.language or 'nothing'}; a block is one of {', '.join(RUNS)} and text"
    if block.language == "text" and re.search(
        r"^\s*(\$ )?(irnn-tvm|pip|make|python3?|import|from|#include|def|class)\b", block.code, re.MULTILINE
    ):
        yield f"{block} is text, and looks like code"
    if block.not_run is not None and len(block.not_run) < 8:
        yield f"{block} does not say why it is not run"
