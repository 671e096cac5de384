"""Rows of softmax, attention and products of activations for the table in cases.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOFTMAX: dict[str, Mapping[str, Any]] = {
    "16to16": dict(shape=(3, 7, 33)),
    "8to8": dict(shape=(3, 7, 33), bits=8, to=8, scale=0.05),
    "16to8-pieces8": dict(shape=(5, 64), to=8, pieces=8),
    "8to16-pieces64": dict(shape=(2, 3, 2, 17), bits=8, pieces=64, scale=0.1),
    "one-key": dict(shape=(20, 1)),
    "one-row": dict(shape=(129,)),
    "flat": dict(shape=(1, 31), scale=1e-7),
    "steep": dict(shape=(1, 31), scale=0.9),
    "long": dict(shape=(1, 1, 1500), scale=3e-4),
    "lengths": dict(shape=(4, 5, 13), lengths=True),
    "lengths-two-axes": dict(shape=(3, 13), lengths=True, bits=8, to=8, scale=0.05),
    "lengths-heads": dict(shape=(3, 2, 5, 13), lengths=True),
    "causal": dict(shape=(2, 9, 9), causal=True),
    "causal-lengths-rank2": dict(shape=(9, 13), causal=True, lengths=True),
    "causal-wide-lengths": dict(shape=(2, 3, 5, 12), causal=True, lengths=True, to=8),
}

ATTENTION: dict[str, Mapping[str, Any]] = {
    "one-head": dict(b=2, tq=5, tk=7, d=12),
    "three-heads": dict(b=2, tq=5, tk=7, d=12, heads=3),
    "to16": dict(b=1, tq=4, tk=11, d=8, heads=2, to=16),
    "values-of-another-size": dict(b=2, tq=3, tk=5, d=6, v=21, heads=3),
    "one-query": dict(b=3, tq=1, tk=17, d=33),
    "one-key": dict(b=3, tq=5, tk=1, d=5),
    "one-feature": dict(b=2, tq=4, tk=9, d=1),
    "heads-of-one-feature": dict(b=2, tq=4, tk=9, d=5, heads=5),
    "lengths": dict(b=4, tq=3, tk=9, d=10, heads=2, lengths=4),
    "lengths-shared-by-heads": dict(b=6, tq=3, tk=9, d=10, lengths=2),
    "causal": dict(b=2, tq=9, tk=9, d=8, heads=2, causal=True),
    "causal-lengths": dict(b=3, tq=7, tk=7, d=8, causal=True, lengths=3, to=16),
    "extreme-zero-points": dict(b=2, tq=5, tk=7, d=12, q_zp=-128, v_zp=127, out_zp=127),
    "steep": dict(b=2, tq=6, tk=13, d=16, heads=2, score=0.5),
    "flat": dict(b=2, tq=6, tk=13, d=16, heads=2, score=1e-6),
    "saturating": dict(b=2, tq=6, tk=13, d=16, gain=16.0),
    "pieces8": dict(b=2, tq=6, tk=13, d=16, pieces=8),
    "long": dict(b=1, tq=2, tk=700, d=4, score=1e-4),
}

MATMUL: dict[str, Mapping[str, Any]] = {
    "8-8": dict(m=5, k=17, n=8, lead=(2, 3)),
    "8-8-transposed": dict(m=5, k=17, n=8, lead=(2, 3), transposed=True),
    "one-column": dict(m=33, k=9, n=1),
    "one-row": dict(m=1, k=65, n=33),
    "one-term": dict(m=7, k=1, n=13),
    "rank2": dict(m=16, k=16, n=7, lead=()),
    "rank2-transposed": dict(m=7, k=31, n=9, lead=(), transposed=True, to=16),
    "extreme-zero-points": dict(m=6, k=16, n=12, a_zp=-128, b_zp=127, out_zp=127, gain=0.3),
    "16-8": dict(m=6, k=33, n=10, a=16, a_zp=0, to=16),
    "16-16-saturating-sum": dict(m=6, k=300, n=10, a=16, b=16, a_zp=0, b_zp=0, to=16, gain=64.0),
    "8-16-transposed": dict(m=6, k=33, n=5, b=16, b_zp=0, transposed=True),
    "largest-sum": dict(m=2, k=33025, n=2, lead=(), a_zp=-128, b_zp=-128, to=16),
    "beyond-int32": dict(m=2, k=33026, n=2, lead=(), a_zp=-128, b_zp=-128, to=16),
    "to32": dict(m=6, k=20, n=11, to=32, out_zp=0),
    "saturating": dict(m=6, k=20, n=11, gain=16.0),
}

APPEND: dict[str, Mapping[str, Any]] = {
    "8": dict(b=4, m=6, d=5),
    "16": dict(b=3, m=5, d=8, bits=16),
    "one-row": dict(b=3, m=1, d=7),
    "one-feature": dict(b=5, m=17, d=1),
}

ADDITIVE_SCORES: dict[str, Mapping[str, Any]] = {
    "16-16": dict(b=2, tq=3, tk=9, h=17),
    "8-8": dict(b=2, tq=3, tk=9, h=17, q=8, k=8),
    "16-8-pre8": dict(b=2, tq=3, tk=9, h=17, k=8, pre=8),
    "one-query-one-key": dict(b=40, tq=1, tk=1, h=6),
    "one-feature": dict(b=2, tq=5, tk=13, h=1),
    "to8": dict(b=3, tq=4, tk=7, h=33, to=8, out_zp=-101),
    "pieces8": dict(b=2, tq=3, tk=11, h=12, pieces=8),
    "saturating": dict(b=2, tq=3, tk=11, h=12, gain=64.0),
}

ATTENDING: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "softmax": SOFTMAX,
    "attention": ATTENTION,
    "matmul": MATMUL,
    "append": APPEND,
    "additive_scores": ADDITIVE_SCORES,
}
