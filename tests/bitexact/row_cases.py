"""Rows of operators over whole rows for the table in cases.py: norms, pools, argmax, top-k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NORM: dict[str, Mapping[str, Any]] = {
    "8to8": dict(bits=8, to=8),
    "8to16": dict(bits=8, to=16),
    "16to8": dict(bits=16, to=8),
    "16to16": dict(bits=16, to=16),
    "one-feature": dict(bits=8, to=16, shape=(3, 1)),
    "two-features": dict(bits=16, to=16, shape=(25, 2)),
    "rank1": dict(bits=8, to=16, shape=(67,)),
    "rank4": dict(bits=8, to=8, shape=(2, 3, 2, 17)),
    "features128": dict(bits=16, to=16, shape=(3, 128)),
    "features333": dict(bits=8, to=16, shape=(2, 333)),
    "features2000": dict(bits=16, to=16, shape=(2, 2000)),
    "large-eps": dict(bits=8, to=16, eps=1 << 24),
    "out-zp": dict(bits=8, to=8, out_zp=-128),
    "saturating": dict(bits=16, to=8, gain=40),
    "largest-gamma": dict(bits=16, to=16, gamma=2**31 - 1, beta=-(2**31 - 1), gain=2.0**-14),
    "zero-gamma": dict(bits=8, to=8, gamma=0),
}

ROWS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "layer_norm": {**NORM, "largest-eps": dict(bits=16, to=8, eps=1 << 61, beta=0, gain=2.0**7)},
    "mad_norm": {**NORM, "largest-eps": dict(bits=16, to=8, eps=1 << 48, shape=(1, 59))},
    "mean_pool": {
        "8to8-first": dict(bits=8, to=8, shape=(9, 4, 17), dim=0, in_zp=-7, out_zp=5),
        "8to8-middle": dict(bits=8, to=8, shape=(4, 9, 17), dim=1, in_zp=-128, out_zp=-128, gain=0.3),
        "8to16-last": dict(bits=8, to=16, shape=(4, 17, 9), dim=-1, in_zp=127, gain=0.2),
        "16to8": dict(bits=16, to=8, shape=(5, 70), dim=0, out_zp=3),
        "16to16": dict(bits=16, to=16, shape=(70, 5), dim=-1),
        "one-step": dict(bits=8, to=16, shape=(1, 70), dim=0, in_zp=4),
        "power-of-two": dict(bits=8, to=8, shape=(64, 70), dim=0),
        "long": dict(bits=16, to=16, shape=(4099, 2), dim=0),
        "rank1": dict(bits=8, to=8, shape=(23,), dim=0),
        "saturating": dict(bits=8, to=8, shape=(5, 70), dim=0, gain=40),
    },
    "sum_pool": {
        "8to8-first": dict(bits=8, to=8, shape=(9, 4, 17), dim=0, in_zp=-7, out_zp=5),
        "8to16-middle": dict(bits=8, to=16, shape=(4, 9, 17), dim=1, in_zp=20),
        "16to8-last": dict(bits=16, to=8, shape=(4, 17, 9), dim=-1, out_zp=-1),
        "one-step": dict(bits=16, to=16, shape=(1, 70), dim=0),
        "long": dict(bits=16, to=16, shape=(4099, 2), dim=0),
        "rank1": dict(bits=8, to=8, shape=(23,), dim=0),
    },
    "max_pool": {
        "8-first": dict(bits=8, shape=(3, 4, 17), dim=0),
        "8-middle": dict(bits=8, shape=(4, 2, 17), dim=1),
        "16-last": dict(bits=16, shape=(4, 17, 3), dim=-1),
        "one-step": dict(bits=8, shape=(1, 70), dim=0),
        "rank1": dict(bits=16, shape=(23,), dim=0),
    },
    "argmax": {
        "8-first": dict(bits=8, shape=(23, 4, 17), dim=0),
        "8-middle": dict(bits=8, shape=(4, 23, 17), dim=1),
        "16-last": dict(bits=16, shape=(4, 17, 30), dim=-1),
        "one-value": dict(bits=8, shape=(70, 1), dim=1),
        "rank1": dict(bits=16, shape=(23,), dim=0),
    },
    "topk": {
        "8-1": dict(bits=8, shape=(70, 9), k=1),
        "8-5": dict(bits=8, shape=(3, 7, 40), k=5),
        "16-3": dict(bits=16, shape=(21, 33), k=3),
        "all": dict(bits=8, shape=(2, 50), k=50),
        "ties": dict(bits=8, shape=(2, 300), k=40),
        "one-value": dict(bits=16, shape=(70, 1), k=1),
        "rank1": dict(bits=16, shape=(80,), k=60),
    },
    "avg_pool1d": {
        "2": dict(bits=8, to=8, kernel=2, stride=2),
        "3-stride1": dict(bits=8, to=16, kernel=3, stride=1, in_zp=-9),
        "padding": dict(bits=8, to=8, kernel=5, stride=2, padding=2, in_zp=100, out_zp=-3),
        "16": dict(bits=16, to=16, kernel=3, stride=3, padding=1),
        "whole": dict(bits=16, to=8, kernel=17, stride=1, batch=30),
        "1": dict(bits=8, to=8, kernel=1, stride=1, in_zp=1, out_zp=2),
    },
    "max_pool1d": {
        "2": dict(bits=8, kernel=2, stride=2),
        "3-stride1": dict(bits=16, kernel=3, stride=1),
        "padding": dict(bits=8, kernel=4, stride=3, padding=2),
        "dilation": dict(bits=16, kernel=3, stride=2, padding=1, dilation=2),
        "stride-beyond-kernel": dict(bits=8, kernel=2, stride=5, batch=9),
        "1": dict(bits=8, kernel=1, stride=1),
    },
}
