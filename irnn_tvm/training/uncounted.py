"""Steps that nobody counts: an optimizer that moves the weights of a twin whose `step` is never called."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from irnn_tvm.training.twin import QatModel

PATIENCE = 10  # updates; accumulated gradients and clipped weights are no reason to warn


class UncountedSteps:
    """How often weights changed between forward passes of training since the last `step`."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.updates = 0

    def look(self, twin: QatModel) -> None:
        """Before a forward pass. Warns, once, when an optimizer is at work and steps are not counted."""
        if twin.phase == "frozen" or self.updates > PATIENCE:
            return
        version = sum(parameter._version for parameter in twin.parameters())
        self.updates += self.version is not None and version != self.version
        self.version = version
        if self.updates == PATIENCE:
            self.updates += 1
            warnings.warn(
                f"the weights of the twin were updated {PATIENCE} times, and twin.step() was not called: it stays at "
                f"step {twin.steps}, in phase {twin.phase!r}, and its ranges never freeze. Call twin.step(loss) after "
                "every optimizer.step()",
                stacklevel=4,
            )
