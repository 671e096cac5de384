"""The arena: tensors that are in use at the same time never share a byte, and it is hardly larger than it must be."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from every_target import DISTINCT
from sampling import sampled

from irnn_tvm import Library
from irnn_tvm.compiler.pack_arena import pack_arena
from irnn_tvm.compiler.plan import Call, Plan, Value


def _random_plan(seed: int) -> tuple[Plan, dict[str, SimpleNamespace], list[list[tuple[int, int]]]]:
    """Calls that read some earlier results and write one or two, all in places of their own; and for each call which
    results (call, number) it reads."""
    chance = random.Random(seed)
    plan, kernels, place = Plan(), {}, 0
    results: dict[tuple[int, int], Value] = {}
    reads: list[list[tuple[int, int]]] = []
    for number in range(chance.randint(1, 14)):
        read = chance.sample(sorted(results), min(len(results), chance.randint(0, 3)))
        outputs = []
        for n in range(chance.randint(1, 2)):
            size = chance.choice((1, 7, 16, 100, 1000, 4096))
            outputs.append(Value("arena", place, "int8", (size,)))
            results[number, n] = outputs[-1]
            place += 5000
        plan.calls.append(Call(f"k{number}", tuple([results[r] for r in read] + outputs), (), None))
        kernels[f"k{number}"] = SimpleNamespace(attrs={"irnn.outputs": len(outputs)})
        reads.append(read)
    last = max(results)
    plan.copies = [(Value("output", 0, "int8", results[last].shape), results[last])]
    plan.arena_bytes = place
    return plan, kernels, reads


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_overwritten_before_its_last_use(seed: int) -> None:
    """Every byte is followed through the calls: what is read is what was written."""
    plan, kernels, reads = _random_plan(seed)
    pack_arena(plan, kernels, 1)
    arena: list[tuple[int, int] | None] = [None] * plan.arena_bytes
    for number, (call, read) in enumerate(zip(plan.calls, reads, strict=True)):
        for value, result in zip(call.values, read, strict=False):
            assert arena[value.index : value.index + value.shape[0]] == [result] * value.shape[0]
        inputs = {b for v in call.values[: len(read)] for b in range(v.index, v.index + v.shape[0])}
        for n, value in enumerate(call.values[len(read) :]):
            assert value.index % 16 == 0
            assert not inputs & set(range(value.index, value.index + value.shape[0]))
            arena[value.index : value.index + value.shape[0]] = [(number, n)] * value.shape[0]
    [(_, source)] = plan.copies
    assert len(set(arena[source.index : source.index + source.shape[0]])) == 1
    assert plan.arena_minimum <= plan.arena_bytes <= 1.35 * plan.arena_minimum


@pytest.mark.parametrize("target", sampled(DISTINCT, 4))
@pytest.mark.parametrize("name", ["tagger", "encoder"])
def test_networks_need_hardly_more_than_the_minimum(
    name: str, target: str, library: Callable[[str, str], Library]
) -> None:
    report = library(name, target).report
    assert 0 < report["arena_minimum_bytes"] <= sum(report["arena"]) <= 1.2 * report["arena_minimum_bytes"]
    assert sum(report["arena"]) <= report["arena_bytes"]
