"""benchmarks/accuracy.py: merging rows, tables, goals."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from irnn_tvm.examples.training.results import Row

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy.py"
FLOAT = Row(
    "language_model", "standard", "lstm", "float", "32", 0, "perplexity", 100.0, 4000, 0, "abc", "brown", 60.0
)
QAT = replace(FLOAT, stage="qat", bits="8/16", pieces=16, value=100.4, size_bytes=1000, note="300 steps")
BASE = replace(FLOAT, model="5-gram Kneser-Ney", stage="baseline", bits="", value=147.7, size_bytes=0)


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["accuracy"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_new_rows_replace_old_ones(accuracy: ModuleType) -> None:
    merged = accuracy.merge([QAT, FLOAT], [replace(QAT, value=99.0), BASE])
    assert [(row.stage, row.value) for row in merged] == [
        ("baseline", 147.7),
        ("float", 100.0),
        ("qat", 99.0),
    ]


def test_tables_show_figures_sizes_and_origins(accuracy: ModuleType) -> None:
    text = accuracy.document([BASE, FLOAT, QAT])
    assert "For comparison, perplexity: 5-gram Kneser-Ney 147.70." in text
    assert "| lstm | 8/16 | 16 | 100.00 |  | 100.40 | 4,000 | 1,000 | 4.00x |" in text
    assert "- lstm, QAT at most 1.005 times float: reached by every version measured (1)" in text
    assert "with biases, multipliers and tables 4.00 to 4.00" in text
    assert "Size of the recipe: standard. Seeds: 0. Commits: abc. Data: brown." in text
    assert "Notes: lstm, qat: 300 steps." in text


def test_goals_that_are_missed_are_said_to_be(accuracy: ModuleType) -> None:
    text = accuracy.document([FLOAT, replace(QAT, value=100.6, size_bytes=1005)])
    assert "QAT at most 1.005 times float: missed by every version measured (1)" in text
    assert "with biases, multipliers and tables 3.98 to 3.98" in text
    text = accuracy.document([FLOAT, QAT, replace(QAT, bits="8", value=100.6)])
    assert "float: reached with 8/16 bits 16 pieces; missed with 8 bits 16 pieces" in text


def test_seeds_are_averaged_and_compared_with_the_same_seeds(accuracy: ModuleType) -> None:
    base = replace(FLOAT, recipe="activity", metric="accuracy %", value=90.0)
    rows = [base, replace(base, seed=1, value=92.0), replace(base, seed=2, value=50.0)]
    integer = replace(base, stage="qat", bits="8", pieces=8, size_bytes=1000)
    rows += [replace(integer, value=90.5), replace(integer, seed=1, value=91.0)]
    text = accuracy.document(rows)
    assert "77.33 ± 23.69" in text
    assert "90.75 ± 0.35" in text
    # 90.75 against 91.00, the mean of seeds 0 and 1: within 0.3 points
    assert "QAT within 0.3 points of float: reached by every version measured (1)" in text


@pytest.mark.parametrize(
    ("metric", "value", "reached"),
    [
        ("perplexity", 100.5, True),
        ("perplexity", 100.51, False),
        ("accuracy %", 99.7, True),
        ("accuracy %", 99.69, False),
        ("CER", 100.3, True),
        ("CER, beam", 100.31, False),
    ],
)
def test_goals(accuracy: ModuleType, metric: str, value: float, reached: bool) -> None:
    assert accuracy.goal_of(metric).reached(value, 100.0) is reached
