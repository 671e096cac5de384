"""The twin: a float model that trains with the roundings of its integers and evaluates with the integers."""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from irnn_tvm.boundary import public
from irnn_tvm.errors import (
    CalibrationError,
    InputError,
    QuantizationError,
    TrainingError,
    UnsupportedModuleError,
)
from irnn_tvm.quantization.accepted import float_module
from irnn_tvm.quantization.agreement import capture_checked
from irnn_tvm.quantization.calibrate import calibrate
from irnn_tvm.quantization.capture import Captured
from irnn_tvm.quantization.effective_weights import copied, effective_weights
from irnn_tvm.quantization.inputs import Batch, CallLayout, check_tensor, flatten_call
from irnn_tvm.quantization.planner import Planner, check_leaf
from irnn_tvm.quantization.ptq import evaluation_mode
from irnn_tvm.quantization.slots import Slot
from irnn_tvm.training import guard, observers
from irnn_tvm.training.config import QatConfig
from irnn_tvm.training.emission import Emission, emit
from irnn_tvm.training.simulation import Simulation

KEPT_BATCHES = 4  # of the latest training batches, for the report of `convert`


@public
def prepare_qat(model: nn.Module, config: QatConfig | None = None, example: Any = None) -> QatModel:
    """A trainable twin of a float model; the model itself is copied, not changed.

    config: QatConfig() by default. example: arguments of one forward call (a tensor, a tuple of positional or a dict of
    keyword arguments); without it the first call of the twin serves, with it an unsupported model is refused at once.
    Learned ranges need it, because their parameters must exist before an optimizer is made.

    Raises QuantizationError for a setting, or a model that is (or holds) a twin already; UnsupportedModuleError for an
    IntegerModel or, with an example, a layer that has no integer version.
    """
    config = QatConfig() if config is None else config
    if not isinstance(config, QatConfig):
        raise QuantizationError(f"config is a {type(config).__name__}, not a QatConfig")
    model = float_module(model, wrappers=(QatModel,))
    for name, module in model.named_modules():
        if isinstance(module, QatModel):
            where = f"its submodule {name!r}" if name else "it"
            raise QuantizationError(f"the model was prepared already: {where} is a QatModel")
    if config.ranges == "learned" and example is None:
        raise QuantizationError(
            'ranges="learned" needs example=, the arguments of one forward call: learned ranges are parameters, which '
            "must exist before the optimizer is made"
        )
    twin = QatModel(copied(model), config)
    if example is not None:
        layout, tensors = flatten_call(twin.model, example, "the example")
        twin.capture(layout, tensors)
    return twin


class QatModel(nn.Module):
    """Forward takes and returns what the float model's forward does.

    In train mode it computes in float32 with one rounding wherever the integer model rounds (the phases of QatConfig
    tell what happens to ranges and activation tables). In eval mode it runs the integer model that `convert` would
    return and dequantizes its outputs: equal to the deployed library, bit for bit. Call `step` after every optimizer
    step.

    model: the float model that is trained. steps: how many steps were taken. range_gains: learned ranges, logarithms of
    factors on what was observed.
    """

    def __init__(self, model: nn.Module, config: QatConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.steps = 0
        self.captured: Captured | None = None
        self.planner: Planner | None = None
        self.simulation: Simulation | None = None
        self.range_gains: nn.Parameter | None
        self.register_parameter("range_gains", None)
        self.observed = False
        self.recent: deque[Batch] = deque(maxlen=KEPT_BATCHES)
        self.guard = guard.Guard(self)
        self._emission: tuple[Any, Emission] | None = None
        self._pending: dict[str, Any] | None = None

    @property
    def phase(self) -> str:
        """What the next training step does: "float", "observe", "learn" or "frozen"."""
        phase = self.config.phase(self.steps)
        return "observe" if phase in ("learn", "frozen") and not self.observed else phase

    def capture(self, layout: CallLayout, tensors: tuple[Tensor, ...]) -> None:
        """Traces the float model on one call. Raises UnsupportedModuleError for what has no integer version."""
        for name, tensor in zip(layout.names, tensors, strict=True):
            check_tensor(name, tensor, "the first call")
        with evaluation_mode(self.model), torch.no_grad():
            detached = tuple(t.detach() for t in tensors)
            self.captured = capture_checked(self.model, layout, [Batch(0, detached)], check_leaf)
            with effective_weights(self.model):
                self.planner = Planner(self.captured, self.config.quant)
        for slot in observers.slots(self.planner):
            slot.provisional = True
            if slot.tensor_class == "cell" and self.config.cell_clip is not None:
                slot.observer.limit = self.config.cell_clip
        if self.config.ranges == "learned":
            count = len(observers.observers(self.planner))
            device = tensors[0].device
            self.range_gains = nn.Parameter(torch.zeros(count, device=device))
        self.simulation = Simulation(self.planner, self.config, self.range_gains)
        self.recent.append(Batch(0, detached))
        if self._pending is not None:
            self._load(self._pending)
            self._pending = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """See the class.

        Raises CalibrationError in eval mode while no training step has shown the ranges, InputError for arguments of
        another structure than those of the first call.
        """
        if self.phase == "float":
            return self.model(*args, **kwargs)
        layout, tensors = self._flatten(args, kwargs)
        if self.captured is None:
            self.capture(layout, tensors)
        assert self.captured is not None
        assert self.simulation is not None
        if not layout.matches(self.captured.layout):
            raise InputError(
                f"the twin was first called with {self.captured.layout.args} {self.captured.layout.kwargs}, now with "
                f"{layout.args} {layout.kwargs}: pass the same kind of arguments in every call"
            )
        if not self.training:
            return self.emission().integer.float_forward(*tensors)
        phase = self.phase
        try:
            if phase == "observe":
                self.observe(tensors)
            self.simulation.begin(phase)
            with effective_weights(self.model):
                result = self.simulate(tensors)
        except RuntimeError as error:  # what torch raises for sizes that do not fit together
            shapes = ", ".join(f"{n}: {tuple(t.shape)}" for n, t in zip(layout.names, tensors, strict=True))
            raise InputError(f"the model cannot run on this call ({shapes}): {error}") from error
        self.recent.append(Batch(len(self.recent), tuple(t.detach() for t in tensors)))
        return result

    def _flatten(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[CallLayout, tuple[Tensor, ...]]:
        item: Any = args
        if kwargs:
            names = list(inspect.signature(self.model.forward).parameters)
            item = dict(zip(names, args, strict=False)) | kwargs
        return flatten_call(self.model, item, "the call")

    def observe(self, tensors: tuple[Tensor, ...]) -> None:
        """Shows one batch of the float model to the observers. Raises CalibrationError for NaN or infinity."""
        assert self.planner is not None
        with evaluation_mode(self.model), torch.no_grad(), effective_weights(self.model):
            calibrate(self.planner, [Batch(self.steps, tuple(t.detach() for t in tensors))])
        self.observed = True
        self._emission = None

    def simulate(self, tensors: tuple[Tensor, ...], check: Any = None) -> Any:
        """The captured graph with the integers' roundings. check(name, value): called with every result."""
        assert self.captured is not None
        assert self.planner is not None
        assert self.simulation is not None
        sim, planner = self.simulation, self.planner
        leaves = iter(tensors)
        values: dict[Any, Any] = {}
        result: Any = None
        for node in self.captured.graph.nodes:
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: values[n])
            if node.op == "output":
                result = args[0]
            elif node.op == "placeholder":
                slot = planner.values[node]
                value = next(leaves)
                values[node] = sim.quantize(value, slot) if isinstance(slot, Slot) else value
            else:
                values[node] = planner.ops[node].simulate(sim, args, kwargs)
                if node in planner.guards and values[node] != planner.guards[node]:
                    raise UnsupportedModuleError(
                        f"the size expression {node.name!r} is used as a constant: it was {planner.guards[node]} in "
                        f"the first call, now it is {values[node]}"
                    )
            if check is not None and node.op != "output":
                check(node.name, values[node])
        return result

    def step(self, loss: Tensor | float | None = None) -> None:
        """Counts a training step; call it after the optimizer's.

        Raises TrainingError, naming the tensor, when the loss or a weight is not finite or a range explodes; the twin
        then holds its last good copy again (at most `snapshot_every` steps old; the optimizer is yours to make anew).
        """
        self.guard.check(loss)
        before = self.phase
        self.steps += 1
        phase = self.phase
        if phase != before and phase == "frozen":
            self._freeze()
        elif phase == "frozen" and self.config.refit_every:
            frozen_for = self.steps - self.config.frozen_from
            if frozen_for > 0 and frozen_for % self.config.refit_every == 0:
                self.refit()
        self.guard.keep(self.steps)

    def _freeze(self) -> None:
        if self.simulation is not None:
            self.simulation.forget()
            self._emission = None

    def refit(self) -> None:
        """Fits the activation tables again, to what the latest batches look like; ranges stay."""
        assert self.planner is not None
        assert self.simulation is not None
        ranges = {
            o: (o.low, o.high, getattr(o, "average", None))
            for o in observers.observers(self.planner).values()
        }
        observers.reset_histograms(self.planner)
        for batch in self.recent:
            self.observe(batch.tensors)
        for observer, (low, high, average) in ranges.items():
            observer.low, observer.high = low, high
            if average is not None:
                observer.average = average  # type: ignore[attr-defined]
        self.simulation.tables.clear()
        self._emission = None

    def restore(self) -> int:
        """Goes back to the last good copy. Returns its step. Raises TrainingError when there is none."""
        return self.guard.restore()

    def emission(self) -> Emission:
        """The integer model of the weights and ranges as they are now, kept until they change."""
        if self.captured is None and self._pending is not None:
            raise CalibrationError(
                "the twin has the ranges of a checkpoint, but it has not seen the model run: give prepare_qat an "
                "example=, or call the twin once, before converting"
            )
        if self.captured is None or not self.observed:
            raise CalibrationError(
                "no ranges were seen yet: run at least one training step (twin.train(); twin(batch)) in phase "
                f'"observe" before evaluating or converting; the twin is at step {self.steps}, phase "{self.phase}"'
            )
        key = (self.steps, self.observed, *(t._version for t in (*self.parameters(), *self.buffers())))
        if self._emission is None or self._emission[0] != key:
            with evaluation_mode(self.model), torch.no_grad(), effective_weights(self.model):
                self._emission = key, emit(self)
        return self._emission[1]

    def get_extra_state(self) -> dict[str, Any]:
        """Steps and observers, as plain data, for state_dict."""
        seen = (
            observers.save(self.planner)
            if self.planner is not None
            else self._pending and self._pending["seen"]
        )
        return {"steps": self.steps, "observed": self.observed, "seen": seen}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes over what get_extra_state returned; before the first call it is kept until then."""
        self.steps, self.observed = int(state["steps"]), bool(state["observed"])
        if self.planner is None:
            self._pending = dict(state) if state["seen"] is not None else None
        else:
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        assert self.planner is not None
        assert self.simulation is not None
        if state["seen"] is not None:
            observers.load(self.planner, state["seen"])
        self.simulation.tables.clear()
        self.simulation.forget()
        self._emission = None

    def extra_repr(self) -> str:
        return f"steps={self.steps}, phase={self.phase!r}"


def find_not_finite(twin: QatModel) -> str | None:
    """Name of the first tensor of a forward pass on the latest batch that holds NaN or infinity, or None."""
    found: list[str] = []

    def check(name: str, value: Any) -> None:
        looks = not found and isinstance(value, Tensor) and value.is_floating_point()
        if looks and not bool(torch.isfinite(value).all()):
            found.append(name)

    if twin.simulation is None or not twin.recent or not twin.observed:
        return None
    with torch.no_grad():
        try:
            twin.simulate(twin.recent[-1].tensors, check)
        except TrainingError:
            raise
        except Exception:  # whatever a NaN breaks further on, its first appearance is what counts
            return found[0] if found else None
    return found[0] if found else None
