"""Importing this module registers every irnn.* Relax operator (a process-wide effect, so it happens once)."""

from importlib import import_module

# One file per operator, of the operator's name.
NAMES = (
    "add",
    "additive_scores",
    "append",
    "argmax",
    "attention",
    "avg_pool1d",
    "clamp",
    "concat",
    "conv1d",
    "embedding",
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
    "pwl",
    "requantize",
    "rnn",
    "softmax",
    "sum_pool",
    "topk",
)

OPERATORS = {name: import_module(f".{name}", __package__) for name in NAMES}
