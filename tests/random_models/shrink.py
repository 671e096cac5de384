"""The smallest program that fails like a seed's: .venv/bin/python tests/random_models/shrink.py SEED [host,c]"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from choice_sequence import Choices, from_seed, from_sequence  # noqa: E402
from model_check import Failure, check  # noqa: E402
from random_program import generate  # noqa: E402

MOST_TRIES = 250


def failure_of(choices: Choices, targets: tuple[str, ...]) -> tuple[str, str] | None:
    """The kind of failure of the program that these choices make, and its source; None when nothing fails."""
    source = generate(choices).source()
    try:
        check(Path("model.py"), source, targets)
    except Failure as failure:
        return failure.kind, source
    return None


def shrink(choices: Choices, targets: tuple[str, ...], kind: str) -> str:
    """Source of a program with the same kind of failure, from a shorter sequence of smaller choices."""
    best = choices
    source = ""
    tries = 0
    improved = True
    while improved and tries < MOST_TRIES:
        improved = False
        for sequence in _smaller(best):
            tries += 1
            candidate = from_sequence(sequence)
            found = failure_of(candidate, targets)
            if found is not None and found[0] == kind and _size(candidate) < _size(best):
                best, source, improved = candidate, found[1], True
                break
            if tries >= MOST_TRIES:
                break
    return source


def _size(choices: Choices) -> tuple[int, int, int]:
    return len(choices.marks), len(choices.taken), sum(choices.taken)


def _smaller(choices: Choices) -> Iterator[Sequence[int]]:
    """First without whole statements, then with single choices made simple."""
    taken, marks = choices.taken, choices.marks
    for start, stop in reversed(list(pairwise(marks))):
        yield taken[:start] + taken[stop:]
    for index in range(len(taken) - 1, -1, -1):
        if taken[index] > 0:
            yield [*taken[:index], 0, *taken[index + 1 :]]


def main() -> None:
    seed = int(sys.argv[1])
    targets = tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 else ()
    choices = from_seed(seed)
    found = failure_of(choices, targets)
    if found is None:
        print(f"the program of seed {seed} does not fail")
        return
    print(f'"""{found[0]}"""\n\n{shrink(choices, targets, found[0]) or found[1]}')


if __name__ == "__main__":
    main()
