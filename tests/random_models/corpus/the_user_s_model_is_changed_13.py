"""the user's model is changed: .._buffers.state8 has other values"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import irnn_tvm.nn

INPUTS = {"x": "B T 8"}
ONE_BATCH = True
LENGTH = None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn1 = nn.LSTM(8, 4, batch_first=True)
        self.norm6 = nn.LayerNorm(8, elementwise_affine=False)
        self.register_buffer("state8", torch.ones(8))

    def forward(self, x):
        h3 = self.rnn1(x)[1][0][0]
        F.relu(h3, inplace=True)
        y5 = self.norm6(x)
        y7 = x + self.state8
        self.state8.copy_(torch.tanh(y7[0, -1]))
        return (y7, h3, y5)
