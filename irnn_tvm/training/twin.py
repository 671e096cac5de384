"""The twin: a float model that trains with the roundings of its integers and evaluates with the integers."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from irnn_tvm.boundary import public
from irnn_tvm.errors import (
    CalibrationError,
    InputError,
    QuantizationError,
    UnsupportedModuleError,
)
from irnn_tvm.quantization.accepted import float_module
from irnn_tvm.quantization.agreement import capture_checked
from irnn_tvm.quantization.calibrate import calibrate
from irnn_tvm.quantization.capture import Captured
from irnn_tvm.quantization.effective_weights import copied, effective_weights, memo_of_results
from irnn_tvm.quantization.inputs import Batch, CallLayout, check_tensor, flatten_call, read_calibration
from irnn_tvm.quantization.integer_model import TensorSpec
from irnn_tvm.quantization.measure import measure
from irnn_tvm.quantization.planner import Planner, check_leaf
from irnn_tvm.quantization.ptq import evaluation_mode
from irnn_tvm.quantization.report import ReportRow, print_rows
from irnn_tvm.quantization.slots import Slot
from irnn_tvm.training import checkpoint, guard, observers
from irnn_tvm.training.autocast import in_autocast, without_autocast
from irnn_tvm.training.calls import check_inputs, input_specs, is_finite, recomputing
from irnn_tvm.training.config import QatConfig
from irnn_tvm.training.content import Content
from irnn_tvm.training.emission import Emission, emit
from irnn_tvm.training.simulation import Simulation
from irnn_tvm.training.uncounted import UncountedSteps

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
    step. Autocast is left inside, torch.compile runs it as it is. It can be deep-copied, and pickled by torch.save.

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
        self.settled = False  # ranges are those of `calibrate`, and no training step has moved them since
        self.recent: deque[Batch] = deque(maxlen=KEPT_BATCHES)
        self.guard = guard.Guard(self)
        self._first: tuple[CallLayout, tuple[Tensor, ...]] | None = None
        self._specs: list[TensorSpec] = []
        self._emission: tuple[Content, Emission] | None = None
        self._pending: dict[str, Any] | None = None
        self._uncounted = UncountedSteps()

    @property
    def phase(self) -> str:
        """What the next training step does: "float", "observe", "learn" or "frozen"."""
        phase = self.config.phase(self.steps)
        return "observe" if phase in ("learn", "frozen") and not self.observed else phase

    def capture(self, layout: CallLayout, tensors: tuple[Tensor, ...]) -> None:
        """Traces the float model on one call. Raises UnsupportedModuleError for what has no integer version."""
        for name, tensor in zip(layout.names, tensors, strict=True):
            check_tensor(name, tensor, "the first call")
        self._first = layout, tuple(t.detach() for t in tensors)
        try:
            self._trace()
        except BaseException:
            self._first = self.captured = self.planner = self.simulation = None
            raise
        assert self.planner is not None
        if self.config.ranges == "learned" and self.range_gains is None:
            count = len(observers.observers(self.planner))
            self.range_gains = nn.Parameter(torch.zeros(count, device=tensors[0].device))
        self.recent.append(Batch(0, self._first[1]))
        if self._pending is not None:
            self._load(self._pending)
            self._pending = None

    def _trace(self) -> None:
        """The graph, plan and simulation of the first call, whose ranges were never seen."""
        assert self._first is not None
        layout, tensors = self._first
        with evaluation_mode(self.model), torch.inference_mode(False), torch.no_grad():
            self.captured = capture_checked(self.model, layout, [Batch(0, tensors)], check_leaf)
        self.planner, self.simulation = self._plan(self.captured)
        self._specs = input_specs(self.planner, layout, tensors)

    def _plan(self, captured: Captured) -> tuple[Planner, Simulation]:
        with evaluation_mode(self.model), torch.no_grad(), effective_weights(self.model):
            planner = Planner(captured, self.config.quant)
        for slot in observers.slots(planner):
            slot.provisional = True
            if slot.tensor_class == "cell" and self.config.cell_clip is not None:
                slot.observer.limit = self.config.cell_clip
        return planner, Simulation(planner, self.config)

    @torch.compiler.disable
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """See the class.

        Raises CalibrationError in eval mode while no training step has shown the ranges, InputError for arguments of
        another structure than those of the first call, another rank or kind of dtype, or a size of 0.
        """
        if in_autocast():
            args, kwargs = tree_map(_full_precision, (args, kwargs))
        with without_autocast():
            if not self.training:
                return self._evaluate(args, kwargs)
            if recomputing():
                return self._compute(args, kwargs, again=True)
            self.guard.keep_first()
            self._uncounted.look(self)
            result = self._compute(args, kwargs)
            self.guard.watch(args, kwargs, result)
            return result

    def _evaluate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.phase == "float":
            return self.model(*args, **kwargs)
        layout, tensors = self._accept(args, kwargs)
        integer = self.emission().integer
        with _sizes_fit(layout, tensors):
            return integer.float_forward(*tensors)

    def _compute(self, args: tuple[Any, ...], kwargs: dict[str, Any], again: bool = False) -> Any:
        """A forward pass of training. again: it was computed before, and its batch was seen then."""
        phase = self.phase
        if phase == "float":
            return self.model(*args, **kwargs)
        layout, tensors = self._accept(args, kwargs)
        assert self.simulation is not None
        finite = all(is_finite(t) for t in tensors)
        if not finite:  # a grid would saturate infinity: the loss is to show it, as the float model's does
            tensors = tuple(t + (t - t) if t.is_floating_point() else t for t in tensors)
        with _sizes_fit(layout, tensors):
            if phase == "observe" and not again:
                self.observe(tensors)
            if phase != "frozen":
                self.settled = False
            self.simulation.begin(phase, self.range_gains)
            with effective_weights(self.model, again=again):
                result = self.simulate(tensors)
        if not again and finite:
            self.recent.append(Batch(len(self.recent), tuple(t.detach() for t in tensors)))
        return result

    def _accept(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[CallLayout, tuple[Tensor, ...]]:
        """The tensors of a call that agrees with the first one; the first one is traced."""
        layout, tensors = self.flatten(args, kwargs)
        if self.captured is None:
            self.capture(layout, tensors)
        assert self.captured is not None
        assert self._first is not None
        if not layout.matches(self.captured.layout):
            raise InputError(
                f"the twin was first called with {self.captured.layout.args} {self.captured.layout.kwargs}, now with "
                f"{layout.args} {layout.kwargs}: pass the same kind of arguments in every call"
            )
        check_inputs(self._specs, tensors)
        if self.training:  # any float dtype, as in eval mode
            pairs = zip(tensors, self._first[1], strict=True)
            tensors = tuple(t.to(f.dtype) if t.is_floating_point() else t for t, f in pairs)
        return layout, tensors

    def flatten(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[CallLayout, tuple[Tensor, ...]]:
        """A call's structure and its tensors."""
        item: Any = args
        if kwargs:
            names = list(inspect.signature(self.model.forward).parameters)
            item = dict(zip(names, args, strict=False)) | kwargs
        return flatten_call(self.model, item, "the call")

    def observe(self, tensors: tuple[Tensor, ...]) -> None:
        """Shows one batch of the float model to the observers. Raises CalibrationError for NaN or infinity."""
        assert self.planner is not None
        self._show(self.planner, [Batch(self.steps, tuple(t.detach() for t in tensors))])
        self.observed = True
        self._emission = None

    def _show(self, planner: Planner, batches: list[Batch]) -> None:
        with evaluation_mode(self.model), torch.no_grad(), effective_weights(self.model):
            calibrate(planner, batches)

    @public
    def calibrate(self, batches: Iterable[Any]) -> None:
        """Takes the ranges from these batches, and forgets what was seen before: evaluation and `convert` then work
        before the first step of training. Learned factors on ranges stay.

        batches: as for `irnn_tvm.quantize`; each a tensor, a tuple of positional or a dict of keyword arguments.
        Raises CalibrationError for no data, NaN or infinity, InputError for arguments unlike those of the first call;
        the ranges are then what they were.
        """
        with without_autocast():
            layout, items = read_calibration(self.model, batches)
            if self.captured is None:
                self.capture(layout, items[0].tensors)
            assert self.captured is not None
            if not layout.matches(self.captured.layout):
                raise InputError(
                    f"the twin was first called with {self.captured.layout.args} {self.captured.layout.kwargs}, "
                    f"the batches hold {layout.args} {layout.kwargs}"
                )
            for item in items:
                check_inputs(self._specs, item.tensors)
            planner, simulation = self._plan(self.captured)
            self._show(planner, items)
        self.planner, self.simulation = planner, simulation
        self.observed = self.settled = True
        self.recent.extend(Batch(i, item.tensors) for i, item in enumerate(items[-KEPT_BATCHES:]))
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

    @torch.compiler.disable
    def step(self, loss: Tensor | float | None = None) -> None:
        """Counts a training step; call it after the optimizer's.

        Raises TrainingError, naming the tensor, when the loss or a weight is not finite or a range explodes; the twin
        then holds its last good copy again (at most `snapshot_every` steps old; the optimizer is yours to make anew).
        """
        self.guard.check(loss)
        self.guard.passed()
        self._uncounted = UncountedSteps()
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
            self.simulation.gains = self.range_gains
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
        with without_autocast():
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
        """The integer model of the weights and ranges as they are now, kept until they change, in whatever way."""
        if self.captured is None and self._pending is not None:
            raise CalibrationError(
                "the twin has the ranges of a checkpoint, but it has not seen the model run: give prepare_qat an "
                "example=, or call the twin once, before converting"
            )
        if self.captured is None or not self.observed:
            raise CalibrationError(
                "no ranges were seen yet: run at least one training step (twin.train(); twin(batch)) in phase "
                '"observe", or call twin.calibrate(batches), before evaluating or converting; the twin is at step '
                f'{self.steps}, phase "{self.phase}"'
            )
        if self._emission is None or not self._emission[0].is_of(self):
            for name, parameter in self.named_parameters():
                if not is_finite(parameter):
                    raise CalibrationError(
                        f"weight {name!r} holds NaN or infinity: it has no integers; twin.restore() goes back to the "
                        "last good copy"
                    )
            with (
                evaluation_mode(self.model),
                without_autocast(),
                torch.inference_mode(False),
                torch.no_grad(),
                effective_weights(self.model),
            ):
                self._emission = Content(self), emit(self)
        return self._emission[1]

    @public
    def report(self) -> list[ReportRow]:
        """One row per quantized tensor of the integer model as it is now: scale, range, saturation and noise on the
        latest training batches. Raises CalibrationError as evaluation does."""
        emission = self.emission()
        with (
            evaluation_mode(self.model),
            without_autocast(),
            torch.inference_mode(False),
            torch.no_grad(),
            effective_weights(self.model),
        ):
            return measure(emission.planner, emission.emitter, emission.integer, list(self.recent))

    def print_report(self) -> None:
        """Prints `report` as a table."""
        print_rows(f"{type(self.model).__name__} at step {self.steps} ({self.phase})", self.report())

    def get_extra_state(self) -> dict[str, Any]:
        """Steps, observers, the latest batches and the settings, as plain data, for state_dict."""
        state: dict[str, Any] = {
            "steps": self.steps,
            "observed": self.observed,
            "settled": self.settled,
            "seen": observers.save(self.planner) if self.planner is not None else None,
            "recent": checkpoint.pack_batches(self.recent),
            "first": dict(self.guard.first),
            "config": checkpoint.settings(self.config),
        }
        if self.planner is None and self._pending is not None:
            state["seen"], state["recent"] = self._pending["seen"], self._pending.get("recent", [])
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes over what get_extra_state returned; before the first call it is kept until then."""
        self.steps, self.observed = int(state["steps"]), bool(state["observed"])
        self.settled = bool(state.get("settled", False))
        self.guard.first = dict(state.get("first", {}))
        if self.planner is None:
            self._pending = dict(state) if state["seen"] is not None else None
        else:
            self._load(state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state = state_dict.get(f"{prefix}_extra_state")
        if isinstance(state, dict):  # before anything is taken over
            self._check_state(state)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check_state(self, state: dict[str, Any]) -> None:
        checkpoint.check_settings(self.config, state.get("config", {}))
        if self.planner is not None and state["seen"] is not None:
            observers.check(self.planner, state["seen"])

    def _load(self, state: dict[str, Any]) -> None:
        assert self.planner is not None
        assert self.simulation is not None
        self._check_state(state)
        if state["seen"] is not None:
            observers.load(self.planner, state["seen"])
        if state.get("recent"):
            self.recent.clear()
            self.recent.extend(checkpoint.unpack_batches(state["recent"]))
        self.simulation.gains = self.range_gains
        self.simulation.tables.clear()
        self.simulation.forget()
        self._emission = None

    def __getstate__(self) -> dict[str, Any]:
        """Graph and plan are made again from the first call; what was seen goes along as in a checkpoint."""
        state = dict(vars(self))
        state |= dict.fromkeys(("captured", "planner", "simulation", "_emission"))
        state["guard"] = self.guard.good
        state["_uncounted"] = None
        state["_extra"] = self.get_extra_state()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        extra, good = state.pop("_extra"), state.pop("guard")
        super().__setstate__(state)
        self._uncounted = UncountedSteps()
        self.guard = guard.Guard(self)
        self.guard.good = good
        if self._first is not None:
            parameter = next(self.model.parameters(), None)
            if parameter is not None:  # the twin may have moved since
                self._first = self._first[0], tuple(t.to(parameter.device) for t in self._first[1])
            self._trace()
        self.set_extra_state(extra)

    def __deepcopy__(self, memo: dict[int, Any]) -> QatModel:
        memo.update(memo_of_results(self))
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin

    def extra_repr(self) -> str:
        return f"steps={self.steps}, phase={self.phase!r}"


def _full_precision(value: Any) -> Any:
    """What other layers made in autocast, as float32."""
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


@contextmanager
def _sizes_fit(layout: CallLayout, tensors: tuple[Tensor, ...]) -> Iterator[None]:
    """Turns what torch raises for sizes that do not fit together into an InputError with the shapes."""
    try:
        yield
    except (RuntimeError, IndexError, ValueError) as error:
        shapes = ", ".join(f"{n}: {tuple(t.shape)}" for n, t in zip(layout.names, tensors, strict=True))
        raise InputError(f"the model cannot run on this call ({shapes}): {error}") from error
