"""InternalError in quantize: `self.layers.in` is no Python."""

from torch import nn

INPUTS = {"x": "B T 6"}
LENGTH = None
TARGETS = ("host",)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"in": nn.Linear(6, 6), "class": nn.GRU(6, 6, batch_first=True)})

    def forward(self, x):
        return self.layers["class"](self.layers["in"](x))[0]
