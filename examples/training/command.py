"""The command line that the recipes share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from irnn_tvm.examples.download import cache_dir
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import EVERY_VARIANT, PIECES, WIDTHS, Job, Variant, choose


@dataclass(frozen=True)
class Options:
    """What the user chose; None: everything."""

    size: str
    chosen_models: tuple[str, ...] | None = None
    stages: tuple[str, ...] | None = None
    bits: tuple[str, ...] | None = None
    pieces: tuple[int, ...] | None = None
    chosen_seeds: tuple[int, ...] | None = None
    work: Path | None = None
    resume: bool = True
    device: str = "cpu"

    def models(self, known: Sequence[str]) -> tuple[str, ...]:
        return choose(self.chosen_models, known, "model")

    def seeds(self, default: tuple[int, ...]) -> tuple[int, ...]:
        return default if self.chosen_seeds is None else self.chosen_seeds

    def variants(self) -> tuple[Variant, ...]:
        """The integer versions, in the order in which they are made."""
        return tuple(
            v
            for v in EVERY_VARIANT
            if (self.stages is None or v.stage in self.stages)
            and (self.bits is None or v.bits in self.bits)
            and (self.pieces is None or v.pieces in self.pieces)
        )

    def root(self) -> Path:
        """Where checkpoints and rows go."""
        return self.work if self.work is not None else cache_dir() / "recipes"

    def results(self, recipe: str) -> Path:
        """The recipe's result rows."""
        return self.root() / f"{recipe}.jsonl"

    def folder(self, job: Job) -> Path:
        """The checkpoints of a job."""
        return self.root() / job.recipe / job.size / f"{job.model}-seed{job.seed}"


def parse(
    description: str, models: Sequence[str], sizes: Sequence[str], arguments: Sequence[str] | None = None
) -> Options:
    """The recipe's options; ends the program with a usage message when they are wrong."""
    parser = argparse.ArgumentParser(description=description)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="minutes on two cores"
    )
    size.add_argument("--size", choices=sizes, help="default: standard")
    parser.set_defaults(size="standard")
    parser.add_argument("--model", action="append", choices=models, help="only this one; may be repeated")
    parser.add_argument(
        "--stage",
        action="append",
        choices=("float", "ptq", "qat"),
        help="only this one (float always comes first)",
    )
    parser.add_argument(
        "--bits", action="append", choices=WIDTHS, help="8/16: gates and cell have 16 bits; 8: none"
    )
    parser.add_argument(
        "--pieces", action="append", type=int, choices=PIECES, help="of each activation table"
    )
    parser.add_argument("--seed", action="append", type=int, help="default: the size's own")
    parser.add_argument("--work", type=Path, help="folder of checkpoints and result rows")
    parser.add_argument("--no-resume", action="store_true", help="start anew instead of from the checkpoints")
    parser.add_argument("--device", help="default: cuda when there is one, else cpu")
    parser.add_argument("--threads", type=int, help="of PyTorch")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)

    def several(values: list[str] | None) -> tuple[str, ...] | None:
        return None if values is None else tuple(values)

    return Options(
        given.size,
        several(given.model),
        several(given.stage),
        several(given.bits),
        None if given.pieces is None else tuple(given.pieces),
        None if given.seed is None else tuple(given.seed),
        given.work,
        not given.no_resume,
        given.device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )


def show(results: Results) -> None:
    """The rows as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "seed", "stage", "bits", "pieces", "metric", "value", "bytes")
    for row in results.rows.values():
        table.add_row(
            row.model,
            str(row.seed),
            row.stage,
            row.bits,
            str(row.pieces or ""),
            row.metric,
            f"{row.value:.2f}",
            f"{row.size_bytes:,}" if row.size_bytes else "",
        )
    Console().print(table)
    Console().print(f"rows: {results.path}")
