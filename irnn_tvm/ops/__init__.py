"""The reference: integer operators as torch custom ops (torch.ops.irnn.*). They define the answer on every target.

Importing this package imports torch and registers the operators; `irnn_tvm.ops.qparams` and `irnn_tvm.ops.pwl_fit`
hold the parameter arithmetic that goes with them.
"""

from irnn_tvm.ops.add import add
from irnn_tvm.ops.additive_scores import additive_scores
from irnn_tvm.ops.append import append
from irnn_tvm.ops.argmax import argmax
from irnn_tvm.ops.attention import attention
from irnn_tvm.ops.avg_pool1d import avg_pool1d
from irnn_tvm.ops.clamp import clamp
from irnn_tvm.ops.concat import concat
from irnn_tvm.ops.conv1d import conv1d
from irnn_tvm.ops.embedding import embedding
from irnn_tvm.ops.gru import gru
from irnn_tvm.ops.gru_norm import gru_norm
from irnn_tvm.ops.layer_norm import layer_norm
from irnn_tvm.ops.linear import linear
from irnn_tvm.ops.lstm import lstm
from irnn_tvm.ops.lstm_general import lstm_general
from irnn_tvm.ops.mad_norm import mad_norm
from irnn_tvm.ops.matmul import matmul
from irnn_tvm.ops.max_pool import max_pool
from irnn_tvm.ops.max_pool1d import max_pool1d
from irnn_tvm.ops.mean_pool import mean_pool
from irnn_tvm.ops.mul import mul
from irnn_tvm.ops.pwl import pwl
from irnn_tvm.ops.pwl_fit import PwlTable, fit
from irnn_tvm.ops.qparams import QParams, multiplier
from irnn_tvm.ops.quantize import dequantize, quantize
from irnn_tvm.ops.requantize import requantize
from irnn_tvm.ops.rnn import rnn
from irnn_tvm.ops.softmax import softmax
from irnn_tvm.ops.sum_pool import sum_pool
from irnn_tvm.ops.topk import topk

__all__ = [
    "PwlTable",
    "QParams",
    "add",
    "additive_scores",
    "append",
    "argmax",
    "attention",
    "avg_pool1d",
    "clamp",
    "concat",
    "conv1d",
    "dequantize",
    "embedding",
    "fit",
    "gru",
    "gru_norm",
    "layer_norm",
    "linear",
    "lstm",
    "lstm_general",
    "mad_norm",
    "matmul",
    "max_pool",
    "max_pool1d",
    "mean_pool",
    "mul",
    "multiplier",
    "pwl",
    "quantize",
    "requantize",
    "rnn",
    "softmax",
    "sum_pool",
    "topk",
]
