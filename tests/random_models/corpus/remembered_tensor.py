"""silent: the tensor of the first call was a constant of the integer model, whatever its input."""

from torch import nn

INPUTS = {"x": "B T 6"}
LENGTH = None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.cache = {}

    def forward(self, x):
        y = self.linear(x)
        return self.cache.setdefault("y", y) * 2
