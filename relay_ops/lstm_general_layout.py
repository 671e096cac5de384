"""What an irnn.lstm_general call consists of: sizes, parts, and the parameters of its step's kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .registry import attr

Shapes = dict[str, tuple[tuple[int, ...], str]]
KINDS = {1: "layer", 2: "mad"}


@dataclass(frozen=True)
class Variant:
    """Sizes of a call and which optional tensors it has; its scalars are read from the call's attributes."""

    call: Any
    batch: int
    width: int
    state: int
    hidden: int
    gates: int
    pieces: int
    parts: frozenset[str]

    def get(self, name: str) -> Any:
        return attr(self.call, name)

    @property
    def norm(self) -> str | None:
        return KINDS.get(self.get("norm"))

    @property
    def cell_norm(self) -> str | None:
        return KINDS.get(self.get("cell_norm"))

    @property
    def projected(self) -> bool:
        return "w_hr" in self.parts

    @property
    def peephole(self) -> bool:
        return "mult_peephole" in self.parts

    @property
    def rounds(self) -> int:
        return len(self.get("mogrifier_shift"))

    @property
    def tables(self) -> int:
        return self.gates + 1 + self.rounds

    def macs(self) -> int:
        total = self.hidden * self.gates * (self.width + self.state)
        total += self.hidden * self.state if self.projected else 0
        return self.batch * (total + self.rounds * self.width * self.state)

    def constant_shapes(self) -> Shapes:
        """Constant parameters of the kernel in order: shape and dtype by name."""
        rows = (self.hidden, self.gates)
        shapes: Shapes = {"w": ((*rows, self.width + self.state), "int8")}
        shapes |= dict.fromkeys(("bias", "mult_ih", "mult_hh"), (rows, "int32"))
        if self.norm is not None:
            shapes |= dict.fromkeys(("bias_hh", "gain_ih", "gain_hh", "gate_bias"), (rows, "int32"))
        if self.peephole:
            shapes["mult_peephole"] = ((self.hidden, self.gates - 1), "int32")
        if self.cell_norm is not None:
            shapes |= dict.fromkeys(("cell_gain", "cell_bias"), ((self.hidden,), "int32"))
        if self.projected:
            shapes["w_hr"] = ((self.state, self.hidden), "int8")
            shapes |= dict.fromkeys(("bias_hr", "mult_hr"), ((self.state,), "int32"))
        for name, count, n, depth in (
            ("q", (self.rounds + 1) // 2, self.width, self.state),
            ("r", self.rounds // 2, self.state, self.width),
        ):
            if count:
                shapes[f"w_{name}"] = ((count, n, depth), "int8")
                shapes |= {f"{kind}_{name}": ((count, n), "int32") for kind in ("bias", "mult")}
        shapes["tables"] = ((self.tables, 3, self.pieces), "int16")
        return shapes

    def scratch_shapes(self) -> Shapes:
        """Scratch parameters of the kernel in order: shape and dtype by name."""
        shapes: Shapes = {}
        for r in range(self.rounds):
            shapes[f"mogrified{r}"] = ((self.batch, self.state if r % 2 else self.width), "int8")
        if self.norm is not None:
            products = (self.batch, self.hidden * self.gates)
            shapes |= dict.fromkeys(("products_x", "products_h"), (products, "int16"))
        if self.cell_norm is not None:
            shapes["out_gate"] = ((self.batch, self.hidden), f"int{self.get('gate_bits')}")
        if self.projected:
            shapes["inner"] = ((self.batch, self.hidden), "int8")
        return shapes
