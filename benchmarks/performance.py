"""Writes docs/performance.md from benchmarks/results/performance.jsonl: rows of latency.py, instructions.py,
operators.py, models.py and footprint.py.

`--add FILE` takes rows of a run with --json into the results: a row replaces an older one of the same thing on the same
machine or target.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from performance_charts import draw, figure_path
from performance_tables import (
    OURS,
    Row,
    batch_table,
    code_size_table,
    count_table,
    footprint_table,
    latency_table,
    models_table,
    operator_count_table,
    operator_time_table,
    peers_count_table,
    streams_table,
)
from roofline_section import roofline_section

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results" / "performance.jsonl", HERE.parent / "docs" / "performance.md"
LAYER, OPERATOR, MODEL, CODE_SIZE, FOOTPRINT = "layer", "operator", "model", "code size", "footprint"


def kind(row: Row) -> str:
    """Which script's row it is: rows of layers do not say so."""
    return str(row.get("bench", LAYER))


def key(row: Row) -> tuple[Any, ...]:
    """What makes two rows figures of the same thing."""
    where = row.get("target") or (row["cpu"], row["instruction_set"])
    name = row["model"] if kind(row) == MODEL else row["workload"]
    return (
        *(kind(row), name, row.get("T"), row.get("runtime"), row.get("figure")),
        *(where, row.get("batch", 1)),
    )


def load(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def add(files: list[Path]) -> None:
    """Merges rows into RESULTS, which is replaced whole."""
    rows = {
        key(row): row for path in [*([RESULTS] if RESULTS.exists() else []), *files] for row in load(path)
    }
    write(RESULTS, "".join(json.dumps(row) + "\n" for row in rows.values()))


def write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def page(rows: list[Row]) -> str:
    """docs/performance.md."""
    layers = [row for row in rows if kind(row) == LAYER]
    all_counted = [row for row in layers if "instructions" in row]
    counted = [row for row in all_counted if row["runtime"] in OURS]
    peers = [row for row in all_counted if row["runtime"] not in OURS]
    sizes = [row for row in rows if kind(row) == CODE_SIZE]
    lines = [
        "# Performance",
        "",
        "Written by `python benchmarks/performance.py` from `benchmarks/results/performance.jsonl`. Layers have random",
        "weights, batch 1, an input as wide as the state, 8-bit products, 16-bit gates and cell, 32 pieces. `T=1`: one",
        "step of a stream (`run` where a layer is bidirectional). `T=100`: a sequence.",
        "",
        "## Instructions under emulators",
        "",
        "Exact counts of an emulator, the same on every machine. They are not times: caches and what a core does side",
        "by side are not in them. QEMU for ARM, Bochs for x86: `python benchmarks/instructions.py --target arm`, ...",
        "",
        *count_table([row for row in counted if row.get("batch", 1) == 1]),
        "",
        f"Commits: {commits(counted)}.",
        "",
        "Several streams or sequences in one call (`--batch`) share every load of a weight, four at a time on `arm`.",
        "Instructions per stream:",
        "",
        *batch_table(counted),
        "",
    ]
    for target in dict.fromkeys(row["target"] for row in peers):
        lines += counted_peers(
            target,
            *([r for r in of if r["target"] == target and r.get("batch", 1) == 1] for of in (counted, peers)),
        )
    operators = [row for row in rows if kind(row) == OPERATOR and "instructions" in row]
    if operators:
        lines += [
            "Operators without a recurrence, on 100 steps of 256 features (the convolution: 40 to 64 features, three",
            "taps; the attention has four heads). `python benchmarks/operators.py --target arm`, ...;",
            f"commits {commits(operators)}.",
            "",
            *operator_count_table(operators),
            "",
        ]
    timed = [row for row in rows if "cpu" in row]
    for cpu, instruction_set in dict.fromkeys((row["cpu"], row["instruction_set"]) for row in timed):
        here = [r for r in timed if (r["cpu"], r["instruction_set"]) == (cpu, instruction_set)]
        lines += machine(f"{cpu}, {instruction_set}", here)
    if sizes:
        lines += [
            "## Code beside weights",
            "",
            "Bytes of a shared library that are loaded, by ELF section. The goal: less than 40 KiB beside the weights.",
            f"`python benchmarks/footprint.py --only sizes`; commits {commits(sizes)}.",
            "",
            *code_size_table(sizes),
            "",
        ]
    lines += roofline_section()
    return "\n".join([*lines, (HERE / "performance_notes.md").read_text(encoding="utf-8")])


def counted_peers(target: str, ours: list[Row], peers: list[Row]) -> list[str]:
    """What other runtimes take of the emulator that a target of ours is for."""
    return [
        f"Instructions of other runtimes beside those of `{target}`, under {peers[0]['emulator']}. They are called",
        "from Python, which is in their counts, and ours through the C interface: layers of 4 units show what a call",
        "takes, and the last column is without that. Outputs are compared with PyTorch's.",
        f"Streams keep their states. `python benchmarks/peer_instructions.py --target {target}`;",
        f"{versions(peers)}; commits {commits(peers)}.",
        "",
        *peers_count_table(ours, peers),
        "",
    ]


def machine(name: str, rows: list[Row]) -> list[str]:
    """What was timed on one machine."""
    lines: list[str] = []
    layers = [row for row in rows if kind(row) == LAYER]
    single = [row for row in layers if row.get("batch", 1) == 1]
    if single:
        lines += [
            f"## Microseconds on {name}",
            "",
            "One core, one thread, all runtimes in turns in one process, medians over rounds. `irnn_tvm`: called",
            "through its C interface; all others through their Python packages, which is part of their time. Streams",
            f"keep their states. `python benchmarks/latency.py`; {versions(single)}; commits {commits(single)}.",
            "",
            *latency_table(single),
            "",
            *chart("ratios", single[0], "Times of all runtimes, divided by irnn_tvm's"),
        ]
    if len(layers) > len(single):
        lines += [
            f"## Streams that share a call, on {name}",
            "",
            "Microseconds per stream: every weight that is read serves all of them. `python benchmarks/latency.py",
            "--steps 1 --batch 1 --batch 2 --batch 4 --batch 8 --workload lstm-256 --workload lstm-512 --workload",
            f"lstm-1024`; commits {commits([row for row in layers if row.get('batch', 1) > 1])}.",
            "",
            *streams_table([row for row in layers if row["T"] == 1]),
            "",
            *chart("streams", layers[0], "Microseconds per stream by the number of streams in a call"),
        ]
    operators = [row for row in rows if kind(row) == OPERATOR]
    if operators:
        lines += [
            f"## Operators on {name}",
            "",
            "Microseconds of the operators above, through the C interface and on one core, in turns with eager PyTorch",
            f"on one thread. `python benchmarks/operators.py`; {versions(operators)}; commits {commits(operators)}.",
            "",
            *operator_time_table(operators),
            "",
        ]
    models = [row for row in rows if kind(row) == MODEL]
    if models:
        lines += [
            f"## Whole models on {name}",
            "",
            "The pretrained networks of the examples, from Python and on one core, in turns. g2p: letters to phonemes,",
            "a word at a time. textgenrnn: sentences, all three outputs. The last column counts equal answers.",
            f"`python benchmarks/models.py`; {versions(models)}; commits {commits(models)}.",
            "",
            *models_table(models),
            "",
        ]
    footprint = [row for row in rows if kind(row) == FOOTPRINT]
    if footprint:
        lines += [
            f"## Start, memory and calls on {name}",
            "",
            "Medians over fresh processes with warm file caches. Memory: the peak of a process that opens the library",
            "and makes steps, less one that does not, less the weights; both have state, arena, input and output.",
            "Overhead of a step in C: the library's own C file with kernels that do nothing.",
            f"`python benchmarks/footprint.py`; commits {commits(footprint)}.",
            "",
            *footprint_table(footprint),
            "",
        ]
    return lines


def chart(name: str, row: Row, words: str) -> list[str]:
    """A picture of the machine that a row names, where it was drawn."""
    path = figure_path(name, row["cpu"], row["instruction_set"])
    if not path.with_suffix(".svg").exists():
        return []
    return [f"![{words}](figures/{path.name}.svg)", ""]


def commits(rows: list[Row]) -> str:
    return ", ".join(sorted({str(row["commit"]) for row in rows}))


def versions(rows: list[Row]) -> str:
    """Packages that the rows were measured with; the newest row of each names its version."""
    found = {name: version for row in rows for name, version in row["versions"].items()}
    return ", ".join(f"{name} {version}" for name, version in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--add", action="append", type=Path, default=[], help="file of rows; repeatable")
    arguments = parser.parse_args()
    if arguments.add:
        add(arguments.add)
    rows = load(RESULTS)
    try:
        draw([row for row in rows if kind(row) == LAYER and "us_median" in row], OURS)
    except ImportError as error:
        print(f"no charts were drawn: {error.name} is not installed (irnn-tvm[plots])", file=sys.stderr)
    write(PAGE, page(rows))


if __name__ == "__main__":
    main()
