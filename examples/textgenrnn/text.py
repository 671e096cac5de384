"""Real English sentences for the character model: the prose of the README that comes in its own package."""

from __future__ import annotations

import re

from irnn_tvm.examples.download import read_member
from irnn_tvm.examples.textgenrnn.model import PACKAGE


def sentences() -> list[str]:
    """Sentences of 20 to 160 characters in the order of the text, without links, code and headings."""
    text = read_member(PACKAGE, "textgenrnn-2.0.0/README.md").decode("utf-8")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[`*_]", "", text)
    prose = [
        line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("#", "    "))
    ]
    parts = [part.strip() for line in prose for part in re.split(r"(?<=[.!?]) ", line)]
    return [part for part in parts if 20 <= len(part) <= 160]


def split() -> tuple[list[str], list[str]]:
    """(calibration sentences, evaluation sentences): every second one."""
    every = sentences()
    return every[::2], every[1::2]
