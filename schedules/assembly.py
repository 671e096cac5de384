"""Functions in assembly text, for the routines of instruction sets."""

from __future__ import annotations

from collections.abc import Iterable


def function(symbol: str, lines: Iterable[str], directives: Iterable[str], unwind: bool = False) -> str:
    """The text of a function of its own, which only code in the same text calls.

    lines: instructions, and labels that end with a colon; directives: that choose the instruction set; unwind: whether
    tables must say that nothing unwinds through it (EHABI).
    """
    body = "\n".join(line if line.endswith(":") else f"\t{line}" for line in lines)
    head = "".join(f"\t{line}\n" for line in (".text", ".p2align 4", *directives))
    begin, end = ("\t.fnstart\n", "\t.cantunwind\n\t.fnend\n") if unwind else ("", "")
    return (
        f"{head}\t.type {symbol},%function\n{symbol}:\n{begin}{body}\n{end}\t.size {symbol}, . - {symbol}\n"
    )


def halves(register: int) -> tuple[str, str]:
    """The d registers of a q register."""
    return f"d{2 * register}", f"d{2 * register + 1}"
