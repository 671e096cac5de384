"""Small layers to tune, and libraries that misbehave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from serving import free_port, started
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import IntegerModel
from irnn_tvm.compiler import toolchain
from irnn_tvm.targets import get
from irnn_tvm.tuning.runners.local import save_data


class Small(nn.Module):
    """features [1, T, 12] -> scores of every step, by a recurrent and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(12, 24, batch_first=True), nn.Linear(24, 20)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


@cache
def small() -> IntegerModel:
    torch.manual_seed(8)
    return irnn_tvm.quantize(Small().eval(), [torch.randn(3, 9, 12) for _ in range(2)])


@pytest.fixture(scope="session")
def model() -> IntegerModel:
    return small()


_HEAD = """
typedef struct {{ int kind; unsigned padding; long long value; }} any;
static int say(any *result, long long value) {{
  result->kind = 1;
  result->padding = 0;
  result->value = value;
  return 0;
}}
int __tvm_ffi_init(void *self, const any *args, int count, any *result) {{
  (void)self; (void)args; (void)count; return say(result, 0);
}}
int __tvm_ffi_step(void *self, const any *args, int count, any *result) {{
  (void)self; (void)args; (void)count; {body} return say(result, {code});
}}
"""
# What a candidate may do: die, never come back, do nothing, return an error.
BEHAVIOUR = {
    "crash": ("*(volatile int *)8 = 1;", 0),
    "hang": ("for (volatile int on = 1; on;) {}", 0),
    "idle": ("", 0),
    "error": ("", -5),
}


@pytest.fixture(scope="session")
def library_that(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """library_that("crash"): its folder, and a file of inputs and expected outputs (ones). For another target than this
    machine: library_that("crash", "armv7")."""

    @cache
    def make(behaviour: str, target: str = "host") -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(behaviour)
        body, code = BEHAVIOUR[behaviour]
        (folder / "it.c").write_text(_HEAD.format(body=body, code=code))
        made = toolchain.compile_object(folder / "it.c", folder / "it.o", get(target))
        symbols = ["__tvm_ffi_init", "__tvm_ffi_step"]
        toolchain.link_shared([made], folder / "libcandidate.so", get(target), symbols)
        report = {
            "files": {"library": "libcandidate.so"},
            "outputs": [{"shape": [4], "dtype": "int8"}],
            "state_bytes": 16,
            "arena_bytes": 16,
            "streamable": True,
        }
        (folder / "report.json").write_text(json.dumps(report))
        save_data(folder / "data.npz", [np.zeros(4, np.int8)], [np.ones(4, np.int8)])
        return folder, folder / "data.npz"

    return make


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    """HOST:PORT of an RPC tracker."""
    port = free_port()
    with started("rpc-tracker", "--port", str(port), port=port):
        yield f"127.0.0.1:{port}"
