"""the calibration data is changed: a tensor of a batch is overwritten"""

import math

import torch
import torch.nn.functional as F
from torch import nn

import irnn_tvm.nn

INPUTS = {"x": "B T 6", "z": "B T 6"}
LENGTH = None


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.act2 = nn.LeakyReLU(0.3, inplace=True)

    def forward(self, x, z):
        y1 = self.act2(z)
        return y1
