"""Nonlinear functions of one tensor: a piecewise-linear table fitted to the calibrated distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.evaluate import evaluate
from irnn_tvm.quantization.modules.integer_pwl import IntegerPWL
from irnn_tvm.quantization.observers import Histogram
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Slot, Value
from irnn_tvm.quantization.tables import fit_table, sigmoid_qparams, tanh_qparams

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

MODULES = (
    nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Hardswish,
    nn.Hardsigmoid, nn.LogSigmoid, nn.Mish, nn.Softsign, nn.Tanhshrink, nn.PReLU,
)  # fmt: skip
FUNCTIONS = (
    torch.sigmoid, torch.tanh, F.sigmoid, F.tanh, F.gelu, F.silu, F.softplus, F.elu, F.selu, F.celu,
    F.leaky_relu,
    F.hardswish, F.hardsigmoid, F.logsigmoid, F.mish, F.softsign, F.tanhshrink, torch.exp, torch.abs,
    torch.square,
    torch.selu, torch.celu, torch.special.expit, torch.sin, torch.cos, torch.erf,
)  # fmt: skip
METHODS = ("sigmoid", "tanh", "exp", "abs", "square", "sin", "cos", "erf")


@Registry.register(modules=MODULES, functions=FUNCTIONS, methods=METHODS)
class ActivationOp(Op):
    """y = table(x); the table holds the function with its arguments (slope, beta ...) as captured."""

    kind = "pwl"

    def plan(self) -> Value:
        if isinstance(self.module, nn.PReLU) and self.module.num_parameters != 1:
            raise self.refuse("PReLU is supported with one slope for all channels, not one per channel")
        self.source = self.slot(self.argument(0, "input"), "pwl")
        for argument in (*self.node.args[1:], *self.node.kwargs.values()):
            if argument is not self.argument(0, "input"):
                self.plain(argument, "an argument")
        name = self.planner.describe(self.node).removeprefix("Tensor.").lower().rstrip("_")
        known = {"sigmoid": sigmoid_qparams, "expit": sigmoid_qparams, "tanh": tanh_qparams}
        slot = self.planner.new_slot(self.label, flexible=True, fixed=known.get(name))
        slot.watch(self.node)
        self.histogram = Histogram()
        return slot

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.histogram.update(args[0] if args else kwargs["input"])

    def function(self) -> Callable[[np.ndarray], np.ndarray]:
        """The float function, vectorised in float64 (float32 where the layer has parameters)."""
        dtype = torch.float32 if self.module is not None and list(self.module.parameters()) else torch.float64

        def apply(values: np.ndarray) -> np.ndarray:
            module = self.module
            x = torch.from_numpy(np.asarray(values)).to(dtype)
            if module is not None:
                parameter = next(module.parameters(), None)
                x = x.to(parameter) if parameter is not None else x
            args = (x, *self.node.args[1:]) if self.node.args else ()
            kwargs = {k: x if k == "input" else v for k, v in self.node.kwargs.items()}
            args, kwargs = torch.fx.map_arg((args, kwargs), lambda n: n.meta["value"])
            with torch.no_grad():
                y: Tensor = evaluate(self.node, args, kwargs, module)
            result: np.ndarray = y.double().cpu().numpy()
            return result

        return apply

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert isinstance(self.value, Slot)
        x = args[0] if args else kwargs["input"]
        grid, out = self.source.qparams, self.value.qparams
        return sim.function(x, self.function(), self.label, grid, out, self.histogram)

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        out: QParams = self.value.qparams
        table = fit_table(self.function(), self.config.pwl_pieces, self.source.qparams, out, self.histogram)
        module = IntegerPWL(torch.from_numpy(table.table.copy()), table.shift, out.bits)
        x = emitter.env[self.argument(0, "input")]
        return emitter.layer(self.label, module, x)
