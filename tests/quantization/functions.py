"""A table of functions and activation layers, each behind a linear layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from networks import Network, rows
from torch import Tensor, nn
from torch.nn import functional as F


class Function(nn.Module):
    """A Linear, then the function under test."""

    def __init__(self, function: Callable[[Tensor], Any], features: int = 6) -> None:
        super().__init__()
        self.linear = nn.Linear(8, features)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.linear(x))


FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh_method": lambda x: x.tanh(),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "hardswish": F.hardswish,
    "mish": F.mish,
    "exp": torch.exp,
    "abs": lambda x: x.abs(),
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "clamp": lambda x: x.clamp(-0.5, 1.0),
    "clamp_min": lambda x: x.clamp(min=0),
    "relu_in_place": lambda x: x.relu_(),
    "affine": lambda x: x * 2 + 1,
    "reflected": lambda x: 1 - x,
    "negated": lambda x: -x,
    "divided": lambda x: x / 3,
    "subtracted": lambda x: torch.sub(x, 0.5, alpha=2),
    "square": lambda x: x * x,
    "gated": lambda x: x.sigmoid() * x,
    "permute": lambda x: x.permute(1, 0, 2),
    "reshape": lambda x: x.reshape(x.size(0), -1),
    "view": lambda x: x.view(x.shape[0] * x.shape[1], -1),
    "flatten": lambda x: torch.flatten(x, 1),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "index": lambda x: x[:, -1],
    "ellipsis": lambda x: x[..., 1:3],
    "step": lambda x: x[:, ::2],
    "select": lambda x: x.select(1, 0),
    "chunk": lambda x: x.chunk(2, -1),
    "split": lambda x: torch.split(x, 3, 2),
    "stack": lambda x: torch.stack([x, x]),
    "cat": lambda x: torch.cat([x, x[:, :1]], 1),
    "cat_zeros": lambda x: torch.cat([x, torch.zeros(x.size(0), x.size(1), 2)], 2),
    "pad": lambda x: F.pad(x, (0, 0, 2, 0)),
    "narrow": lambda x: x.narrow(2, 1, 2).contiguous(),
    "repeat": lambda x: x.repeat(1, 2, 1),
    "unbind": lambda x: x.unbind(1),
    "matrix_transpose": lambda x: x.mT,
    "list": lambda x: [x, x[0]],
    "dictionary": lambda x: {"a": x, "b": x + x},
    "same_dtype": lambda x: x.float().to(x.dtype),
}
LAYERS: list[nn.Module] = [
    nn.GELU(), nn.SiLU(), nn.Softplus(), nn.ELU(), nn.LeakyReLU(), nn.Hardswish(), nn.PReLU(), nn.Sigmoid(),
    nn.ReLU6(), nn.Hardtanh(), nn.SELU(), nn.Hardsigmoid(), nn.Softsign(), nn.LogSigmoid(), nn.ReLU(inplace=True),
    nn.Identity(), nn.Flatten(), nn.Tanh(), nn.Mish(), nn.CELU(),
]  # fmt: skip
FUNCTION_NETWORKS = [
    Network(name, lambda f=function: Function(f), rows(3, 4, 8), 28.0)  # type: ignore[misc]
    for name, function in FUNCTIONS.items()
] + [
    Network(f"layer_{type(layer).__name__}", lambda m=layer: Function(m), rows(3, 4, 8), 28.0)  # type: ignore[misc]
    for layer in LAYERS
]
