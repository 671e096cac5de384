"""the user's model is changed: ..state3 was NoneType and is Tensor"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import irnn_tvm.nn

INPUTS = {"x": "B T 6"}
ONE_BATCH = True
LENGTH = None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn2 = nn.GRU(6, 4, batch_first=True)
        self.state3 = None

    def forward(self, x):
        y1, self.state3 = self.rnn2(x, self.state3)
        return y1
