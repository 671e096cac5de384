"""The section of docs/performance.md about rooflines and elementwise work, from benchmarks/results/roofline.jsonl."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

RESULTS = Path(__file__).parent / "results" / "roofline.jsonl"
Row = dict[str, Any]


def load(path: Path) -> list[Row]:
    """Rows of a file of JSON lines; none when there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def add(rows: list[Row]) -> None:
    """Merges rows into RESULTS, which is replaced whole: a row replaces an older one of the same thing."""
    RESULTS.parent.mkdir(exist_ok=True)
    merged = {_key(row): row for row in [*load(RESULTS), *rows]}
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in merged.values()), encoding="utf-8")
    os.replace(temporary, RESULTS)


def _key(row: Row) -> tuple[Any, ...]:
    return row["workload"], row["T"], row["target"], row["cpu"], row["instruction_set"]


def roofline_section() -> list[str]:
    """Lines of Markdown; none before anything was measured."""
    rows = load(RESULTS)
    if not rows:
        return []
    commits = ", ".join(sorted({str(row["commit"]) for row in rows}))
    lines = [
        "## Roofline, and what is not products",
        "",
        "A step cannot be faster than its weights arrive, nor than its products are made. Both ceilings are measured",
        "on the core that the step is timed on: vector loads over the library's own weights, and the kernels'",
        "instructions without loads. Elementwise: rescales, activations, cell update, whatever is no int8 product.",
        "[profiling.md](profiling.md) says how. `python benchmarks/roofline.py --target host --target arm --add`;",
        f"commits: {commits}.",
        "",
    ]
    timed = [row for row in rows if "us" in row]
    for cpu, name in dict.fromkeys((row["cpu"], row["instruction_set"]) for row in timed):
        here = [row for row in timed if (row["cpu"], row["instruction_set"]) == (cpu, name)]
        lines += [f"{cpu}, {name}, microseconds and bytes per time step:", "", *time_table(here), ""]
    counted = [row for row in rows if "us" not in row]
    if counted:
        lines += ["Instructions (emulated) per time step:", "", *count_table(counted), ""]
    return lines


def time_table(rows: list[Row]) -> list[str]:
    """Markdown of rows that were timed."""
    columns = ["layer", "T", "weights B", "µs", "GB/s", "of", "GMAC/s", "of", "roofline", "elementwise"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in _ordered(rows):
        cells = [
            row["workload"],
            str(row["T"]),
            f"{row['weight_bytes']:,.0f}",
            f"{row['us']:,.2f}",
            _figure(row["gbytes_per_s"]),
            _figure(row["gbytes_per_s_ceiling"]),
            _figure(row["gmacs_per_s"]),
            _figure(row["gmacs_per_s_ceiling"]),
            _percent(row["roofline_share"]),
            _percent(row["elementwise_share"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def count_table(rows: list[Row]) -> list[str]:
    """Markdown of rows that were counted: a column of elementwise shares per target."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    value = {(row["workload"], row["T"], row["target"]): row for row in rows}
    heads = [f"{target} | elementwise" for target in targets]
    lines = [f"| layer | T | {' | '.join(heads)} |", "|---" * (2 + 2 * len(targets)) + "|"]
    for name, steps in dict.fromkeys((row["workload"], row["T"]) for row in _ordered(rows)):
        cells = []
        for target in targets:
            row = value.get((name, steps, target))
            share = "" if row is None else _percent(row["elementwise_share"])
            cells.append("| " if row is None else f"{row['instructions']:,.0f} | {share}")
        lines.append(f"| {name} | {steps} | {' | '.join(cells)} |")
    return lines


def _ordered(rows: list[Row]) -> list[Row]:
    names = list(WORKLOADS)
    return sorted(rows, key=lambda row: (names.index(row["workload"]), row["T"]))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"
