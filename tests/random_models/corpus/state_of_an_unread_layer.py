"""KeyError in quantize: the layer whose state is kept was no part of the graph, since nothing reads its output."""

import torch
from torch import nn

INPUTS = {"x": "B T 6"}
LENGTH = None
TARGETS = ("host",)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.rnn = nn.GRU(6, 6, batch_first=True)
        self.state = None

    def forward(self, x):
        y = self.linear(x)
        _, self.state = self.rnn(y, self.state)
        return torch.tanh(y)
