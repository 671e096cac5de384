"""Float layers that torch.nn lacks and that have an integer version here."""

from irnn_tvm.nn.attention import AdditiveAttention
from irnn_tvm.nn.growing_memory import GrowingMemory
from irnn_tvm.nn.gru import GRU
from irnn_tvm.nn.lstm import LSTM
from irnn_tvm.nn.mad_norm import MadNorm
from irnn_tvm.nn.masks import causal_mask, lengths_to_mask, masked_softmax

__all__ = [
    "GRU",
    "LSTM",
    "AdditiveAttention",
    "GrowingMemory",
    "MadNorm",
    "causal_mask",
    "lengths_to_mask",
    "masked_softmax",
]
