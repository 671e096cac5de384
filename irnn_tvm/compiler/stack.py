"""How deep a library's functions use the stack: a bound that holds on every path, read from LLVM's assembly text.

Each function is followed along its branches, and what its instructions do to the stack pointer is added up: pushes,
constants (in registers, too), alignment. Calls add what is called. What is not understood has no bound, never a
smaller one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from irnn_tvm.compiler.stack_effects import INDIRECT, RETURN_BYTES, Machine, State, Unknown, machine_of

# What memcpy, memset and the like may take: they come from a compiler's or a C library, whose text is not here. Those
# of zig's compiler-rt, newlib, musl and glibc take less.
EXTERNAL_BYTES = 64

_LABEL = re.compile(r"([A-Za-z_.$][\w.$]*):")
_TYPE = re.compile(r"\s*\.type\s+(?!\.L)([\w.$]+)\s*,\s*[@%]function")
_DATA = re.compile(r"\s*\.(?:long|word|4byte|quad|xword|8byte|short|hword|2byte|byte)\s+(.*)")
_WORD = re.compile(r"[A-Za-z_.$][\w.$]*")
_MOST_VISITS = 64  # of one label: a loop that takes more stack with every round has no bound


@dataclass
class _Function:
    """Instructions, labels (index of the instruction behind each), and what the walk finds."""

    code: list[tuple[str, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    frame: int | None = 0
    calls: dict[str, int] = field(default_factory=dict)


def stack_bounds(
    assembly: str, target: str, indirect: Iterable[str] = (), external: Mapping[str, int] | None = None
) -> dict[str, int | None]:
    """Bytes of stack that each function of the text takes at most, with all that it calls; None: there is no bound.

    target: the triple of the text, whose first word names the architecture. indirect: functions that calls through
    pointers may reach. external: bytes of functions that are not in the text, where these are not EXTERNAL_BYTES.
    """
    machine = machine_of(target)
    functions, words, tables = _parse(assembly, machine)
    for function in functions.values():
        try:
            _walk(function, machine, words, tables)
        except Unknown:
            function.frame = None
    bounds: dict[str, int | None] = {}
    reached = list(indirect)
    for name in functions:
        _bound(name, functions, reached, external or {}, bounds, ())
    pushed = RETURN_BYTES.get(machine.name, 0)
    return {name: None if bound is None else bound + pushed for name, bound in bounds.items()}


def call_bytes(
    bounds: Mapping[str, int | None], functions: Iterable[str], target: str, arguments: int
) -> int | None:
    """Bytes that a call of any of these functions takes at most, with arguments that do not fit into registers.

    bounds: from `stack_bounds`; target: as there; arguments: most that one of them has.
    """
    machine = machine_of(target)
    found = [bounds[name] for name in functions]
    known = [bound for bound in found if bound is not None]
    over = max(arguments - machine.argument_registers, 0) * machine.word_bytes
    return max(known) + (over + 15) // 16 * 16 if known and len(known) == len(found) else None


def _parse(assembly: str, machine: Machine) -> tuple[dict[str, _Function], dict[str, int], set[str]]:
    """Functions by name; constants in memory by label; labels that data names, which are those of jump tables."""
    names = {match[1] for match in map(_TYPE.match, assembly.splitlines()) if match}
    functions: dict[str, _Function] = {}
    words: dict[str, int] = {}
    tables: set[str] = set()
    current, label = _Function(), ""
    for raw in assembly.splitlines():
        line = machine.without_comment(raw)
        found = _LABEL.match(line)
        if found:
            label = found[1]
            if label in names:
                current = functions.setdefault(label, _Function())
            current.labels[label] = len(current.code)
            line = line[found.end() :]
        data = _DATA.match(line)
        if data:
            tables.update(_WORD.findall(data[1]))
            if label and re.fullmatch(r"-?(?:0x)?[0-9a-fA-F]+", data[1].strip()):
                words.setdefault(label, int(data[1], 0))
        line = line.strip()
        if not line or line.startswith(".") or re.match(r"\d+:", line):
            continue
        operation, _, operands = line.partition("\t")
        if not operands:
            operation, _, operands = line.partition(" ")
        current.code.append((operation.strip(), operands.strip()))
    return functions, words, tables


def _walk(function: _Function, machine: Machine, words: Mapping[str, int], tables: set[str]) -> None:
    """Follows all branches; fills `frame` and `calls`."""
    entries: dict[int, State] = {}
    visits: dict[int, int] = {}
    deepest = 0
    work = [(0, machine.start(words))]
    places = set(function.labels.values())
    while True:
        while work:
            at, state = work.pop()
            if at in entries:
                merged = entries[at].merged(state)
                if merged == entries[at]:
                    continue
                state = merged
            visits[at] = visits.get(at, 0) + 1
            if visits[at] > _MOST_VISITS:
                raise Unknown("the stack grows with every round of a loop")
            entries[at] = state
            state = state.copy()
            while at < len(function.code):
                operation, operands = function.code[at]
                effect = state.execute(operation, operands)
                deepest = max(deepest, effect.deepest)
                targets = [word for word in _WORD.findall(operands) if word in function.labels]
                if effect.comes_back:
                    targets = []
                if effect.through_table:
                    targets += [label for label in function.labels if label in tables]
                if effect.call is not None and not targets:
                    depth = function.calls.get(effect.call, 0)
                    function.calls[effect.call] = max(depth, effect.below)
                work += [(function.labels[label], state.copy()) for label in targets]
                at += 1
                if effect.ends:
                    break
                if at in places:
                    work.append((at, state.copy()))
                    break
        missed = sorted(places - set(entries) - {len(function.code)})
        if not missed:
            break
        # Reached in a way that is not seen: as deep as the function ever is.
        work = [(missed[0], machine.start(words, deepest))]
    function.frame = deepest


def _bound(
    name: str,
    functions: Mapping[str, _Function],
    indirect: list[str],
    external: Mapping[str, int],
    bounds: dict[str, int | None],
    above: tuple[str, ...],
) -> int | None:
    if name in bounds:
        return bounds[name]
    function = functions.get(name)
    if function is None:
        return external.get(name, EXTERNAL_BYTES)
    if name in above or function.frame is None:  # recursion, or what is not understood
        bounds[name] = None
        return None
    most: int | None = function.frame
    for callee, depth in _callees(function, indirect):
        below = _bound(callee, functions, indirect, external, bounds, (*above, name))
        most = None if below is None or most is None else max(most, depth + below)
    if name not in bounds:
        bounds[name] = most
    return bounds[name]


def _callees(function: _Function, indirect: list[str]) -> Iterator[tuple[str, int]]:
    for callee, depth in function.calls.items():
        if callee != INDIRECT:
            yield callee, depth
        else:
            # A pointer that nobody said anything about is a function that is not in the text.
            yield from ((name, depth) for name in indirect or [INDIRECT])
