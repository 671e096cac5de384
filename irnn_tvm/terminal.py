"""Tables on the terminal and in pipes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def show(table: Table) -> None:
    """Prints a table on stdout."""
    from rich.console import Console

    # A pipe has no width of its own; 80 columns would cut cells that a log is read for.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
