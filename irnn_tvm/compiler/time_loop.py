"""C text of a recurrent layer: a loop over time around its step, or one kernel for a single step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from irnn_tvm.compiler.kernels import Kernel
from irnn_tvm.compiler.plan import Call, Value, expression
from irnn_tvm.compiler.scan_values import ScanValues

# The parameter of `forward` that says which way single steps take their tiles.
TURN = "turn"


@dataclass(frozen=True)
class TimeLoop:
    """call: one with `scan`; kernels: all by name; pointer, size: C expressions of a tensor's address and bytes."""

    call: Call
    kernels: dict[str, Kernel]
    pointer: Callable[[Value], str]
    size: Callable[[Value], str]

    def lines(self) -> list[str]:
        """Statements for `forward`."""
        values, kernel = ScanValues.of(self.call), self.kernels[self.call.kernel]
        steps, backward = expression(values.x.shape[0]), self._backward
        direction = "backward" if backward else "forward"
        lines = [f"  {{ /* {kernel.name}, {direction} over {steps} step(s) */"]
        if steps == 1:
            lines += self._single(values)
        elif self.call.single is None:
            lines += self._loop(values, steps)
        else:
            lines.append(f"    if ({steps} == 1) {{")
            lines += [f"  {line}" for line in self._single(values)]
            lines.append("    } else {")
            lines += [f"  {line}" for line in self._loop(values, steps)]
            lines.append("    }")
        if values.last_y is not None:
            first = backward or steps == 1
            origin = self.pointer(values.y)
            if not first:
                origin += f" + (size_t)({steps} - 1) * {elements(values.y.shape[1:])}"
            lines.append(f"    memcpy({self.pointer(values.last_y)}, {origin}, {self.size(values.last_y)});")
        return [*lines, "  }"]

    @property
    def _backward(self) -> bool:
        assert self.call.scan is not None
        return bool(self.call.scan["reverse"])

    def _pointers(self, values: list[Value]) -> list[str]:
        return [self.pointer(value) for value in values]

    def _turn(self, kernel: Kernel, which: str) -> list[str]:
        """The last argument of kernels that take tiles in turns from the first and from the last on. What is fetched
        comes in one order in every step (fetch_order.py)."""
        which = "0" if kernel.fetches else which
        return [which] if takes_turns(kernel) else []

    def _prepare(self, values: ScanValues, first: str, count: str) -> str:
        """The call that works ahead: `count` steps from step `first` on."""
        assert self.call.inputs is not None
        assert values.sums is not None
        x = values.x
        start = self.pointer(x)
        if first != "0":
            start += f" + (size_t){first} * {elements(x.shape[1:])}"
        args = [start, *self._pointers([*values.input_constants, values.sums, *values.input_scratch])]
        callee = self.kernels[self.call.inputs].callee
        return f"{callee}({', '.join(args)}, {count} * {elements(x.shape[1:-1])});"

    def _single(self, values: ScanValues) -> list[str]:
        """One step, whose states take no turns."""
        lines = []
        kernel, x = self.kernels[self.call.kernel], values.x
        more: list[Value] = []
        scratch = list(values.scratch)
        if self.call.single is not None:
            assert self.call.scan is not None
            kernel, more = self.kernels[self.call.single], values.input_constants
            scratch += values.input_scratch[: self.call.scan["single_scratch"]]
        elif values.sums is not None:
            lines.append(f"    {self._prepare(values, '0', '1')}")
            x = values.sums
        tensors = [
            x,
            values.y0,
            *values.carries,
            *values.constants,
            *more,
            values.y,
            *values.spares,
            *scratch,
        ]
        args = [*self._pointers(tensors), *self._turn(kernel, TURN if self.call.single else "0")]
        lines.append(f"    {kernel.callee}({', '.join(args)});")
        for final, spare in zip(values.finals, values.spares, strict=True):
            lines.append(f"    memcpy({self.pointer(final)}, {self.pointer(spare)}, {self.size(final)});")
        return lines

    def _loop(self, values: ScanValues, steps: int | str) -> list[str]:
        """All steps, their states by turns in two places."""
        assert self.call.scan is not None
        kernel, x, y, sums = self.kernels[self.call.kernel], values.x, values.y, values.sums
        backward, count = self._backward, len(values.carries)
        x_row, y_row = elements(x.shape[1:]), elements(y.shape[1:])
        lines = []
        for i, (carry, spare) in enumerate(zip(values.carries, values.spares, strict=True)):
            lines.append(f"    const {carry.dtype}_t *c{i} = {self.pointer(carry)};")
            lines.append(f"    {spare.dtype}_t *next{i} = {self.pointer(spare)};")
        lines.append(f"    const {y.dtype}_t *last = {self.pointer(values.y0)};")
        source, pad = f"{self.pointer(x)} + (size_t)t * {x_row}", "    "
        order = f"int32_t t = {steps} - 1; t >= 0; --t" if backward else f"int32_t t = 0; t < {steps}; ++t"
        if sums is not None:
            length = self.call.scan["ahead"]
            first = f"{steps} - done - count" if backward else "done"
            lines += [
                f"    for (int32_t done = 0; done < {steps}; done += {length}) {{",
                f"      const int32_t count = {steps} - done < {length} ? {steps} - done : {length};",
                f"      const int32_t first = {first};",
                f"      {self._prepare(values, 'first', 'count')}",
            ]
            order = "int32_t t = first + count - 1; t >= first; --t"
            if not backward:
                order = "int32_t t = first; t < first + count; ++t"
            source = f"{self.pointer(sums)} + (size_t)(t - first) * {elements(sums.shape[1:])}"
            pad = "      "
        lines.append(f"{pad}for ({order}) {{")
        lines.append(f"{pad}  {y.dtype}_t *y = {self.pointer(y)} + (size_t)t * {y_row};")
        args = [source, "last", *(f"c{i}" for i in range(count)), *self._pointers(values.constants), "y",
                *(f"next{i}" for i in range(count)), *self._pointers(values.scratch),
                *self._turn(kernel, "t & 1")]  # fmt: skip
        lines.append(f"{pad}  {kernel.callee}({', '.join(args)});")
        lines.append(f"{pad}  last = y;")
        for i, (final, spare) in enumerate(zip(values.finals, values.spares, strict=True)):
            lines.append(f"{pad}  c{i} = next{i};")
            here, there = self.pointer(spare), self.pointer(final)
            lines.append(f"{pad}  next{i} = next{i} == {here} ? {there} : {here};")
        lines.append(f"{pad}}}")
        if sums is not None:
            lines.append("    }")
        for i, final in enumerate(values.finals):
            pointer = self.pointer(final)
            lines.append(f"    if (c{i} != {pointer}) {{")
            lines.append(f"      memcpy({pointer}, c{i}, {self.size(final)});")
            lines.append("    }")
        return lines


def takes_turns(kernel: Kernel) -> bool:
    """Whether a kernel of a step is told where to begin with its tiles."""
    return kernel.scalars - 2 * kernel.split > 0


def elements(shape: tuple[object, ...]) -> int:
    """Product of fixed dimensions."""
    total = 1
    for d in shape:
        total *= int(d)  # type: ignore[call-overload]
    return total
