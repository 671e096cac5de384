"""Guard: stops a training that diverges, with the name of the tensor, and keeps the last good state."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from irnn_tvm.errors import TrainingError
from irnn_tvm.training import observers

if TYPE_CHECKING:
    from irnn_tvm.training.twin import QatModel


class Guard:
    """Watches one twin. good: (step, state_dict) of the last copy that was taken."""

    def __init__(self, twin: QatModel) -> None:
        self.twin = twin
        self.good: tuple[int, dict[str, Any]] | None = None
        self.first: dict[str, float] = {}

    def check(self, loss: Tensor | float | None) -> None:
        """Raises TrainingError for a loss, a parameter or a range that has left all bounds."""
        twin = self.twin
        value = 0.0 if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
        if not math.isfinite(value):
            self._stop(f"the loss is {value}", self._culprit())
        parameters = [p for p in twin.parameters() if p.is_floating_point()]
        norms = torch.stack([n.float() for n in torch._foreach_norm([p.detach() for p in parameters])])
        if not bool(torch.isfinite(norms).all()):
            self._stop("a weight is not finite", self._culprit())
        self._check_ranges()

    def _check_ranges(self) -> None:
        twin = self.twin
        if twin.planner is None or twin.phase not in ("observe", "learn"):
            return
        for name, observer in observers.observers(twin.planner).items():
            if observer.empty:
                continue
            low, high = observer.range()
            reach = max(-low, high)
            first = self.first.setdefault(name, reach)
            if not math.isfinite(reach) or (first > 0 and reach > first * twin.config.max_growth):
                self._stop(
                    f"the range of a tensor exploded: it reaches {reach:.4g}, at first it was {first:.4g} "
                    f"(max_growth={twin.config.max_growth:g})",
                    name,
                )

    def _culprit(self) -> str:
        """The tensor where it went wrong: a weight, else the first result of a forward pass."""
        from irnn_tvm.training.twin import find_not_finite

        twin = self.twin
        for name, parameter in twin.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                return name
        inner = find_not_finite(twin)
        if inner is not None:
            return inner
        for name, parameter in twin.named_parameters():
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                return f"gradient of {name}"
        return "the loss itself (every tensor of the twin is finite)"

    def _stop(self, what: str, name: str) -> None:
        twin = self.twin
        step = twin.steps
        kept = "no good copy was kept yet"
        if self.good is not None:
            kept = f"the twin is back at its copy of step {self.restore()}"
        raise TrainingError(f"training stopped at step {step}: {what}; first seen in {name}; {kept}")

    def keep(self, step: int) -> None:
        """Takes a copy when it is time."""
        twin = self.twin
        if self.good is None or step % twin.config.snapshot_every == 0:
            self.good = step, copy.deepcopy(twin.state_dict())

    def restore(self) -> int:
        """Loads the copy. Returns its step."""
        if self.good is None:
            raise TrainingError("there is no good copy to go back to: no step was taken yet")
        step, state = self.good
        self.twin.load_state_dict(copy.deepcopy(state))
        return step
