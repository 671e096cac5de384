"""OpenVINO in float32, from the graph that ONNX Runtime gets. It has no integer recurrent layers for CPUs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from workloads import Workload

from peers import Inference, Unsupported, example, only_plain, onnx_graph

NAME = "openvino f32"
# One thread where the process is, and no narrower floats.
SETTINGS = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
}


def prepare(workload: Workload, steps: int, batch: int) -> Inference:
    only_plain(workload)
    streams = workload.streams(steps)
    try:
        import openvino
        import openvino.passes

        request = compiled(openvino, workload, steps, batch, streams)
    except ImportError as error:
        raise Unsupported(f"{error.name} is not installed") from error
    x = np.ascontiguousarray(example(steps, batch, workload.hidden).transpose(1, 0, 2))
    request.set_tensor("x", openvino.Tensor(x, shared_memory=True))
    y = request.get_tensor("y").data
    return Inference(x.transpose(1, 0, 2), request.infer, lambda _: y.transpose(1, 0, 2))


def compiled(openvino: Any, workload: Workload, steps: int, batch: int, streams: bool) -> Any:
    """A request of the model for this length; a stream's states stay inside of it."""
    graph = onnx_graph.model(workload, batch, states=streams)
    core = openvino.Core()
    model = core.read_model(io.BytesIO(graph.SerializeToString()))
    model.reshape({"x": [steps, batch, workload.hidden]})
    if streams:
        pairs = onnx_graph.state_names(workload)
        passes = openvino.passes.Manager()
        passes.register_pass(openvino.passes.MakeStateful(dict(pairs)))
        passes.run_passes(model)
    return core.compile_model(model, "CPU", SETTINGS).create_infer_request()
