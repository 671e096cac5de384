"""raw TypeError in build for every target: a convolution within each frame had a batch of run-time size."""

from torch import nn

INPUTS = {"x": "B T 12"}
LENGTH = None
TARGETS = ("host", "c")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 5)
        self.rnn = nn.GRU(16, 6, batch_first=True)

    def forward(self, x):
        batch, steps = x.size(0), x.size(1)
        frames = self.conv(x.reshape(batch * steps, 1, 12)).relu()
        return self.rnn(frames.reshape(batch, steps, 16))[0]
