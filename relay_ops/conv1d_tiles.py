"""irnn.conv1d in tiles of output channels: windows of the input, some at a time, are the vectors of a linear layer.

The input is [channels, time], and a window is some neighbouring steps of all channels. So a block of windows first
turns the steps that it covers around, with the zero point for those outside of the sequence; a window's steps are then
copied together. That costs a copy of every activation per tap where there are products of it with all output channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax
from tvm.tirx.script import builder as T

from .kernel import MACS_ATTR, kernel
from .linear_tiles import LinearTiles, linear_tiles

Expr = Any
# Windows of a block, where they share the loads of weights, and where they do not.
SHARED_WINDOWS, SINGLE_WINDOWS = 16, 4


@dataclass(frozen=True)
class Windows:
    """Of x int8 [batch, channels, t_in], taps of a window each `dilation` steps after the last, one every `stride`."""

    batch: Expr
    channels: int
    taps: int
    stride: int
    padding: int
    dilation: int
    zero: int

    @property
    def depth(self) -> int:
        """Activations of a window."""
        return self.taps * self.channels

    def span(self, count: int) -> int:
        """Steps that `count` windows cover."""
        return (count - 1) * self.stride + (self.taps - 1) * self.dilation + 1


def conv1d_tiles(
    w: np.ndarray, bias: np.ndarray, mult: np.ndarray, shift: int, out_zp: int, bits: int
) -> LinearTiles | None:
    """w int8 [O, C, K], bias, mult int32 [O]: the products of windows, whose activations are ordered [K, C]."""
    rows = np.ascontiguousarray(w.transpose(0, 2, 1)).reshape(w.shape[0], -1)
    return linear_tiles(rows, bias, mult, SHARED_WINDOWS, shift, out_zp, bits)


def scratch(windows: Windows, tiles: LinearTiles) -> list[Any]:
    """Types of the buffers that a call needs beside its result."""
    return [relax.TensorType(list(shape), dtype) for shape, dtype in _buffers(windows, tiles)] + tiles.scratch


def _many(tiles: LinearTiles) -> int:
    return SHARED_WINDOWS if tiles.planes is None else SINGLE_WINDOWS


def _buffers(windows: Windows, tiles: LinearTiles) -> list[tuple[tuple[int, int], str]]:
    """Steps, windows, and results."""
    many = _many(tiles)
    return [
        ((windows.span(many), windows.channels), "int8"),
        ((many, windows.depth), "int8"),
        ((many, tiles.tile.rows), f"int{tiles.bits}"),
    ]


def build_tiles(windows: Windows, tiles: LinearTiles, t_in: Any, t_out: Any) -> Any:
    """PrimFunc x [B, C, t_in], weights, starts, multipliers -> y [B, O, t_out], (scratch...)."""
    batch, channels, n, many = windows.batch, windows.channels, tiles.tile.rows, _many(tiles)
    span = windows.span(many)
    blocks = (t_out + (many - 1)) // many
    outputs = 1 + len(scratch(windows, tiles))
    with kernel("conv1d", "conv1d", {MACS_ATTR: n * windows.depth}, outputs) as k:
        x = k.arg("x", (batch, channels, t_in), "int8")
        constants = tiles.open(k)
        y = k.arg("y", (batch, n, t_out), f"int{tiles.bits}")
        names = ("steps", "windows", "results")
        steps, vectors, results = (
            k.arg(name, *buffer) for name, buffer in zip(names, _buffers(windows, tiles), strict=True)
        )
        tiles.open_scratch(k)
        with T.grid(batch, blocks) as (b, i):
            with T.sblock("windows"):
                vb, first = T.axis.spatial(batch, b), T.axis.spatial(blocks, i) * many
                count = T.min(T.int64(many), t_out - first) if not isinstance(t_out, int) else None
                if count is None:
                    count = T.min(many, t_out - first) if t_out % many else many
                T.reads(
                    x[vb, 0:channels, 0:t_in], *(c[tuple(slice(0, d) for d in c.shape)] for c in constants)
                )
                T.writes(y[vb, 0:n, first : first + count])
                _turn(windows, x, vb, first, steps, span)
                _copy(windows, steps, vectors, count)
                tiles.emit(constants, vectors, count, results)
                with T.grid(n, count) as (row, v):
                    with T.sblock("store"):
                        vr, vv = T.axis.spatial(n, row), T.axis.spatial(count, v)
                        T.reads(results[vv, vr])
                        T.writes(y[vb, vr, first + vv])
                        T.buffer_store(y, results[vv, vr], [vb, vr, first + vv])
    return k.result


def _turn(windows: Windows, x: Any, vb: Expr, first: Expr, steps: Any, span: int) -> None:
    """steps[s, c] = the input of all channels from the first step of window `first` on."""
    t_in = x.shape[2]
    with T.grid(windows.channels, span) as (c, s):
        with T.sblock("turn"):
            vc, vs = T.axis.spatial(windows.channels, c), T.axis.spatial(span, s)
            T.reads(x[vb, vc, 0:t_in])
            T.writes(steps[vs, vc])
            at = first * windows.stride + vs - windows.padding
            # The last block covers steps behind the end, of windows that there are not.
            inside = T.And(at >= 0, at < t_in) if windows.padding else at < t_in
            T.buffer_store(steps, T.if_then_else(inside, x[vb, vc, at], T.int8(windows.zero)), [vs, vc])


def _copy(windows: Windows, steps: Any, vectors: Any, count: Expr) -> None:
    """vectors[v] = the steps of a window, one after the other."""
    channels = windows.channels
    with T.grid(count, windows.taps, channels) as (v, tap, c):
        with T.sblock("copy"):
            vv, vt = T.axis.spatial(count, v), T.axis.spatial(windows.taps, tap)
            vc = T.axis.spatial(channels, c)
            at = vv * windows.stride + vt * windows.dilation
            T.reads(steps[at, vc])
            T.writes(vectors[vv, vt * channels + vc])
            T.buffer_store(vectors, steps[at, vc], [vv, vt * channels + vc])
