"""Functions for arithmetic that a target's processor has no instructions for, put into its assembly text."""

from __future__ import annotations

import re

from irnn_tvm.targets import Target

_CALL = re.compile(r"(?<=\s)__\w+di3\b|(?<=\s)__u?divsi3\b|(?<=\s)__aeabi_(?:l\w+|u?idiv)\b")


def complete(assembly: str, target: Target) -> str:
    """The text with calls of a compiler's library replaced by calls of functions of its own.

    A library then needs nothing but memcpy and memset, and what it calls is the same whatever compiler links it.
    """
    if target.missing_arithmetic != "armv6m":
        return assembly
    from irnn_tvm.schedules import armv6m_arithmetic

    names = armv6m_arithmetic.NAMES
    assembly = _CALL.sub(lambda call: names.get(call[0], call[0]), assembly)
    texts = {symbol: armv6m_arithmetic.assembly(symbol) for symbol in armv6m_arithmetic.symbols()}
    wanted = {symbol for symbol in texts if re.search(rf"\b{symbol}\b", assembly)}
    if "irnn_sdiv32" in wanted:
        wanted.add("irnn_udiv32")
    return assembly + "".join(text for symbol, text in texts.items() if symbol in wanted)
