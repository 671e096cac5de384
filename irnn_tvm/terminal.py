"""Tables on the terminal and in pipes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def show(table: Table) -> None:
    """Prints a table on stdout."""
    from rich.console import Console

    for column in table.columns:
        column.overflow = "fold"  # in a narrow terminal cells become longer, and nothing is cut
    # A pipe has no width of its own.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if known else 120).print(table)
