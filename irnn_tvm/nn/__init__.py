"""Float layers that torch.nn lacks and that have an integer version here."""

from irnn_tvm.nn.gru import GRU

__all__ = ["GRU"]
