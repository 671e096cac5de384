"""A random model as text: what a user would have written in a file, with the inputs that it takes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Program:
    """helpers: classes above the model. layers: lines of __init__. body: lines of forward. result: what it returns.

    inputs: name -> description: "B T 6" is a float tensor, "ids 20 B T" holds ids below 20, "lengths T B" lengths of
    1 to T. fixed_length: T of every call, None where T is free. carries: as the class attribute. used: names of the
    grammar's rules that took part. unsupported: those of them that have no integer version by what the documents say.
    """

    inputs: dict[str, str]
    helpers: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    result: str = "x"
    fixed_length: int | None = None
    carries: dict[str, int] | None = None
    used: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)

    def source(self) -> str:
        """The module's text."""
        lines = [
            "import math",
            "",
            "import torch",
            "import torch.nn.functional as F",
            "from torch import nn",
            "",
            "import irnn_tvm.nn",
            "",
            f"INPUTS = {self.inputs!r}",
            f"LENGTH = {self.fixed_length!r}",
            f"ONE_BATCH = {'state_in_the_module' in self.used}",
            f"USED = {self.used!r}",
            f"UNSUPPORTED = {self.unsupported!r}",
            "",
        ]
        for helper in self.helpers:
            lines += ["", helper.strip(), ""]
        lines += ["", "class Model(nn.Module):"]
        if self.carries:
            lines += [f"    carries = {self.carries!r}", ""]
        lines += ["    def __init__(self):", "        super().__init__()"]
        lines += [f"        {line}" for entry in self.layers for line in entry.splitlines()]
        lines += ["", f"    def forward(self, {', '.join(self.inputs)}):"]
        lines += [f"        {line}" for entry in self.body for line in entry.splitlines()]
        lines += [f"        return {self.result}", ""]
        return "\n".join(lines)
