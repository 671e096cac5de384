"""All cases as one model: it is built once per target, and every output of it is compared by name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from cases import Case
from parameters import Arguments, Input, arguments
from torch import Tensor, nn

Array = npt.NDArray[np.integer]
VARIANTS = ("random", "ramp", "lowest", "highest", "alternating", "zeros")


class Bundle(nn.Module):
    """Calls one operator per case, each on inputs of its own."""

    def __init__(self, cases: Iterable[Case]) -> None:
        super().__init__()
        self.cases = tuple(cases)
        self.arguments = {case.name: arguments(case) for case in self.cases}
        for number, args in enumerate(self.arguments.values()):
            for name, value in args.constants.items():
                self.register_buffer(f"constant{number}_{name}", value)

    def inputs(self, variant: str) -> tuple[Tensor, ...]:
        """Run-time inputs of all cases, in order."""
        return tuple(
            _fill(spec, variant, f"{case}.{name}")
            for case, args in self.arguments.items()
            for name, spec in args.inputs.items()
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        queue = iter(inputs)
        outputs: list[Tensor] = []
        for number, (case, args) in enumerate(zip(self.cases, self.arguments.values(), strict=True)):
            tensors = {name: next(queue) for name in args.inputs}
            result = self._call(number, case, args, tensors)
            outputs += result if isinstance(result, tuple) else [result]
        return tuple(outputs)

    def _call(self, number: int, case: Case, args: Arguments, tensors: dict[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
        if case.op == "concat":
            return torch.ops.irnn.concat(list(tensors.values()), **args.numbers)
        constants = {name: getattr(self, f"constant{number}_{name}") for name in args.constants}
        return getattr(torch.ops.irnn, case.op)(**tensors, **constants, **args.numbers)

    def by_case(self, outputs: Iterable[Array]) -> dict[str, tuple[Array, ...]]:
        """Splits the outputs of one run: case name -> its outputs."""
        queue = iter(outputs)
        counts = {"lstm": 3, "gru": 2}
        return {case.name: tuple(next(queue) for _ in range(counts.get(case.op, 1))) for case in self.cases}


def _fill(spec: Input, variant: str, label: str) -> Tensor:
    low, high = (-(1 << (spec.bits - 1)), (1 << (spec.bits - 1)) - 1) if spec.limit is None else (0, spec.limit - 1)
    size = math.prod(spec.shape)
    if variant == "random":
        rng = np.random.default_rng(zlib.crc32(label.encode()))
        values = rng.integers(low, high + 1, spec.shape)
    elif variant == "ramp":  # every int8 value when there is room for it
        step = 1 if spec.bits == 8 else max(1, (high - low) // max(1, size - 1))
        values = (low + np.arange(size) * step % (high - low + 1)).reshape(spec.shape)
    elif variant == "alternating":
        values = np.where(np.arange(size) % 2, low, high).reshape(spec.shape)
    else:
        values = np.full(spec.shape, {"lowest": low, "highest": high, "zeros": 0}[variant])
    return torch.tensor(values, dtype={8: torch.int8, 16: torch.int16, 32: torch.int32}[spec.bits])
