"""Importing this module registers every irnn.* Relax operator (a process-wide effect, so it happens once)."""

from . import (
    add,
    clamp,
    concat,
    conv1d,
    embedding,
    gru,
    layer_norm,
    linear,
    lstm,
    mad_norm,
    mul,
    pwl,
    requantize,
)

OPERATORS = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        add,
        clamp,
        concat,
        conv1d,
        embedding,
        gru,
        layer_norm,
        linear,
        lstm,
        mad_norm,
        mul,
        pwl,
        requantize,
    )
}
