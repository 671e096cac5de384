"""The tensors of a recurrent call by role (layout: relay_ops/scan.py)."""

from __future__ import annotations

from dataclasses import dataclass

from irnn_tvm.compiler.plan import Call, Value


@dataclass(frozen=True)
class ScanValues:
    """x [T, ...] and y [T, ...]; y0: what the first step gets as the last y; last_y: where the last y is wanted, too;
    carries, finals, spares: states before, after, and room for those in between; constants, scratch: of a step.

    sums: what is made of some steps of x ahead, if anything; input_constants, input_scratch: of what makes it.
    """

    x: Value
    y0: Value
    carries: list[Value]
    constants: list[Value]
    input_constants: list[Value]
    y: Value
    last_y: Value | None
    finals: list[Value]
    spares: list[Value]
    scratch: list[Value]
    sums: Value | None
    input_scratch: list[Value]

    @property
    def kept(self) -> list[Value]:
        """What others read afterwards."""
        return [self.y, *self.finals, *([] if self.last_y is None else [self.last_y])]

    @property
    def temporary(self) -> list[Value]:
        """What nobody reads afterwards."""
        sums = [] if self.sums is None else [self.sums]
        return [*self.spares, *self.scratch, *sums, *self.input_scratch]

    @classmethod
    def of(cls, call: Call) -> ScanValues:
        """Those of a call that has `scan`."""
        assert call.scan is not None
        scan, left = call.scan, list(call.values)

        def take(count: int) -> list[Value]:
            taken = left[:count]
            del left[:count]
            return taken

        n = scan["carries"]
        x, y0 = take(2)
        carries, constants = take(n), take(scan["constants"])
        input_constants = take(scan.get("input_constants", 0))
        (y,) = take(1)
        last_y = take(1)[0] if scan["last_y"] else None
        finals, spares, scratch = take(n), take(n), take(scan["scratch"])
        sums = take(1)[0] if call.inputs else None
        return cls(x, y0, carries, constants, input_constants, y, last_y, finals, spares, scratch, sums, left)
