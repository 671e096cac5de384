"""What single instructions do to the stack pointer, for the assembly text that LLVM writes: x86-64, AArch64, ARM and
RISC-V. Used by stack.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Architecture = Literal["x86", "aarch64", "arm", "riscv"]
INDIRECT = "*"  # a call or jump through a pointer
# A register's value: a constant; the stack pointer as it was at some depth (at most); or that without its lowest bits,
# shifted to the right, with the depth that it is when they are zeros.
Value = tuple[Literal["constant", "stack", "shifted"], int]

_COMMENT = {"x86": "#", "aarch64": "//", "arm": "@", "riscv": "#"}
RETURN_BYTES = {"x86": 8}  # of the address that a call pushes
_WIDTH = {"d": 8, "q": 16}
# Instructions behind which code does not go on. Others that do not go on either only make a bound larger.
_ENDS = {
    "x86": frozenset({"retq", "ret", "jmp", "jmpq", "ud2"}),
    "aarch64": frozenset({"ret", "b", "br", "brk"}),
    "arm": frozenset({"b", "b.w", "bx", "tbb", "tbh", "udf", "trap"}),
    "riscv": frozenset({"ret", "j", "jr", "tail", "unimp"}),
}
_CONDITION = "(?:eq|ne|hs|cs|lo|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
_CALLS = {
    "x86": re.compile(r"callq?\Z"),
    "aarch64": re.compile(r"blr?\Z"),
    "arm": re.compile(rf"blx?{_CONDITION}\Z"),
    "riscv": re.compile(r"(?:call|jal|jalr)\Z"),
}
_JUMPS = {
    "x86": re.compile(r"j\w+\Z"),
    "aarch64": re.compile(r"b(?:r|\.\w+)?\Z"),
    "arm": re.compile(rf"bx?{_CONDITION}(?:\.w)?\Z"),
    "riscv": re.compile(r"(?:j|jr|tail)\Z"),
}
_POINTER_JUMPS = frozenset({"br", "jr"})
_RETURNS = re.compile(r"(?:pop|ldm|ldmia|ldr|mov)(?:\.w)?\Z")
# Stores, comparisons and branches change no register.
_UNCHANGING = (
    "st",
    "vst",
    "cmp",
    "cmn",
    "tst",
    "teq",
    "cb",
    "tb",
    "b.",
    "beq",
    "bne",
    "bge",
    "blt",
    "bgt",
    "ble",
    "bhs",
)
# Constants in these do not outlive a call; copies of the stack pointer are kept in others.
_CLOBBERED: dict[str, tuple[str, ...]] = {
    "x86": (),
    "aarch64": tuple(f"x{n}" for n in range(19)),
    "arm": ("r0", "r1", "r2", "r3", "r12"),
    "riscv": tuple([f"a{n}" for n in range(8)] + [f"t{n}" for n in range(7)]),
}


class Unknown(Exception):
    """An instruction gives the stack pointer a value that is not known."""


@dataclass(frozen=True)
class Effect:
    """depth: of the stack behind the instruction; deepest: while it runs. call: the function or label that is called or
    jumped to (INDIRECT: through a pointer), below: the depth that it begins at; ends: code does not go on behind it;
    through_table: it may jump to a label that data names; comes_back: the function that is called returns to it."""

    depth: int
    deepest: int
    call: str | None = None
    below: int = 0
    ends: bool = False
    through_table: bool = False
    comes_back: bool = False


@dataclass(frozen=True)
class Machine:
    """An architecture."""

    name: Architecture

    @property
    def pointer(self) -> str:
        """The stack pointer's name."""
        return "%rsp" if self.name == "x86" else "sp"

    @property
    def argument_registers(self) -> int:
        """Arguments that a function takes in registers."""
        return {"x86": 6, "aarch64": 8, "arm": 4, "riscv": 8}[self.name]

    @property
    def word_bytes(self) -> int:
        """Bytes of the others, each."""
        return 8 if self.name in ("x86", "aarch64") else 4

    def without_comment(self, line: str) -> str:
        return line.partition(_COMMENT[self.name])[0]

    def start(self, words: Mapping[str, int], depth: int = 0) -> State:
        """A function's state at its beginning. words: constants in memory by label."""
        return State(self, words, depth)


def machine_of(target: str) -> Machine:
    """That of a triple ("thumb-freestanding-eabi")."""
    first = target.partition("-")[0]
    if first.startswith(("arm", "thumb")):
        return Machine("arm")
    if first.startswith("riscv"):
        return Machine("riscv")
    return Machine("aarch64" if first.startswith(("aarch64", "arm64")) else "x86")


@dataclass
class State:
    """Depth of the stack, and what is known of registers."""

    machine: Machine
    words: Mapping[str, int]
    depth: int = 0
    registers: dict[str, Value] = field(default_factory=dict)

    def copy(self) -> State:
        return State(self.machine, self.words, self.depth, dict(self.registers))

    def merged(self, other: State) -> State:
        """What holds for both: the larger depth."""
        registers = {}
        for name, value in self.registers.items():
            its = other.registers.get(name)
            if its == value:
                registers[name] = value
            elif its is not None and its[0] == value[0] != "constant":
                registers[name] = (value[0], max(its[1], value[1]))
        return State(self.machine, self.words, max(self.depth, other.depth), registers)

    def execute(self, operation: str, operands: str) -> Effect:
        """Changes the state; Unknown where the stack pointer is not followed any more."""
        name, before = self.machine.name, self.depth
        if _CALLS[name].match(operation):
            depth = before + RETURN_BYTES.get(name, 0)
            for register in _CLOBBERED[name]:
                self.registers.pop(register, None)
            return Effect(before, depth, _callee(operands), depth, comes_back=True)
        if _JUMPS[name].match(operation):
            return self._jump(operation, operands)
        parts = _split(operands)
        # Leaf functions use what lies below the stack pointer on x86-64, in part through copies of it.
        deepest = self._below(operands) if name == "x86" else before
        if name == "x86":
            self._x86(operation, parts)
        else:
            self._risc(operation, parts)
        deepest = max(before, deepest, self.depth)
        returns = (
            name == "arm"
            and _RETURNS.match(operation)
            and "pc" in re.findall(r"\w+", operands.partition("[")[0])
        )
        ends = operation in _ENDS[name] or bool(returns)
        return Effect(self.depth, deepest, ends=ends, through_table=operation in ("tbb", "tbh"))

    def _jump(self, operation: str, operands: str) -> Effect:
        """Within the function, to another one in its place, or back to the caller."""
        ends = operation in _ENDS[self.machine.name]
        if operands == "lr":
            return Effect(self.depth, self.depth, ends=ends)
        pointer = operands.startswith("*") or operation in _POINTER_JUMPS or operation.startswith("bx")
        call = INDIRECT if pointer else _callee(operands)
        return Effect(self.depth, self.depth, call, self.depth, ends, pointer)

    # What the stack pointer and copies of it become.

    def _set(self, register: str, value: Value | None) -> None:
        if register == self.machine.pointer:
            if value is None or value[0] != "stack":
                raise Unknown(register)
            self.depth = value[1]
        elif value is None:
            self.registers.pop(register, None)
        else:
            self.registers[register] = value

    def _forget(self, text: str) -> None:
        """An instruction that is not known may change every register that it names."""
        for register in re.findall(r"%?\b[a-z]\w*", text):
            self._set(_wide(register), None)

    def _get(self, operand: str) -> Value | None:
        if operand == self.machine.pointer:
            return ("stack", self.depth)
        number = _number(operand)
        if number is not None:
            return ("constant", number)
        if operand in self.words:
            return ("constant", _signed(self.words[operand]))
        return self.registers.get(_wide(operand))

    def _below(self, operands: str) -> int:
        """The depth of the lowest address that an operand in memory names."""
        deepest = 0
        for offset, register in re.findall(r"(-\d+)\((%r\w+)", operands):
            value = self._get(register)
            if value is not None and value[0] == "stack":
                deepest = max(deepest, value[1] - int(offset))
        return deepest

    def _x86(self, operation: str, parts: list[str]) -> None:
        """AT&T's order: the last operand is changed."""
        if operation.startswith("push"):
            self.depth += 8
        elif operation.startswith("pop"):
            self.depth = max(self.depth - 8, 0)
            self._forget(" ".join(parts))
        elif operation == "leave":
            self._set("%rsp", self.registers.get("%rbp"))
            self.depth = max(self.depth - 8, 0)
        elif operation == "enter":
            raise Unknown(operation)
        elif parts and re.fullmatch(r"%r\w+", parts[-1]) and not operation.startswith(("cmp", "test", "bt")):
            self._set(parts[-1], self._x86_result(operation, parts))

    def _x86_result(self, operation: str, parts: list[str]) -> Value | None:
        if len(parts) != 2:
            return None
        source, to = self._get(parts[0]), self._get(parts[1])
        if operation == "movq" and source is not None and source[0] == "stack":
            return source
        if operation in ("subq", "addq"):
            return _minus(to, source, 1 if operation == "subq" else -1)
        if operation == "andq" and source is not None and source[0] == "constant":
            return _masked(to, source[1])
        memory = re.fullmatch(r"(-?\d*)\((%r\w+)\)", parts[0])
        if operation == "leaq" and memory:
            return _minus(self._get(memory[2]), ("constant", -int(memory[1] or 0)))
        return None

    def _risc(self, operation: str, parts: list[str]) -> None:
        """The first operand is changed, in AArch64, ARM and RISC-V."""
        base, text = operation.removesuffix(".w"), ", ".join(parts)
        if base in ("push", "vpush") or (base in ("stmdb", "vstmdb", "stmfd") and parts[0] == "sp!"):
            self.depth += _list_bytes(text)
        elif base in ("pop", "vpop") or (base in ("ldm", "ldmia", "vldmia", "ldmfd") and parts[0] == "sp!"):
            self.depth = max(self.depth - _list_bytes(text), 0)
            self._forget(text.removeprefix("sp!"))
        elif "sp!" in parts or base.startswith("cm."):
            raise Unknown(text)
        elif "[" in text or re.search(r"\(\w+\)\Z", text):
            self._memory(base, text)
        elif parts and not base.startswith(_UNCHANGING):
            self._arithmetic(base, parts)

    def _arithmetic(self, base: str, parts: list[str]) -> None:
        to, rest = parts[0], parts[1:]
        shift = re.fullmatch(r"lsl #(\d+)", rest[-1]) if rest else None
        rest = rest[:-1] if shift else rest
        short = base.removesuffix("s")
        if len(rest) == 1 and short in ("add", "sub", "lsl", "lsr", "and", "bic"):
            rest = [to, *rest]  # Thumb's short forms
        values = [self._get(operand) for operand in rest]
        if shift and values[-1] is not None:
            kind, number = values[-1]
            values[-1] = (kind, number << int(shift[1])) if kind == "constant" else None
        known = _MOVES.get(short)
        if known is not None and len(values) == 1:
            self._set(_wide(to), known(values[0]))
        elif short in ("movt", "movk"):
            self._set(_wide(to), _with_high(self._get(to), values[0], shift is not None))
        elif base == "bfc":
            self._set(to, _masked(self._get(to), -(1 << int(_number(rest[1]) or 0))))
        elif short in _BINARY and len(values) == 2:
            self._set(_wide(to), _BINARY[short](values[0], values[1]))
        else:
            self._forget(", ".join(parts))

    def _memory(self, base: str, text: str) -> None:
        """Loads and stores: those that move the stack pointer, and what loads change."""
        moved = re.search(r"\[sp, #(-?\d+)\]!", text) or re.search(r"\[sp\], #(-?\d+)", text)
        if moved:
            self.depth = max(self.depth - int(moved[1]), 0)
        elif re.search(r"\[sp[^]]*\]!|\[sp\],", text):
            raise Unknown(text)
        if base.startswith(("l", "vld")):
            self._forget(re.split(r"\[|-?\d*\(", text)[0])


def _callee(operands: str) -> str:
    """The function that a call names; a pointer for a register."""
    first = operands.partition("@")[0].strip()
    if first.startswith("*") or re.fullmatch(r"[xrast]\d+|lr", first):
        return INDIRECT
    local = re.fullmatch(
        r"\.L(.+)\$local", first
    )  # LLVM's second name of a function that is called in its own file
    return local[1] if local else first


def _split(operands: str) -> list[str]:
    """Operands; what is in brackets and braces is one."""
    return [part.strip() for part in re.split(r",(?![^\[({]*[\])}])", operands) if part.strip()]


def _wide(register: str) -> str:
    """AArch64's w registers are halves of its x registers."""
    return f"x{register[1:]}" if re.fullmatch(r"w\d+", register) else register


def _number(operand: str) -> int | None:
    match = re.fullmatch(r"[#$]?(-?(?:0x[0-9a-fA-F]+|\d+))", operand)
    return None if match is None else int(match[1], 0)


def _signed(number: int) -> int:
    """The lowest 32 bits as a number with a sign."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def _minus(value: Value | None, other: Value | None, sign: int = 1) -> Value | None:
    """value - sign * other. The stack pointer's depth grows by what is subtracted."""
    if value is None or other is None or other[0] != "constant" or value[0] == "shifted":
        return None
    amount = sign * other[1]
    return ("stack", max(value[1] + amount, 0)) if value[0] == "stack" else ("constant", value[1] - amount)


def _plus(value: Value | None, other: Value | None) -> Value | None:
    if value is not None and value[0] == "constant":
        value, other = other, value
    return _minus(value, other, -1)


def _masked(value: Value | None, mask: int) -> Value | None:
    """value & mask, whose highest bits are ones: the stack pointer moves by less than the alignment."""
    mask = mask - (1 << 64) if mask >= 1 << 63 else _signed(mask)
    if value is None or mask >= 0 or -mask & (-mask - 1):
        return None
    return ("stack", value[1] - mask - 4) if value[0] == "stack" else None


def _and(value: Value | None, other: Value | None) -> Value | None:
    return _masked(value, other[1]) if other is not None and other[0] == "constant" else None


def _without(value: Value | None, other: Value | None) -> Value | None:
    return _masked(value, ~other[1]) if other is not None and other[0] == "constant" else None


def _left(value: Value | None, other: Value | None) -> Value | None:
    if value is None or other is None or other[0] != "constant" or value[0] == "stack":
        return None
    return ("stack", value[1]) if value[0] == "shifted" else ("constant", _signed(value[1] << other[1]))


def _right(value: Value | None, other: Value | None) -> Value | None:
    if value is None or other is None or other[0] != "constant" or value[0] != "stack":
        return None
    return ("shifted", value[1] + (1 << other[1]) - 4)


def _inverted(value: Value | None) -> Value | None:
    return ("constant", ~value[1]) if value is not None and value[0] == "constant" else None


def _upper(value: Value | None) -> Value | None:
    return ("constant", _signed(value[1] << 12)) if value is not None and value[0] == "constant" else None


def _with_high(low: Value | None, high: Value | None, shifted: bool) -> Value | None:
    """A constant whose higher half is replaced."""
    if low is None or high is None or low[0] != "constant" or high[0] != "constant":
        return None
    return ("constant", _signed((low[1] & 0xFFFF) | (high[1] if shifted else high[1] << 16)))


def _list_bytes(text: str) -> int:
    """Of the registers in braces: `r4`, `d8`, `q4` or ranges of them."""
    total = 0
    for part in text[text.index("{") + 1 : text.index("}")].split(","):
        names = [name.strip() for name in part.split("-")]
        count = int(names[1][1:]) - int(names[0][1:]) + 1 if len(names) > 1 else 1
        total += count * _WIDTH.get(names[0][0], 4)
    return total


def _same(value: Value | None) -> Value | None:
    return value


_MOVES: dict[str, Callable[[Value | None], Value | None]] = {
    **dict.fromkeys(("mov", "movw", "movz", "mv", "li", "ldr"), _same),
    "mvn": _inverted,
    "lui": _upper,
}
_BINARY: dict[str, Callable[[Value | None, Value | None], Value | None]] = {
    **dict.fromkeys(("sub", "subw"), _minus),
    **dict.fromkeys(("add", "addw", "addi", "addiw"), _plus),
    **dict.fromkeys(("and", "andi"), _and),
    "bic": _without,
    **dict.fromkeys(("lsl", "slli"), _left),
    "lsr": _right,
}
