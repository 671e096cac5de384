"""Runs inferences of a peer inside an emulated machine, for ../peer_instructions.py, which has written its files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from workloads import CALLS, WORKLOADS

from peers import FilePeer, example, litert, ncnn_int8, onnx_runtime

PEERS: dict[str, FilePeer] = {
    peer.name: peer
    for peer in (onnx_runtime.F32, onnx_runtime.INT8_ARM, litert.HYBRID, litert.INT8, ncnn_int8.INT8)
}
WARM_UP = 3


def main(name: str, workload: str, steps: str, folder: str, calls: str) -> None:
    """Writes what the last call returned: output.npy."""
    where, chosen, times = Path(folder), (WORKLOADS | CALLS)[workload], WARM_UP + int(calls)
    inference = PEERS[name].load(chosen, int(steps), 1, where)
    steps_of_a_stream = example(times, 1, chosen.hidden)
    for time in range(times):
        if chosen.streams(int(steps)):
            inference.x[...] = steps_of_a_stream[:, time : time + 1]
        y = inference.run()
    np.save(where / "output.npy", inference.output(y))


if __name__ == "__main__":
    main(*sys.argv[1:])
