"""The rules that random models are made of. A rule adds a statement to a program, or says that it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from program_builder import Builder


@dataclass(frozen=True)
class Rule:
    """apply: adds statements and returns True. supported: False for what has no integer version on purpose: a program
    with it may be refused. group: see GROUPS in random_program.py."""

    name: str
    group: str
    weight: int
    apply: Callable[[Builder], bool]
    supported: bool


RULES: list[Rule] = []


def rule(group: str, weight: int = 2, supported: bool = True) -> Callable[..., Callable[[Builder], bool]]:
    """Puts a function into the grammar under its own name."""

    def add(function: Callable[[Builder], bool]) -> Callable[[Builder], bool]:
        RULES.append(Rule(function.__name__, group, weight, function, supported))
        return function

    return add
