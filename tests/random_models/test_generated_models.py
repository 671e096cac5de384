"""Random models are equal at every stage, or refused by a typed error (tests/model_check.py: what is compared)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from choice_sequence import from_seed
from grammar import RULES
from hypothesis import HealthCheck, Phase, given, settings
from model_check import Failure, Outcome, check
from model_program import Program
from random_program import generate, programs

from irnn_tvm import QuantConfig

CHUNK = 10
QUICK, MANY = 100, 2_000
CONFIG = QuantConfig(pwl_pieces=16)
LOWEST_DB = 20.0
# What makes noise larger, and how far models with it may go.
LOWEST_DB_WITH = {
    "recurrent_variant": 10.0,  # norms carry the noise of the 8-bit state further (docs/quantization.md)
    "norm": 12.0,  # rows whose features are nearly equal become as large as others
    "reduction": 5.0,  # means of noise are small, and single features of them smaller than a step
    "repeated_layer": 5.0,  # all calls share the scale of the outputs, which may shrink from call to call
}


def targets_of(seed: int) -> tuple[str, ...]:
    """Builds take most of the time, so that a part of the models gets one, and a smaller part C sources."""
    if seed % 24 == 1:
        return ("c",)
    return ("host",) if seed % 6 == 0 else ()


def run(seed: int, targets: tuple[str, ...]) -> Outcome:
    """The outcome of one seed. Failures show the source and how to shrink it."""
    program = generate(from_seed(seed))
    source = program.source()
    try:
        outcome = check(Path(f"model_{seed}.py"), source, targets, CONFIG)
        _check_noise(program, outcome)
    except Failure as failure:
        pytest.fail(
            f"seed {seed}: {failure}\n\n{source}\nsmaller: .venv/bin/python tests/random_models/shrink.py {seed} "
            f"{','.join(targets)}",
            pytrace=False,
        )
    return outcome


def _check_noise(program: Program, outcome: Outcome) -> None:
    lowest = min([LOWEST_DB, *(db for rule, db in LOWEST_DB_WITH.items() if rule in program.used)])
    if outcome.sqnr_db is not None and outcome.sqnr_db < lowest:
        raise Failure("the integer model is far from the float model", f"{outcome.sqnr_db:.1f} dB")


@pytest.mark.parametrize("first", range(0, QUICK, CHUNK))
def test_a_hundred_models(first: int) -> None:
    outcomes = [run(seed, targets_of(seed)) for seed in range(first, first + CHUNK)]
    # Refusals are for what has no integer version: most models must get through.
    assert sum(o.stage == "equal" for o in outcomes) >= CHUNK // 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(QUICK, QUICK + MANY, 5 * CHUNK))
def test_two_thousand_models(first: int) -> None:
    outcomes = [run(seed, targets_of(seed)) for seed in range(first, first + 5 * CHUNK)]
    assert sum(o.stage == "equal" for o in outcomes) >= 5 * CHUNK // 2


@given(program=programs())
@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
def test_programs_of_hypothesis(program: Program) -> None:
    """The same through hypothesis, which shrinks what fails."""
    try:
        check(Path("model.py"), program.source(), (), CONFIG)
    except Failure as failure:
        raise AssertionError(f"{failure}\n\n{program.source()}") from failure


def test_every_rule_takes_part() -> None:
    """The first models use every rule of the grammar, so that none is dead; a seed always makes the same model."""
    counts: Counter[str] = Counter()
    for seed in range(400):
        counts.update(generate(from_seed(seed)).used)
    assert {rule.name for rule in RULES} <= set(counts)
    assert generate(from_seed(7)).source() == generate(from_seed(7)).source()
