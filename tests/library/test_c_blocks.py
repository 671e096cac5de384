"""The C of README and of the pages, compiled and run with a library that is built for this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm import Library

ROOT = Path(__file__).resolve().parents[2]
# What a reader's program has besides, by a name that the block defines or calls. Values of outputs are printed.
HARNESS = {
    "read_features": """
#include <stdio.h>
#include <stdlib.h>
static int calls;
void read_features(NET_INPUT_0_T *to) {
  if (calls++ == 6) exit(0);
  for (int i = 0; i < NET_INPUT_0_SIZE; ++i) to[i] = (NET_INPUT_0_T)(7 * calls + 3 * i);
}
void use(const NET_OUTPUT_0_T *scores) {
  for (int i = 0; i < NET_OUTPUT_0_SIZE; ++i) printf("%d\\n", scores[i]);
}
""",
    "step_of_floats": """
#include <stdio.h>
IRNN_ALIGNED static unsigned char state[NET_STATE_BYTES], arena[NET_ARENA_BYTES];
int main(void) {
  float features[NET_INPUT_0_SIZE], scores[NET_OUTPUT_0_SIZE];
  if (net_init(state) != IRNN_OK) return 1;
  for (int t = 0; t < 4; ++t) {
    for (int i = 0; i < NET_INPUT_0_SIZE; ++i) features[i] = 0.25f * (float)i - 0.3f * (float)t;
    if (step_of_floats(state, arena, features, scores) != IRNN_OK) return 2;
    for (int i = 0; i < NET_OUTPUT_0_SIZE; ++i) printf("%a\\n", scores[i]);
  }
  return 0;
}
""",
    "resume": """
IRNN_ALIGNED static unsigned char state[NET_STATE_BYTES], saved[NET_SNAPSHOT_BYTES];
int main(void) {
  if (resume(state, saved) != IRNN_OK || net_save(state, saved) != IRNN_OK) return 1;
  return resume(state, saved);
}
""",
    "keywords_step": "",
    "net_fetch": """
#include <stdio.h>
#include <string.h>
static int wanted, misses;
void start_transfer(void *to, const void *from, int32_t bytes) {
  misses += wanted;
  wanted = 1;
  memcpy(to, from, (size_t)bytes);
}
void wait_for_transfer(void) { wanted = 0; }
IRNN_ALIGNED static unsigned char state[NET_STATE_BYTES], arena[NET_ARENA_BYTES];
int main(void) {
  NET_INPUT_0_T x[NET_INPUT_0_SIZE];
  NET_OUTPUT_0_T y[NET_OUTPUT_0_SIZE];
  if (net_init(state) != IRNN_OK) return 1;
  for (int t = 1; t < 7; ++t) {
    for (int i = 0; i < NET_INPUT_0_SIZE; ++i) x[i] = (NET_INPUT_0_T)(7 * t + 3 * i);
    if (net_step(state, arena, x, y) != IRNN_OK) return 2;
    for (int i = 0; i < NET_OUTPUT_0_SIZE; ++i) printf("%d\\n", y[i]);
  }
  return misses;
}
""",
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(10, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.rnn(x)[0])
        return output


@cache
def _model() -> irnn_tvm.IntegerModel:
    torch.manual_seed(6)
    return irnn_tvm.quantize(Net().eval(), [torch.randn(4, 9, 10) for _ in range(2)])


def _blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in (ROOT / "README.md", ROOT / "docs/targets.md", ROOT / "docs/microcontrollers.md")
        for number, block in enumerate(re.findall(r"```c\n(.*?)```", page.read_text(), re.DOTALL))
    ]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Library]:
    folder = tmp_path_factory.mktemp("blocks")
    return cache(lambda name: irnn_tvm.build(_model(), "host", out=folder / name, name=name))


def _expected(which: str, library: Library) -> list[str]:
    """What the program prints, by Python."""
    stream, lines = library.stream(), []
    (x,), (y,) = library.inputs, library.outputs
    if which in ("read_features", "net_fetch"):
        for call in range(1, 7):
            given = (7 * call + 3 * np.arange(10)).astype(x.dtype).reshape(1, 1, 10)
            lines += [str(value) for value in stream.step(given).ravel()]
    if which == "step_of_floats":
        for t in range(4):
            features = np.float32(0.25) * np.arange(10, dtype=np.float32) - np.float32(0.3) * np.float32(t)
            result = y.dequantize(stream.step(x.quantize(features).reshape(1, 1, 10)))
            lines += [float(value).hex() for value in result.ravel()]
    return lines


@pytest.mark.parametrize("block", _blocks())
def test_a_block_compiles_and_runs(
    block: str, libraries: Callable[[str], Library], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    which = next(name for name in HARNESS if re.search(rf"\b{name}\(", block))
    (name,) = re.findall(r'#include "(\w+)\.h"', block)
    library = libraries(name)
    source = tmp_path / "main.c"
    source.write_text(block + HARNESS[which])
    command = [
        require_tool("gcc"),
        "-std=c99",
        "-O1",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
    ]
    command += ["-fsanitize=address,undefined", str(source)]
    if which == "net_fetch":  # sources for a microcontroller run anywhere
        folder = tmp_path / "sources"
        streamed = {"sources": True, "stream_weights": ".ext_flash"}
        built = irnn_tvm.build(_model(), "cortex-m4", out=folder, name=name, **streamed)  # type: ignore[arg-type]
        command += ["-I", str(folder), *(str(folder / file) for file in built.report["files"]["sources"])]
    else:
        command += ["-I", str(library.directory)]
        command += ["-L", str(library.directory), f"-l{name}", f"-Wl,-rpath,{library.directory}"]
    subprocess.run([*command, "-o", str(tmp_path / "main")], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = [float.fromhex(word).hex() if "x" in word else word for word in done.stdout.split()]
    assert printed == _expected(which, library)


def test_every_page_has_its_blocks() -> None:
    assert len(_blocks()) >= 5  # of all pages
