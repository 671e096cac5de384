"""Guard: stops a training that diverges, with the name of the tensor, and keeps the last good state."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from irnn_tvm.errors import TrainingError
from irnn_tvm.training import observers
from irnn_tvm.training.calls import is_finite, tensors_in
from irnn_tvm.training.culprit import first_not_finite, order_of_use

if TYPE_CHECKING:
    from irnn_tvm.training.twin import QatModel


class Guard:
    """Watches one twin. good: (step, state_dict) of the last copy. first: the first reach of every range.

    suspect: the first tensor of a forward pass since the last step that was not finite, found at once: the optimizer
    spreads a NaN over every weight. arrived: per output, whether its gradients were finite.
    """

    def __init__(self, twin: QatModel) -> None:
        self.twin = twin
        self.good: tuple[int, dict[str, Any]] | None = None
        self.first: dict[str, float] = {}
        self.suspect: str | None = None
        self.arrived: dict[int, Tensor] = {}

    def watch(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Looks at the result of a forward pass in training, and at the gradients that it will get."""
        for i, tensor in enumerate(tensors_in(result)):
            if self.suspect is None and not is_finite(tensor):
                self.suspect = first_not_finite(self.twin, args, kwargs) or f"output {i}"
            if tensor.requires_grad:
                tensor.register_hook(partial(self._arrive, i))

    def _arrive(self, output: int, gradient: Tensor) -> None:
        finite = torch.isfinite(gradient).all()
        self.arrived[output] = self.arrived[output] & finite if output in self.arrived else finite

    def passed(self) -> None:
        """A step was taken: what comes is of the next one."""
        self.suspect = None
        self.arrived.clear()

    def check(self, loss: Tensor | float | None) -> None:
        """Raises TrainingError for a loss, a parameter or a range that has left all bounds."""
        twin = self.twin
        value = 0.0 if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
        if not math.isfinite(value):
            self._stop(f"the loss is {value}", self._culprit(loss_is_finite=False))
        parameters = [p for p in twin.parameters() if p.is_floating_point()]
        norms = torch.stack([n.float() for n in torch._foreach_norm([p.detach() for p in parameters])])
        if not bool(torch.isfinite(norms).all()):
            self._stop("a weight is not finite", self._culprit(loss_is_finite=True))
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

    def _culprit(self, loss_is_finite: bool) -> str:
        """The tensor where it went wrong: of the forward pass, of the loss, of the backward pass, else a weight."""
        twin = self.twin
        if self.suspect is not None:
            return self.suspect
        if not loss_is_finite and twin.training and self.arrived:
            return "the loss itself (what the twin returned is finite)"
        for output, finite in self.arrived.items():
            if not bool(finite):
                return f"the gradient of the loss with respect to output {output}"
        order = order_of_use(twin)
        # A backward pass goes from the last layer to the first.
        spoilt = [name for name in order if _spoilt(twin.get_parameter(name).grad)]
        if spoilt:
            return f"gradient of {spoilt[-1]}"
        for name in order:
            if _spoilt(twin.get_parameter(name)):
                return name
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
        if self.good is None or step % self.twin.config.snapshot_every == 0:
            self.good = step, copy.deepcopy(self.twin.state_dict())

    def keep_first(self) -> None:
        """Takes a copy before the first pass of training, unless there is one."""
        if self.good is None and all(is_finite(p) for p in self.twin.parameters()):
            self.keep(self.twin.steps)

    def restore(self) -> int:
        """Loads the copy. Returns its step."""
        if self.good is None:
            raise TrainingError("there is no good copy to go back to: no step was taken yet")
        step, state = self.good
        self.twin.load_state_dict(copy.deepcopy(state))
        self.passed()
        return step


def _spoilt(tensor: Tensor | None) -> bool:
    return tensor is not None and not is_finite(tensor)
