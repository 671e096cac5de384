"""Integer layers: buffers and plain integers around one call of a torch.ops.irnn operator each."""

from irnn_tvm.quantization.modules.integer_conv1d import IntegerConv1d
from irnn_tvm.quantization.modules.integer_embedding import IntegerEmbedding
from irnn_tvm.quantization.modules.integer_gru import IntegerGRU, IntegerGRULayer
from irnn_tvm.quantization.modules.integer_linear import IntegerLinear
from irnn_tvm.quantization.modules.integer_lstm import IntegerLSTM, IntegerLSTMLayer
from irnn_tvm.quantization.modules.integer_lstm_general import IntegerLSTMGeneralLayer
from irnn_tvm.quantization.modules.integer_norm import IntegerNorm
from irnn_tvm.quantization.modules.integer_pwl import IntegerPWL

__all__ = [
    "IntegerConv1d",
    "IntegerEmbedding",
    "IntegerGRU",
    "IntegerGRULayer",
    "IntegerLSTM",
    "IntegerLSTMGeneralLayer",
    "IntegerLSTMLayer",
    "IntegerLinear",
    "IntegerNorm",
    "IntegerPWL",
]
