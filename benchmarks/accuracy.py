"""Accuracy of integer networks on real data: runs the recipes where rows are missing and writes docs/accuracy.md.

    python benchmarks/accuracy.py [--quick] [--recipe NAME ...] [--collect] [--work DIR]

A row is one figure of one recipe (irnn_tvm.examples.training.results): float, after post-training quantization,
after quantization-aware training; integer figures are measured with the built library. Rows lie beside the
checkpoints; those of the standard size are copied to benchmarks/results/accuracy.jsonl, from which the tables are
made. --collect runs nothing and takes what rows there are. --quick runs the small sizes and prints the tables
instead of writing them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from irnn_tvm.examples.language_model.model import VARIANTS as language_models
from irnn_tvm.examples.training.classification import VARIANTS as classifiers
from irnn_tvm.examples.training.command import Options
from irnn_tvm.examples.training.recipes import RECIPES, run
from irnn_tvm.examples.training.results import Results, Row, read_rows, write_rows
from irnn_tvm.examples.training.stages import EVERY_VARIANT

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "results" / "accuracy.jsonl"
DOCUMENT = ROOT / "docs" / "accuracy.md"
TITLES = {
    "language_model": "Language model (Brown corpus)",
    "speech": "Speech recognition (Fish Fillets voices)",
    "japanese_vowels": "Speaker identification (JapaneseVowels)",
    "activity": "Activity recognition (HAPT)",
}
ROUNDING = 1e-9  # of the arithmetic on figures with four decimals
# What a reader must know to judge the figures of a recipe.
REMARKS = {
    "language_model": "A step of QAT is a batch of 1,120 words. QAT goes on training, and on the whole "
    "vocabulary where the float network saw samples of it: that alone can lower the perplexity a little.",
    "japanese_vowels": "One of the 370 test utterances is 0.27 points.",
    "speech": "With 8 bits everywhere, the ranges of cell states leave out the largest values (0.5 % with CTC, 3 % of "
    "the attention model's encoder and 5 % of its decoder, chosen on the validation part): a few cells count through "
    "a recording and would take the resolution from all others. A decoder that goes on from its own characters turns "
    "one near tie into another sentence: `python benchmarks/speech_noise.py` prints the standard error of the "
    "attention model's differences. With CTC, which knows how much of the recording a text explains, and in the "
    "next-character error, with the right characters before, there is less of that.",
    "activity": "One of the 2,996 test windows is 0.03 points.",
}
NETWORKS: dict[str, tuple[str, ...]] = {
    "language_model": language_models,
    "japanese_vowels": classifiers,
    "activity": classifiers,
    "speech": ("ctc-both", "attention-both"),
}
SMALLER = 4.0  # goal, and what every matrix has: 8 bits for 32 (tests/recipes/test_matrices_are_int8.py)


@dataclass(frozen=True)
class Goal:
    """What quantization-aware training may lose against float, in the units of the metric."""

    metric: str
    factor: float = 1.0  # of the float figure
    points: float = 0.0  # added to it
    more_is_better: bool = False

    def reached(self, value: float, base: float) -> bool:
        if self.more_is_better:
            return value >= base - self.points - ROUNDING
        return value <= base * self.factor + self.points + ROUNDING

    def text(self) -> str:
        if self.points:
            return f"within {self.points:g} points of float"
        return f"at most {self.factor:g} times float"


GOALS = {
    "perplexity": Goal("perplexity", factor=1.005),
    "accuracy %": Goal("accuracy %", points=0.3, more_is_better=True),
    "CER": Goal("CER", points=0.3),
}


def goal_of(metric: str) -> Goal | None:
    """The goal of a metric; "CER, beam" is a kind of "CER"."""
    return GOALS.get(metric.partition(",")[0])


def document(rows: Iterable[Row]) -> str:
    """The text of docs/accuracy.md."""
    kept = list(rows)
    parts = [HEADER]
    for recipe, title in TITLES.items():
        own = [row for row in kept if row.recipe == recipe]
        if own:
            parts.append(_section(title, own))
            parts.append(_missing(recipe, own))
    untouched = [title for recipe, title in TITLES.items() if not any(row.recipe == recipe for row in kept)]
    if untouched:
        parts.append(f"Not trained yet: {', '.join(untouched)}.")
    return "\n".join(parts).rstrip() + "\n"


HEADER = """# Accuracy

Written by `python benchmarks/accuracy.py`; every figure is a row of `benchmarks/results/accuracy.jsonl`, which also
has its commit, data, seconds of training. Figures are of the test part. `float`: the trained network. `PTQ`: after
post-training quantization. `QAT`: after quantization-aware training that starts from the float network. Integer
figures are measured with the library that `irnn_tvm.build` makes for this machine, whose integers are those of
every target. `8/16`: 8-bit products, gates and cell state with 16 bits; `8`: everything with 8 bits. Pieces: of
each piecewise-linear activation. Where there are several seeds, a figure is the mean and ± the standard deviation
over them. Bytes are weights, biases, multipliers and tables of the library for the machine and at the commit of the
row. Matrices have 8 bits for 32 and are 4 times smaller. The
rest are not: biases keep 32 bits, a row of a matrix has a multiplier or two of 32 bits that float does not need, and an
activation's piece takes 6 bytes, which shows in small networks. So does the packing of a target: its kernels take
rows and depths in whole tiles, and where the instruction for products wants one operand without a sign (VNNI) a matrix
has a correction for every row. The GRU of 32 below, 18,852 bytes of floats, has these today:

| target | bytes | smaller |
|---|---|---|
| `c`, `riscv32`, `cortex-m0plus`, `cortex-m3` | 6,440 | 2.93x |
| `arm`, `cortex-m4`, `cortex-m7`, `cortex-m33` | 6,816 | 2.77x |
| `arm-i8mm` | 7,200 | 2.62x |
| `cortex-m55`, `cortex-m85` | 7,360 | 2.56x |
| `x86-avx2` | 7,744 | 2.43x |
| `x86-avx512-vnni` | 8,192 | 2.30x |
| `arm-a53` | 9,648 | 1.95x |
| `armv7` | 10,032 | 1.88x |
"""


def _section(title: str, rows: Sequence[Row]) -> str:
    lines = [f"## {title}", ""]
    for metric in dict.fromkeys(row.metric for row in rows):
        own = [row for row in rows if row.metric == metric]
        baselines = [row for row in own if row.stage == "baseline"]
        if baselines:
            figures = ", ".join(f"{row.model} {row.value:.2f}" for row in baselines)
            lines += [f"For comparison, {metric}: {figures}.", ""]
        lines += _table(metric, own)
        lines += ["", *_goals(metric, own), ""]
    data = "; ".join(dict.fromkeys(row.data for row in rows))
    commits = ", ".join(dict.fromkeys(row.commit for row in rows if row.stage != "baseline"))
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows if row.stage != "baseline"}))
    sizes = ", ".join(dict.fromkeys(row.size for row in rows))
    lines += [f"Size of the recipe: {sizes}. Seeds: {seeds}. Commits: {commits}. Data: {data}.", ""]
    remark = REMARKS.get(rows[0].recipe)
    if remark:
        lines += [remark, ""]
    notes = dict.fromkeys(f"{row.model}, {row.stage}: {row.note}" for row in rows if row.note)
    if notes:
        lines += ["Notes: " + "; ".join(notes) + ".", ""]
    return "\n".join(lines)


def _missing(recipe: str, rows: Sequence[Row]) -> str:
    """Which networks of the recipe, and which versions of those that were trained, have no figures yet."""
    lines = []
    trained = {row.model for row in rows if row.stage == "float"}
    absent = [model for model in NETWORKS[recipe] if model not in trained]
    if absent:
        lines.append(f"- not trained yet: {', '.join(absent)}")
    for model in sorted(trained):
        have = {(row.stage, row.bits, row.pieces) for row in rows if row.model == model}
        versions = [v for v in EVERY_VARIANT if (v.stage, v.bits, v.pieces) not in have]
        if versions:
            names = ", ".join(f"{v.stage.upper()} {v.bits} bits {v.pieces} pieces" for v in versions)
            lines.append(f"- not measured yet: {model} {names}")
    return "\n".join([*lines, ""]) if lines else ""


def _table(metric: str, rows: Sequence[Row]) -> list[str]:
    lines = [
        f"| network | bits | pieces | float, {metric} | PTQ | QAT | float bytes | integer bytes | smaller |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model in dict.fromkeys(row.model for row in rows if row.stage == "float"):
        own = [row for row in rows if row.model == model]
        floats = [row for row in own if row.stage == "float"]
        versions = {(row.bits, row.pieces) for row in own if row.stage in ("ptq", "qat")}
        for bits, pieces in sorted(versions, key=lambda v: (v[0] != "8/16", v[0], -v[1])):
            ptq, qat = (
                [r for r in own if (r.stage, r.bits, r.pieces) == (stage, bits, pieces)]
                for stage in ("ptq", "qat")
            )
            before, after = floats[0].size_bytes, (qat or ptq)[0].size_bytes
            lines.append(
                f"| {model} | {bits} | {pieces} | {_figure(floats)} | {_figure(ptq)} | {_figure(qat)} "
                f"| {before:,} | {after:,} | {before / after:.2f}x |"
            )
        if not versions:
            lines.append(f"| {model} | | | {_figure(floats)} | | | {floats[0].size_bytes:,} | | |")
    return lines


def _figure(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    values = [row.value for row in rows]
    mean = statistics.fmean(values)
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} ± {statistics.stdev(values):.2f}"


def _goals(metric: str, rows: Sequence[Row]) -> list[str]:
    """One line per network: which versions reach the goals."""
    goal = goal_of(metric)
    lines = []
    for model in dict.fromkeys(row.model for row in rows if row.stage == "float"):
        if goal is None:
            continue
        base = [row for row in rows if row.model == model and row.stage == "float"]
        for stage in ("ptq", "qat"):
            reached, missed = [], []
            integer = [row for row in rows if row.model == model and row.stage == stage]
            for bits, pieces in dict.fromkeys((row.bits, row.pieces) for row in integer):
                own = [row for row in integer if (row.bits, row.pieces) == (bits, pieces)]
                # The same seeds on both sides: a seed without its integer figure yet does not count.
                seeds = {row.seed for row in own}
                reference = statistics.fmean(row.value for row in base if row.seed in seeds)
                value = statistics.fmean(row.value for row in own)
                (reached if goal.reached(value, reference) else missed).append(f"{bits} bits {pieces} pieces")
            if integer:
                lines.append(f"- {model}, {stage.upper()} {goal.text()}: {_verdict(reached, missed)}")
        sizes = [row.size_bytes for row in rows if row.model == model and row.stage in ("ptq", "qat")]
        if sizes:
            ratios = [base[0].size_bytes / size for size in sizes]
            lines.append(
                f"- {model}, weights {SMALLER:g} times smaller: reached for the matrices; with biases, multipliers and "
                f"tables {min(ratios):.2f} to {max(ratios):.2f}"
            )
    return lines


def _verdict(reached: Sequence[str], missed: Sequence[str]) -> str:
    if not missed:
        return f"reached by every version measured ({len(reached)})"
    if not reached:
        return f"missed by every version measured ({len(missed)})"
    return f"reached with {', '.join(reached)}; missed with {', '.join(missed)}"


def collect(recipes: Iterable[str], options: Options) -> list[Row]:
    """The rows of the chosen size that lie beside the checkpoints."""
    rows = []
    for recipe in recipes:
        rows += Results(options.results(recipe)).find(size=options.size)
    return rows


def merge(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Old rows with new ones in place of those of the same key, in a stable order."""
    merged = {row.key: row for row in old} | {row.key: row for row in new}
    order = list(TITLES)
    stages = ("baseline", "float", "ptq", "qat")
    return sorted(
        merged.values(),
        key=lambda r: (
            order.index(r.recipe),
            r.metric,
            r.model,
            r.seed,
            stages.index(r.stage),
            r.bits,
            -r.pieces,
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Accuracy of integer networks on real data.")
    parser.add_argument("--quick", action="store_true", help="the small sizes; prints instead of writing")
    parser.add_argument("--recipe", action="append", choices=RECIPES)
    parser.add_argument("--collect", action="store_true", help="run nothing, take the rows that there are")
    parser.add_argument("--work", type=Path, help="folder of checkpoints and result rows")
    given = parser.parse_args(arguments)
    options = Options(size="quick" if given.quick else "standard", work=given.work)
    recipes = given.recipe or list(RECIPES)
    if not given.collect:
        for recipe in recipes:
            run(recipe, options)
    rows = collect(recipes, options)
    if given.quick:
        print(document(merge([], rows)))
        return
    kept = merge(read_rows(KEPT), rows)
    write_rows(KEPT, kept)
    DOCUMENT.write_text(document(kept), encoding="utf-8")
    print(f"{len(rows)} rows collected, {len(kept)} kept in {KEPT.name}; {DOCUMENT.name} written")


if __name__ == "__main__":
    main()
