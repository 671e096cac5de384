"""Builds a program statement by statement, and runs each at once for two batches and lengths.

What a statement gives is therefore known, and which sizes are the batch, the time or fixed is read off the two runs.
A statement that torch refuses, or whose values vanish, explode or are constant, is left out again: every program is
one that a user could have written, run and trained.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from choice_sequence import Choices
from model_check import example, initialise
from model_program import Program
from torch import Tensor, nn
from torch.nn import functional as F

import irnn_tvm.nn

RUNS = ((2, 7), (3, 10))  # batch and length
FIXED_LENGTH = 6


class Builder:
    """What a rule of the grammar sees: values by shape, and `emit` to add statements."""

    def __init__(self, choices: Choices, inputs: dict[str, str], fixed_length: int | None) -> None:
        self.choices = choices
        self.program = Program(inputs, fixed_length=fixed_length)
        self.values: list[str] = []
        self.count = 0
        self.runs: list[dict[str, Any]] = []
        for number, (batch, length) in enumerate(RUNS):
            generator = torch.Generator().manual_seed(number)
            tensors = {
                name: example(text, batch, fixed_length or length, generator) for name, text in inputs.items()
            }
            owner = nn.Module()
            names = {"torch": torch, "nn": nn, "F": F, "math": math, "irnn_tvm": irnn_tvm}
            self.runs.append({**names, "self": owner, **tensors})
        self.values = [n for n, text in inputs.items() if not text.startswith(("ids", "lengths"))]
        self.ids = [n for n, text in inputs.items() if text.startswith("ids")]
        self.lengths = [n for n, text in inputs.items() if text.startswith("lengths")]

    # Names and sizes.

    def fresh(self, stem: str = "y") -> str:
        """A name that nothing has yet."""
        self.count += 1
        return f"{stem}{self.count}"

    def width(self) -> int:
        """A number of features."""
        return self.choices.of((4, 8, 3, 5, 6, 12, 16))

    def sizes(self, name: str) -> tuple[str, ...]:
        """Per axis: "B", "T", a number, or "?" for what depends on B or T otherwise."""
        first, second = (run[name] for run in self.runs)
        texts = []
        for a, b in zip(first.shape, second.shape, strict=True):
            pair, fixed = (a, b), self.program.fixed_length
            known = {(RUNS[0][0], RUNS[1][0]): "B"}
            if fixed is None:
                known[RUNS[0][1], RUNS[1][1]] = "T"
            texts.append(known.get(pair, str(a) if a == b else "?"))
        return tuple(texts)

    def matches(self, name: str, pattern: str) -> bool:
        """Whether a value has the axes of a pattern: B, T (or its fixed length), t (T, or made of it), s (fixed), *;
        "..." in front stands for any more of them."""
        sizes, words = self.sizes(name), pattern.split()
        if words[0] == "...":
            words = words[1:]
            if len(sizes) < len(words):
                return False
            sizes = sizes[len(sizes) - len(words) :]
        if len(sizes) != len(words):
            return False
        fixed = str(self.program.fixed_length)
        for size, word in zip(sizes, words, strict=True):
            fits = {
                "B": size == "B",
                "T": size in ("T", fixed),
                "t": size in ("T", fixed, "?"),
                "s": size.isdigit(),
                "*": True,
            }[word]
            if not fits:
                return False
        return True

    def pick(self, *patterns: str) -> str | None:
        """A value that matches one of the patterns, mostly one that nothing reads yet; None where there is none."""
        found = [v for v in self.values if any(self.matches(v, p) for p in patterns)]
        if not found:
            return None
        found.sort(key=lambda v: (self.is_read(v), -self.values.index(v)))
        return self.choices.of(found[: 1 + self.choices.number(0, 3)])

    def is_read(self, name: str) -> bool:
        """Whether a statement reads a value already."""
        return sum(len(re.findall(rf"\b{name}\b", text)) for text in self.program.body) > 1

    def like(self, name: str) -> str | None:
        """Another value of the same shape."""
        found = [v for v in self.values if v != name and self.sizes(v) == self.sizes(name)]
        return self.choices.of(found) if found else None

    def last(self, name: str, axis: int = -1) -> int:
        """A fixed size."""
        return int(self.runs[0][name].shape[axis])

    # Parts of the program.

    def layer(self, constructor: str, stem: str = "layer") -> str:
        """Adds a layer, or any attribute, to __init__; its name. An attribute that no statement uses is harmless."""
        name = self.fresh(stem)
        self.init(f"self.{name} = {constructor}", name)
        return name

    def init(self, line: str, name: str | None = None) -> None:
        """Adds lines to __init__."""
        self.program.layers.append(line)
        for number, run in enumerate(self.runs):
            if number == 0:
                torch.manual_seed(len(self.program.layers))
                exec(line, run)
                if name is not None and isinstance(getattr(run["self"], name), nn.Module):
                    initialise(getattr(run["self"], name), torch.Generator().manual_seed(self.count))
                run["self"].eval()
            elif name is not None:
                setattr(run["self"], name, copy.deepcopy(getattr(self.runs[0]["self"], name)))
            else:
                exec(line, run)

    def helper(self, text: str) -> None:
        """Adds a class above the model, once."""
        if text not in self.program.helpers:
            self.program.helpers.append(text)
            for run in self.runs:
                exec(text, run)

    def emit(self, lines: str, *defines: str, changes: Sequence[str] = ()) -> bool:
        """Adds statements that define these names and change those in place; False, and nothing, where they fail."""
        before = [
            {name: run[name].clone() for name in self.values if isinstance(run[name], Tensor)}
            for run in self.runs
        ]
        try:
            with torch.no_grad():
                for run in self.runs:
                    exec(lines, run)
                ok = all(self._usable(run[name]) for run in self.runs for name in (*defines, *changes))
                ok = ok and all(self._same_rank(name) for name in defines)
        except Exception:
            ok = False
        if not ok:
            for run, values in zip(self.runs, before, strict=True):
                run.update(values)
            return False
        self.program.body.append(lines)
        self.values += [name for name in defines if name not in self.values]
        return True

    def _usable(self, value: Any) -> bool:
        """A float tensor of ordinary size and spread."""
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
            return False
        if not 1 <= value.dim() <= 4 or value.numel() > 20_000 or not bool(torch.isfinite(value).all()):
            return False
        return bool(value.abs().max() < 60) and bool(value.abs().max() > 0.02)

    def _same_rank(self, name: str) -> bool:
        first, second = (run[name] for run in self.runs)
        return bool(first.dim() == second.dim())
