"""the user's model is changed: ..state10 was NoneType and is list"""

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
        self.rnn2 = nn.RNN(6, 16, batch_first=True)
        self.frame7 = nn.Linear(6, 3)
        self.rnn9 = nn.LSTM(6, 4, batch_first=True)
        self.state10 = None

    def forward(self, x):
        y1 = x[..., :2]
        _, h4 = self.rnn2(x)
        h4 = h4[-1]
        b, t, f = x.shape
        y6 = self.frame7(x.reshape(b * t, f)).reshape(b, t, -1)
        y8, self.state10 = self.rnn9(x, self.state10)
        y8[0].mul_(2)
        y11 = torch.neg(h4)
        y12 = y8.repeat(1, 2, 1)
        y13 = F.scaled_dot_product_attention(y6, y6, y6)
        y14 = torch.sigmoid(y13) * y6 + (1 - torch.sigmoid(y13)) * y13
        return (y14, y1, y11)
