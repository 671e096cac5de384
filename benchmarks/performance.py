"""Writes docs/performance.md from rows of latency.py and instructions.py (benchmarks/results/performance.jsonl).

`--add FILE` takes rows of a run with --json into the results: a row replaces an older one of the same workload, length,
runtime and machine or target.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from roofline_section import roofline_section
from workloads import WORKLOADS

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results" / "performance.jsonl", HERE.parent / "docs" / "performance.md"
OURS = ("irnn_tvm", "irnn_tvm.runtime")
Row = dict[str, Any]


def key(row: Row) -> tuple[Any, ...]:
    """What makes two rows figures of the same thing."""
    where = row.get("target") or (row["cpu"], row["instruction_set"])
    return row["workload"], row["T"], row["runtime"], where, row.get("batch", 1)


def load(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def add(files: list[Path]) -> None:
    """Merges rows into RESULTS, which is replaced whole."""
    rows = {
        key(row): row for path in [*([RESULTS] if RESULTS.exists() else []), *files] for row in load(path)
    }
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows.values()), encoding="utf-8")
    os.replace(temporary, RESULTS)


def cells(rows: list[Row]) -> list[tuple[str, int]]:
    found = {(row["workload"], row["T"]) for row in rows}
    return [(name, steps) for name in WORKLOADS for steps in sorted(t for w, t in found if w == name)]


def latency_table(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(row["runtime"] for row in rows))
    value = {(row["workload"], row["T"], row["runtime"]): row["us_median"] for row in rows}
    lines = [
        f"| layer | T | {' | '.join(names)} | times faster than the fastest peer |",
        "|---" * (len(names) + 3) + "|",
    ]
    for name, steps in cells(rows):
        figures = [value.get((name, steps, runtime)) for runtime in names]
        peers = [f for n, f in zip(names, figures, strict=True) if f is not None and n not in OURS]
        mine = value.get((name, steps, OURS[0]))
        ratio = f"{min(peers) / mine:.2f}" if peers and mine else ""
        shown = " | ".join("" if f is None else f"{f:,.1f}" for f in figures)
        lines.append(f"| {name} | {steps} | {shown} | {ratio} |")
    return lines


def count_table(rows: list[Row]) -> list[str]:
    targets = list(dict.fromkeys(row["target"] for row in rows))
    value = {(row["workload"], row["T"], row["target"]): row for row in rows}
    lines = [
        f"| layer | T | {' | '.join(f'{t} | per MAC' for t in targets)} |",
        "|---" * (2 + 2 * len(targets)) + "|",
    ]
    for name, steps in cells(rows):
        shown = []
        for target in targets:
            row = value.get((name, steps, target))
            shown.append("| " if row is None else f"{row['instructions']:,} | {row['per_mac']:.3f}")
        lines.append(f"| {name} | {steps} | {' | '.join(shown)} |")
    return lines


def batch_table(rows: list[Row]) -> list[str]:
    """Instructions per stream by batch, for what was counted with several."""
    several = {(row["workload"], row["T"], row["target"]) for row in rows if row.get("batch", 1) > 1}
    batches = sorted({row.get("batch", 1) for row in rows})
    lines = [
        f"| layer | T | target | {' | '.join(f'batch {b}' for b in batches)} |",
        "|---" * (3 + len(batches)) + "|",
    ]
    for name, steps, target in sorted(several):
        value = {
            row.get("batch", 1): row["instructions"] // row.get("batch", 1)
            for row in rows
            if (row["workload"], row["T"], row["target"]) == (name, steps, target)
        }
        shown = " | ".join(f"{value[b]:,}" if b in value else "" for b in batches)
        lines.append(f"| {name} | {steps} | {target} | {shown} |")
    return lines


def page(rows: list[Row]) -> str:
    """docs/performance.md."""
    timed = [row for row in rows if "us_median" in row]
    everything = [row for row in rows if "instructions" in row]
    counted = [row for row in everything if row.get("batch", 1) == 1]
    lines = [
        "# Performance",
        "",
        "Written by `python benchmarks/performance.py` from `benchmarks/results/performance.jsonl`. Layers have random",
        "weights, batch 1, an input as wide as the state, 8-bit products, 16-bit gates and cell, 32 pieces. `T=1`: one",
        "step of a stream (`run` where a layer is bidirectional). `T=100`: a sequence.",
        "",
        "## Instructions under QEMU",
        "",
        "Exact counts of an emulator, the same on every machine. They are not times: caches and what a core does side",
        "by side are not in them. `python benchmarks/instructions.py --target arm --target arm-a53 --target armv7`.",
        "",
        *count_table(counted),
        "",
        f"Commits: {', '.join(sorted({str(row['commit']) for row in everything}))}.",
        "",
        "Several streams or sequences in one call (`--batch`) share every load of a weight, four at a time on `arm`.",
        "Instructions per stream:",
        "",
        *batch_table(everything),
        "",
    ]
    for cpu, instruction_set in dict.fromkeys((row["cpu"], row["instruction_set"]) for row in timed):
        here = [r for r in timed if (r["cpu"], r["instruction_set"]) == (cpu, instruction_set)]
        versions = ", ".join(f"{k} {v}" for k, v in here[-1]["versions"].items())
        lines += [
            f"## Microseconds on {cpu}, {instruction_set}",
            "",
            "One core, one thread, all runtimes in turns in one process, medians over rounds. `irnn_tvm`: called",
            f"through its C interface. `python benchmarks/latency.py`; {versions}; commit {here[-1]['commit']}.",
            "",
            *latency_table(here),
            "",
        ]
    lines += roofline_section()
    return "\n".join([*lines, (HERE / "performance_notes.md").read_text(encoding="utf-8")])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--add", action="append", type=Path, default=[], help="file of rows; repeatable")
    arguments = parser.parse_args()
    if arguments.add:
        add(arguments.add)
    temporary = PAGE.with_suffix(".tmp")
    temporary.write_text(page(load(RESULTS)), encoding="utf-8")
    os.replace(temporary, PAGE)


if __name__ == "__main__":
    main()
