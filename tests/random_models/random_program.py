"""Random models: `generate` puts rules of the grammar together; `programs` does so for hypothesis."""

from __future__ import annotations

import grammar_effects
import grammar_layers
import grammar_values
import grammar_views
from choice_sequence import Choices
from grammar import RULES
from hypothesis import strategies as st
from model_program import Program
from program_builder import FIXED_LENGTH, Builder

# Modules whose import fills RULES.
TABLES = (grammar_layers, grammar_values, grammar_views, grammar_effects)
LONGEST = 9


def _inputs(choices: Choices) -> dict[str, str]:
    width = choices.of((6, 4, 8, 3, 5))
    inputs = {"x": choices.weighted((12, 2, 2))}
    layout = ("B T {}", "T B {}", "B {} T")[inputs.pop("x")]
    found = {"x": layout.format(width)}
    other = choices.weighted((10, 4, 2, 2, 2))
    if other == 1:
        found["ids"] = "ids 20 B T"
    elif other == 2:
        found["z"] = layout.format(width)
    elif other == 3:
        found["h"] = f"B {width}"
    elif other == 4:
        found["lengths"] = "lengths T B"
    return found


def generate(choices: Choices) -> Program:
    """A program: its inputs, up to LONGEST statements, and what it returns."""
    fixed = FIXED_LENGTH if choices.chance(20) else None
    b = Builder(choices, _inputs(choices), fixed)
    effects = choices.chance(45)
    rules = [rule for rule in RULES if effects or rule.group != "effect"]
    weights = [rule.weight for rule in rules]
    while len(b.program.used) < LONGEST and choices.number(0, 9) > 0:
        choices.mark()
        for _attempt in range(4):
            rule = rules[choices.weighted(weights)]
            layers, helpers = len(b.program.layers), len(b.program.helpers)
            if rule.apply(b):
                b.program.used.append(rule.name)
                if not rule.supported:
                    b.program.unsupported.append(rule.name)
                break
            del b.program.layers[layers:], b.program.helpers[helpers:]
    choices.mark()
    _finish(b)
    return b.program


def _finish(b: Builder) -> None:
    """What the model returns: its last value, often with others, in one of the structures that are allowed."""
    own = [v for v in b.values if v not in b.program.inputs]
    if not own:
        b.emit("y = torch.tanh(x)", "y")
        own = ["y"]
    last, rest = own[-1], own[:-1]
    extra = [v for v in rest if b.choices.chance(20 if b.is_read(v) else 85)][-6:]
    if not extra:
        b.program.result = last
        return
    everything = [last, *extra]
    forms = (
        "({})".format(", ".join(everything)),
        "[{}]".format(", ".join(everything)),
        "{{{}}}".format(", ".join(f"'{v}': {v}" for v in everything)),
        f"{last}, ({', '.join(extra)},)",
        f"{{'y': {last}, 'others': [{', '.join(extra)}]}}",
    )
    b.program.result = b.choices.of(forms)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A strategy of programs; hypothesis shrinks what makes a test fail."""
    return generate(Choices(lambda n: draw(st.integers(0, n - 1))))
