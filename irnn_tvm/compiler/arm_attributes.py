"""Tells ARM linkers that an object passes no floating-point values, so that it links into any firmware.

Compilers note the float ABI in every object, used or not, and GNU ld refuses to mix soft-float objects with
hard-float ones (most Cortex-M4F and M7 projects are hard-float). Integer code is the same under both: its
objects say "no floating point" (Tag_ABI_FP_number_model = 0), and then the linker does not compare.
"""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile

from irnn_tvm.errors import BuildError

_FILE_SCOPE = 1
_FP_NUMBER_MODEL = 23
_COMPATIBILITY = 32
_TEXT_TAGS = (4, 5, 65, 67)


def mark_float_abi_independent(path: Path) -> None:
    """Rewrites the attribute of a relocatable ARM object in place; leaves an object without one alone."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".ARM.attributes")
        if section is None:
            return
        start, data = section["sh_offset"], bytearray(section.data())
    places = _values_of(data, _FP_NUMBER_MODEL, path.name)
    for place in places:
        data[place] = 0
    if places:
        with path.open("r+b") as file:
            file.seek(start)
            file.write(data)


def _values_of(data: bytearray, wanted: int, name: str) -> list[int]:
    """Offsets of the (one byte long) values of an attribute in the section of the ABI's vendor "aeabi"."""
    found = []
    try:
        if data[0] != ord("A"):
            raise ValueError("unknown format")
        position = 1
        while position < len(data):
            end = position + int.from_bytes(data[position : position + 4], "little")
            text_end = data.index(0, position + 4)
            if end <= position:
                raise ValueError("empty subsection")
            if data[position + 4 : text_end] == b"aeabi":
                found += _in_subsections(data, text_end + 1, end, wanted)
            position = end
    except (ValueError, IndexError) as error:
        raise BuildError(f"{name}: the section .ARM.attributes cannot be read: {error}.") from error
    return found


def _in_subsections(data: bytearray, position: int, end: int, wanted: int) -> list[int]:
    found = []
    while position < end:
        scope, size = data[position], int.from_bytes(data[position + 1 : position + 5], "little")
        if size < 5:
            raise ValueError("empty subsection")
        at = position + 5
        while scope == _FILE_SCOPE and at < position + size:
            tag, at = _uleb(data, at)
            if tag == wanted:
                found.append(at)
            if tag == _COMPATIBILITY:
                at = data.index(0, _uleb(data, at)[1]) + 1
            elif tag in _TEXT_TAGS or (tag > _COMPATIBILITY and tag % 2 == 1):
                at = data.index(0, at) + 1
            else:
                at = _uleb(data, at)[1]
        position += size
    return found


def _uleb(data: bytearray, at: int) -> tuple[int, int]:
    """(value, offset after it) of a number in the LEB128 code."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
