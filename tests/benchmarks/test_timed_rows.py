"""benchmarks/latency.py and models.py: what their rows say."""

from __future__ import annotations

from typing import Any

import latency
import models
import pytest
from workloads import Workload

RUNTIMES = ["irnn_tvm", "irnn_tvm.runtime", "torch f32", "torch dynamic int8"]


@pytest.mark.parametrize(
    "case",
    [
        (Workload("lstm", 16), 1, 2),
        (Workload("lstm", 16), 5, 2),
        (Workload("lstm", 16, bidirectional=True), 1, 1),
    ],
    ids=str,
)
def test_layers(case: tuple[Workload, int, int]) -> None:
    workload, steps, batch = case
    rows = latency.measure_workload(workload, steps, batch, RUNTIMES, rounds=3, slice_seconds=0.001)
    assert [row["runtime"] for row in rows] == RUNTIMES
    for row in rows:
        assert (row["workload"], row["T"], row["batch"], row["rounds"]) == (workload.name, steps, batch, 3)
        assert 0 < row["us_min"] <= row["us_median"]


def test_what_cannot_run_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    workload = Workload("gru", 8)
    running = latency.timers(workload, 3, 1, ["torch f32", "litert int8"])
    assert list(running) == ["torch f32"]
    assert "gru-8, T=3, batch 1: no litert int8: it has no integer kernel" in capsys.readouterr().err


def test_every_runtime_is_timed_in_every_round() -> None:
    calls: list[str] = []

    def timer(name: str, seconds: float) -> Any:
        def run(count: int) -> float:
            calls.append(f"{name}{count}")
            return seconds

        return run

    times = latency.take_turns({"a": timer("a", 0.01), "b": timer("b", 1.0)}, rounds=2, slice_seconds=0.05)
    assert times == {"a": [0.01] * 2, "b": [1.0] * 2}
    assert calls == ["a2", "a3", "b2", "b3", "a5", "b1", "a5", "b1"]


def test_models() -> None:
    items = ["one", "two", "six", "ten"]
    answers = {models.TORCH: list, "other": lambda word: ["t", "w", "o"] if word == "two" else []}
    work = {name: models.all_of(answer, items) for name, answer in answers.items()}
    job = models.Job("letters", "word", "words", answers, work, len(items), items)
    rows = list(models.rows(job, rounds=3, slice_seconds=0.001))
    assert [(row["runtime"], row["same"], row["compared"]) for row in rows] == [
        (models.TORCH, 1.0, 4),
        ("other", 0.25, 4),
    ]
    answers["other"] = lambda word: [word[0], "?", word[2]]
    characters = models.Job("letters", "character", "next characters", answers, work, 12, ["two", "six"])
    assert models.agreement(characters) == {models.TORCH: (1.0, 6), "other": (4 / 6, 6)}
    for row in rows:
        assert (row["bench"], row["model"], row["items"], row["what"]) == ("model", "letters", 4, "words")
        assert 0 < row["us_min"] <= row["us_median"]
