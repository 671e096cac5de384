"""Models of a form: the lines of a forward pass, set into a module as a user's file would have it."""

from __future__ import annotations

import textwrap
from pathlib import Path

from model_check import Outcome, check

from irnn_tvm import QuantConfig

CONFIG = QuantConfig(pwl_pieces=8)  # small tables are fitted fast


def source(
    body: str,
    layers: str = "",
    *,
    inputs: dict[str, str] | None = None,
    length: int | None = None,
    above: str = "",
) -> str:
    """body: lines of forward(self, x, ...), the last one a return; before it `y = self.linear(x)` has run, [B, T, 6].

    layers: more lines of __init__. above: lines over the class. length: T of every call, None where it is free.
    """
    names = inputs or {"x": "B T 6"}
    first = [
        "import math",
        "import torch",
        "import torch.nn.functional as F",
        "from torch import nn",
        "import irnn_tvm.nn",
        f"INPUTS = {names!r}",
        f"LENGTH = {length!r}",
        textwrap.dedent(above),
        "class Model(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        "        self.linear = nn.Linear(6, 6)",
        textwrap.indent(textwrap.dedent(layers).strip(), " " * 8),
        f"    def forward(self, {', '.join(names)}):",
        "        y = self.linear(x)",
        textwrap.indent(textwrap.dedent(body).strip(), " " * 8),
    ]
    return "\n".join(first) + "\n"


def outcome_of(text: str, *targets: str) -> Outcome:
    """Takes a source through quantize and the targets; Failure where something is wrong without a word."""
    return check(Path("model.py"), text, targets, CONFIG)
