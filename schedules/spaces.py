"""What may be chosen for the kernels of an operator: the spaces that tuning searches, and how a choice is applied.

A space is one instruction set, of which a CPU may have several, and for each setting its values, the default first.
The settings are attributes of `InstructionSet`, and `inner_unroll` of kernels that are left to LLVM (leave.py). Which
there are depends on what kind of work is measured, its family:

- `step`: a time step of a recurrent layer: tiles, sums that are kept at a time, unrolling.
- `matvec`: a linear layer with one vector: the same.
- `ahead`: products with several vectors (time steps) at a time: how many share weights, parts for the first cache.
- `sequence`: a layer that needs the whole sequence: both.
- `convolution`: one without groups: windows of the input are the vectors of a linear layer.
- `table`: piecewise-linear functions. `norm`: LayerNorm and MadNorm alone. `attention`: softmax, and attention by
  products. `scores`: additive attention. For all of these: vectors, or one element after the other.
- `loops`: everything else.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .choice import Choice
from .instruction_set import Chosen, InstructionSet
from .instruction_sets import get
from .vector_set import VectorSet
from .x86 import X86

RECURRENT = frozenset({"irnn.lstm", "irnn.lstm_general", "irnn.gru", "irnn.gru_norm", "irnn.rnn"})
# Other instruction sets that every CPU with the first one has, too.
ALSO: Mapping[str, tuple[str, ...]] = {
    "avx512-vnni": ("avx512", "avx2"),
    "avx512": ("avx2",),
    "avx-vnni": ("avx2",),
    "neon-i8mm": ("neon-dotprod", "neon"),
    "neon-dotprod": ("neon",),
    "helium": ("arm-dsp",),
}
SCALAR = "scalar"
STEP, AHEAD, SEQUENCE, MATVEC, CONVOLUTION = "step", "ahead", "sequence", "matvec", "convolution"
TABLE, NORM, ATTENTION, SCORES, LOOPS = "table", "norm", "attention", "scores", "loops"
# Operators that are done in vectors or element by element.
IN_VECTORS: Mapping[str, str] = {
    "irnn.pwl": TABLE,
    "irnn.layer_norm": NORM,
    "irnn.mad_norm": NORM,
    "irnn.softmax": ATTENTION,
    "irnn.attention": ATTENTION,
    "irnn.additive_scores": SCORES,
}
# Settings that say how weights lie in memory: kernels that share weights share them. Where activations are in planes,
# which end with zeros, weights do, too, up to a whole turn of the loop (`InstructionSet.groups`).
LAYOUT = ("chosen_lanes",)
LAYOUT_IN_PLANES = ("chosen_lanes", "unroll")
# Settings that add instructions to gain time: counts of instructions say nothing of them.
TIMED = ("fetch_ahead",)
UNROLLED: Mapping[str, tuple[int, ...]] = {"inner_unroll": (1, 2, 4, 8)}


@dataclass(frozen=True)
class Space:
    """Values of settings for one instruction set (`scalar`: none), the default first."""

    isa: str
    settings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        size = 1
        for values in self.settings.values():
            size *= len(values)
        return size

    def default(self) -> Choice:
        """The first value of everything."""
        return Choice(self.isa, {name: values[0] for name, values in self.settings.items()})


def layout(choice: Choice) -> dict[str, int]:
    """What a choice says about how weights lie."""
    isa = None if choice.isa == SCALAR else get(choice.isa)
    names = LAYOUT_IN_PLANES if isa is not None and isa.planes else LAYOUT
    return {name: choice.values[name] for name in names if name in choice.values}


def family(op: str, streaming: bool, rows: int) -> tuple[str, ...]:
    """The families of an operator's kernels, each measured by itself. rows: of its weights, 0 without any."""
    if op in RECURRENT or op == "irnn.linear":
        return (STEP if op in RECURRENT else MATVEC, AHEAD) if streaming else (SEQUENCE,)
    if op == "irnn.conv1d":
        return (CONVOLUTION if rows else LOOPS,)
    return (IN_VECTORS.get(op, LOOPS),)


def spaces(kind: str, name: str | None, gates: int, rows: int) -> list[Space]:
    """The spaces of a family, the default one first, for kernels of the instruction set `name`.

    gates, rows: of the operator's weights (0: it has none).
    """
    by_vectors = kind in IN_VECTORS.values()
    if kind == LOOPS or (by_vectors and not isinstance(get(name), VectorSet)):
        return [Space(name or SCALAR, UNROLLED)]
    if name is None:
        return [Space(SCALAR)]
    found = []
    for isa in (name, *ALSO.get(name, ())):
        chosen = get(isa)
        assert chosen is not None
        if chosen.ahead == _of(name).ahead:
            found.append(_space(kind, chosen, gates, rows))
    if kind == AHEAD:  # weights lie as the step reads them, so that it has the same instruction set
        found = found[:1]
    if kind == CONVOLUTION or by_vectors:
        found.append(Space(SCALAR, UNROLLED if by_vectors else {}))
    return [space for space in found if space is not None]


def _of(name: str) -> InstructionSet:
    isa = get(name)
    assert isa is not None
    return isa


def _space(kind: str, isa: InstructionSet, gates: int, rows: int) -> Space:
    if kind in IN_VECTORS.values():
        return Space(isa.name)
    settings: dict[str, tuple[int, ...]] = {}
    routine = isa.routine_rows > 0
    usual = isa.lanes(rows, gates)
    tiles = tuple(lanes for lanes in isa.tiles if lanes * gates <= isa.rows and lanes < 2 * rows)
    if kind in (STEP, SEQUENCE, MATVEC, CONVOLUTION):
        if not routine:
            # 0: as every matrix of the operator would have them by itself.
            settings["chosen_lanes"] = (0, *(lanes for lanes in tiles if lanes != usual))
            # Sums of a whole block are the most that can be kept.
            registers = max((usual, *tiles)) * gates * isa.spread // isa.words
            kept = [n for n in (2, 4, 8, 16, 32) if n < registers and n % isa.spread == 0]
            settings["alone"] = _first(isa.alone, kept)
            settings["unroll"] = _first(isa.unroll, (1, 2, 4, 8))
            # On x86 prefetchers of the hardware are faster without: 512 units on Zen 4 took a sixth longer with.
            if isa.fetches and not isinstance(isa, X86):
                settings["fetch_ahead"] = _first(isa.fetch_ahead, (0, 4, 16))
        else:
            settings["row_unroll"] = (1, 2, 4) if not isinstance(isa, VectorSet) else (1,)
    # Where several vectors are another set's work, its settings are as they are.
    if kind in (AHEAD, SEQUENCE, CONVOLUTION) and isa.ahead and not routine and isa.for_vectors(16) is isa:
        settings["vectors"] = _first(isa.vectors, (1, 2, 4, 8))
        settings["shared"] = _first(isa.shared, [n for n in (1, 2, 4, 8) if n % isa.spread == 0])
        settings["shared_unroll"] = _first(isa.shared_unroll or isa.unroll, (1, 2, 4, 8))
        if isa.cached:
            settings["cached"] = _first(isa.cached, (1 << 13, 1 << 14, 1 << 15, 3 << 14))
    return Space(isa.name, {name: values for name, values in settings.items() if len(values) > 1})


def _first(default: int, values: Sequence[int]) -> tuple[int, ...]:
    return (default, *(value for value in values if value != default))


def apply(choice: Choice, usual: InstructionSet | None, why: str) -> Chosen:
    """How kernels are lowered with a choice. usual: the instruction set of the target; why: see `Chosen`.

    Raises ValueError for settings that there are not.
    """
    loops = choice.values.get("inner_unroll", 1)
    values = {name: value for name, value in choice.values.items() if name != "inner_unroll"}
    if choice.isa == SCALAR:
        return Chosen(None, why, loops)
    isa = usual if usual is not None and usual.name == choice.isa else get(choice.isa)
    if isa is None:
        raise ValueError(f"there is no instruction set {choice.isa!r}")
    if values:
        isa = copy.copy(isa)
        for name, value in values.items():
            if not isinstance(getattr(isa, name, None), int):
                raise ValueError(f"{choice.isa} has no setting {name!r}")
            setattr(isa, name, value)
    return Chosen(isa, why, loops)


def features(space: Space, choice: Choice, numbers: Sequence[float]) -> list[float]:
    """What a cost model knows about a choice: logarithms of settings, in a fixed order, and of what kernels take of
    registers and caches. numbers: about the operator (rows, gates, depth)."""
    from math import log2

    names = ("chosen_lanes", "alone", "unroll", "vectors", "shared", "shared_unroll", "cached", "row_unroll",
             "inner_unroll", "fetch_ahead")  # fmt: skip
    isa = None if choice.isa == SCALAR else get(choice.isa)
    values: list[float] = [log2(choice.values.get(name, 1) or 1) for name in names]
    words = 1 if isa is None else isa.words
    rows, gates = (int(number) for number in numbers[:2])
    lanes = choice.values.get("chosen_lanes", 1) or (1 if isa is None else isa.lanes(rows, gates))
    accumulators = lanes * gates / words
    values += [float(words), accumulators, accumulators / max(1, choice.values.get("alone", 1))]
    values += [choice.values.get("vectors", 1) * choice.values.get("shared", 1) / 8, float(space.size)]
    return [*values, *(log2(number + 1) for number in numbers)]


def instruction_sets_of(name: str | None) -> list[InstructionSet]:
    """All instruction sets that kernels of a library may be written with."""
    if name is None:
        return []
    found: list[Any] = [get(isa) for isa in (name, *ALSO.get(name, ()))]
    return [isa for isa in found if isa is not None]
