"""Instructions, flash and RAM of layers on microcontrollers, beside published counts of CMSIS-NN's LSTM.

`python benchmarks/instructions.py --mcu` measures (rows with --json); `python benchmarks/microcontrollers.py` writes
the tables of docs/microcontrollers.md from results/microcontrollers.jsonl, into which `--add FILE` takes rows. Rows of
mcu_models.py lie in results/mcu_models.jsonl.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results" / "microcontrollers.jsonl", HERE.parent / "docs" / "microcontrollers.md"
MODELS = HERE / "results" / "mcu_models.jsonl"  # rows of mcu_models.py
BEGIN, END = "<!-- written by benchmarks/microcontrollers.py -->", "<!-- end -->"
MODELS_BEGIN, MODELS_END = (
    "<!-- models: written by benchmarks/microcontrollers.py -->",
    "<!-- end of models -->",
)
Row = dict[str, Any]

TARGETS = (
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m55",
    "cortex-m85",
    "riscv32",
)
# What is counted everywhere; the larger ones where a model of that size is plausible.
SMALL = ("lstm-128", "gru-128", "lnlstm-128", "bilstm-128", "attention-128")
LARGE = ("lstm-256", "lstm-512", "lstm-1024", "gru-256")
STEPS = 10  # of what needs whole sequences

# arm_lstm_unidirectional_s8 at -O3, instructions per step of a layer whose input is as wide as its state, counted under
# QEMU (issue 5 of this project); not measured by this script.
CMSIS_NN = {
    "dsp": {"lstm-128": 318_000, "lstm-256": 1_126_000, "lstm-512": 4_220_000, "lstm-1024": 16_300_000},
    "helium": {"lstm-128": 94_000, "lstm-256": 308_000, "lstm-512": 1_106_000, "lstm-1024": 4_180_000},
}
KIND = {
    "cortex-m4": "dsp",
    "cortex-m7": "dsp",
    "cortex-m33": "dsp",
    "cortex-m55": "helium",
    "cortex-m85": "helium",
}


def rows(targets: list[str], names: list[str] | None = None) -> Iterator[Row]:
    """Builds every layer for every target, checks its integers, and counts."""
    from mcu_networks import NETWORKS

    import irnn_tvm
    from irnn_tvm.examples.training.results import commit
    from irnn_tvm.tuning import measure
    from irnn_tvm.tuning.function_count import count_functions
    from irnn_tvm.tuning.instruction_count import count_instructions

    for name in names or (*SMALL, *LARGE):
        network = NETWORKS[name]
        model = network.integer_model()
        for target in targets:
            if name in LARGE and target not in KIND and names is None:
                continue
            with tempfile.TemporaryDirectory(prefix="irnn-bench-") as folder:
                library = irnn_tvm.build(
                    model, target, out=Path(folder) / "out", name="net", max_seq_len=STEPS
                )
                steps = 1 if library.streamable else STEPS
                inputs = measure.example_inputs(library, steps)
                kind, repeats = ("step", 20) if library.streamable else ("run", 3)
                network.check(model, library, inputs)
                count = count_instructions(library, kind, inputs, repeats) / steps
                functions = count_functions(library, kind, inputs, 5)
                report = library.report
                yield {
                    "workload": name,
                    "T": steps,
                    "target": target,
                    "runtime": "irnn_tvm",
                    "instructions": round(count),
                    "macs": network.macs,
                    "per_mac": round(count / network.macs, 4),
                    "code_bytes": report["code_bytes"],
                    "weight_bytes": report["weight_bytes"],
                    "state_bytes": report["state_bytes"],
                    "arena_bytes": report["arena_bytes"],
                    "stack_bytes": report["stack_bytes"],
                    "by_function": {key: round(value / steps) for key, value in sorted(functions.items())},
                    "emulator": library.where.removeprefix("emulated: "),
                    "commit": commit(),
                }


def load(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def add(files: list[Path]) -> None:
    """Merges rows into RESULTS, which is replaced whole."""
    found = {
        (row["workload"], row["target"], row["runtime"]): row
        for path in [*([RESULTS] if RESULTS.exists() else []), *files]
        for row in load(path)
    }
    _write(RESULTS, "".join(json.dumps(row) + "\n" for row in found.values()))


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def tables(found: list[Row]) -> str:
    """The text between the marks of the page."""
    value = {(row["workload"], row["target"]): row for row in found}
    commits = ", ".join(sorted({row["commit"] for row in found}))
    lines = [
        "Instructions of a time step, counted under QEMU; an instruction count is not a time. The input is as wide as",
        f"the state, batch 1. `python benchmarks/instructions.py --mcu`; commits {commits}.",
        "",
        *_against(value),
        "",
        *_all(value),
        "",
        "Instructions by function, where half and more are products:",
        "",
        *_functions(value),
        "",
        "Bytes. Code: all in flash but weights and tables. RAM of a stream: state and arena; the stack is a bound.",
        "",
        *_bytes(value),
    ]
    return "\n".join(lines)


def _against(value: dict[tuple[str, str], Row]) -> list[str]:
    lines = [
        "| LSTM | target | irnn_tvm | per MAC | CMSIS-NN | irnn_tvm / CMSIS-NN |",
        "|---|---|---|---|---|---|",
    ]
    for name in CMSIS_NN["dsp"]:
        for target, kind in KIND.items():
            row = value.get((name, target))
            if row:
                theirs = CMSIS_NN[kind][name]
                ratio = row["instructions"] / theirs
                lines.append(
                    f"| {name.removeprefix('lstm-')} | {target} | {row['instructions']:,} | {row['per_mac']:.3f} | "
                    f"{theirs:,} | {ratio:.2f} |"
                )
    return lines


def _all(value: dict[tuple[str, str], Row]) -> list[str]:
    targets = [t for t in TARGETS if any(target == t for _, target in value)]
    lines = [f"| per MAC | {' | '.join(targets)} |", "|---" * (1 + len(targets)) + "|"]
    for name in (*SMALL, *LARGE):
        cells = [value.get((name, target)) for target in targets]
        if any(cells):
            shown = ["" if cell is None else f"{cell['per_mac']:.3f}" for cell in cells]
            lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def _functions(value: dict[tuple[str, str], Row]) -> list[str]:
    lines = ["| layer | target | function | instructions | share |", "|---|---|---|---|---|"]
    for name, target in value:
        if target not in ("cortex-m4", "cortex-m55"):
            continue
        row = value[name, target]
        total = sum(row["by_function"].values())
        largest = sorted(row["by_function"].items(), key=lambda item: -item[1])[:3]
        for function, count in largest:
            share = count / total
            lines.append(f"| {name} | {target} | `{function}` | {count:,} | {share:.1%} |")
    return lines


def _bytes(value: dict[tuple[str, str], Row]) -> list[str]:
    lines = [
        "| layer | target | code | weights, tables | state | arena | stack |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, target), row in value.items():
        if name in SMALL:
            parts = [f"{row[f'{part}_bytes']:,}" for part in ("code", "weight", "state", "arena", "stack")]
            lines.append(f"| {name} | {target} | {' | '.join(parts)} |")
    return lines


def models_table(found: list[Row]) -> str:
    """Trained classifiers on microcontrollers."""
    lines = [
        "| model, seed 0 | target | float | integers here | scores that are the same | instructions per step "
        "| flash | RAM | stack |",
        "|---" * 9 + "|",
    ]
    for row in found:
        same = f"{row['identical_to_host']:,} of {row['sequences']:,} sequences"
        lines.append(
            f"| {row['recipe']}: {row['model']} ({row['size']}, commit {row['commit']}) | {row['target']} | "
            f"{row['float_accuracy']:.2f} % | {row['host_accuracy']:.2f} % | {same} | "
            f"{row['instructions_per_step']:,} | "
            f"{row['flash_bytes']:,} B | {row['ram_bytes']:,} B | {row['stack_bytes']:,} B |"
        )
    return "\n".join(lines)


def page(text: str, found: list[Row], models: list[Row]) -> str:
    """The page with its tables written anew."""
    for begin, end, content in (
        (BEGIN, END, tables(found)),
        (MODELS_BEGIN, MODELS_END, models_table(models)),
    ):
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--add", action="append", type=Path, default=[], help="rows to take into the results")
    arguments = parser.parse_args()
    if arguments.add:
        add(arguments.add)
    _write(PAGE, page(PAGE.read_text(encoding="utf-8"), load(RESULTS), load(MODELS)))


if __name__ == "__main__":
    main()
