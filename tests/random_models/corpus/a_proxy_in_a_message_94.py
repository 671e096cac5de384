"""a proxy in a message: Model cannot be captured: int() argument must be a string, a bytes-like object or a real number, not '_Proxy' [model.py:26: y11"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import irnn_tvm.nn

INPUTS = {"x": "B T 4"}
LENGTH = None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn1 = nn.RNN(4, 4, batch_first=True, num_layers=2)
        self.rnn5 = nn.RNN(4, 5, bias=False)
        self.shared10 = nn.RNN(4, 4, batch_first=True)

    def forward(self, x):
        y2, _ = self.rnn1(x)
        h7 = self.rnn5(x.transpose(0, 1))[1].transpose(0, 1).flatten(1)
        y9 = self.shared10(y2)[0] + self.shared10(x)[0]
        y11 = y9[:, int(y9.size(1) * 0.5)]
        return (y11, h7)
