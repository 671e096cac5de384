"""silent: a library took any length although the linear layer fixes it, and returned stale memory."""

from torch import nn

INPUTS = {"x": "B 8 6"}
LENGTH = 8
TARGETS = ("host", "c")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(6, 6, batch_first=True)
        self.head = nn.Linear(48, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0].flatten(1))
