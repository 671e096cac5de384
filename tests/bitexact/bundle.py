"""Many cases as one model: it is built once per target, and every output of it is compared by name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from cases import Case
from parameters import DTYPES, Arguments, Input, arguments
from torch import Tensor, nn

Array = npt.NDArray[np.integer]
# variant of the run-time inputs -> case -> outputs
Outputs = dict[str, dict[str, tuple[Array, ...]]]
VARIANTS = ("random", "ramp", "lowest", "highest", "alternating", "zeros")
OUTPUT_COUNTS = {"append": 2, "topk": 2, "lstm": 3, "lstm_general": 3, "gru_norm": 2, "rnn": 2, "gru": 2}


class Bundle(nn.Module):
    """Calls one operator per case. Cases share run-time inputs of the same shape, type and position."""

    def __init__(self, cases: Iterable[Case]) -> None:
        super().__init__()
        self.cases = tuple(cases)
        self.arguments = {case.name: arguments(case) for case in self.cases}
        slots: dict[tuple[int, Input], int] = {}
        self.slots: dict[str, list[int]] = {}
        for number, (name, args) in enumerate(self.arguments.items()):
            keys = [(position, spec) for position, spec in enumerate(args.inputs.values())]
            self.slots[name] = [slots.setdefault(key, len(slots)) for key in keys]
            for constant, value in args.constants.items():
                self.register_buffer(f"constant{number}_{constant}", value)
        self.specs = list(slots)

    def inputs(self, variant: str) -> tuple[Tensor, ...]:
        """The run-time inputs of all cases."""
        return tuple(_fill(spec, variant, f"{position} {spec}") for position, spec in self.specs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for number, case in enumerate(self.cases):
            args = self.arguments[case.name]
            slots = zip(args.inputs, self.slots[case.name], strict=True)
            result = self._call(number, case.op, args, {name: inputs[slot] for name, slot in slots})
            outputs += result if isinstance(result, tuple) else [result]
        return tuple(outputs)

    def _call(
        self, number: int, op: str, args: Arguments, tensors: dict[str, Tensor]
    ) -> Tensor | tuple[Tensor, ...]:
        result: Tensor | tuple[Tensor, ...]
        if op == "concat":
            result = torch.ops.irnn.concat(list(tensors.values()), **args.numbers)
        else:
            constants = {name: getattr(self, f"constant{number}_{name}") for name in args.constants}
            result = getattr(torch.ops.irnn, op)(**tensors, **constants, **args.numbers)
        return result

    def by_case(self, outputs: Iterable[Array]) -> dict[str, tuple[Array, ...]]:
        """Splits the outputs of one run: case name -> its outputs."""
        queue = iter(outputs)
        return {
            case.name: tuple(next(queue) for _ in range(OUTPUT_COUNTS.get(case.op, 1))) for case in self.cases
        }

    def reference(self) -> Outputs:
        """What torch computes."""
        return {v: self.by_case(y.numpy() for y in self(*self.inputs(v))) for v in VARIANTS}


def _fill(spec: Input, variant: str, label: str) -> Tensor:
    size, half = math.prod(spec.shape), 1 << (spec.bits - 1)
    low, high = (-half, half - 1) if spec.limit is None else (0, spec.limit - 1)
    if variant == "random":
        values = np.random.default_rng(zlib.crc32(label.encode())).integers(low, high + 1, size)
    elif variant == "ramp":  # every int8 value when there is room for it
        step = 1 if spec.bits == 8 else max(1, (high - low) // max(1, size - 1))
        values = low + np.arange(size) * step % (high - low + 1)
    elif variant == "alternating":
        values = np.where(np.arange(size) % 2, low, high)
    else:
        values = np.full(size, {"lowest": low, "highest": high, "zeros": 0}[variant])
    return torch.tensor(values.reshape(spec.shape), dtype=DTYPES[spec.bits])
