"""Random sizes, widths, zero points, directions and shifts, two dozen operators at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from bundle import VARIANTS, Bundle
from cases import Case
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import irnn_tvm
from irnn_tvm.compiler.compile_sources import compile_c_library

SIZES = st.integers(1, 40)
BYTES = st.integers(-128, 127)
NARROW = st.sampled_from([8, 16])
ANY = st.sampled_from([8, 16, 32])
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def zero_point(bits: int) -> st.SearchStrategy[int]:
    """int8 tensors have any, wider ones have 0."""
    return BYTES if bits == 8 else st.just(0)


@st.composite
def requantize(draw: Any) -> dict[str, Any]:
    bits, to = draw(ANY), draw(ANY)
    shift = draw(st.integers(1, 62))
    mult = draw(st.integers(1, 2**30))
    zps = {"in_zp": draw(zero_point(bits)), "out_zp": draw(zero_point(to))}
    return {"bits": bits, "to": to, "mult": mult, "shift": shift, "shape": draw(SHAPES), **zps}


@st.composite
def pwl(draw: Any) -> dict[str, Any]:
    fn = draw(st.sampled_from(["sigmoid", "tanh", "silu", "gelu"]))
    return {"bits": draw(NARROW), "to": draw(NARROW), "fn": fn, "pieces": draw(st.integers(2, 70))}


@st.composite
def linear(draw: Any) -> dict[str, Any]:
    to = draw(ANY)
    gain = 2.0 ** draw(st.integers(-3, 6))
    return {
        **{"n": draw(SIZES), "k": draw(st.integers(1, 150)), "to": to, "lead": draw(SHAPES), "gain": gain},
        "out_zp": draw(zero_point(to)),
    }


@st.composite
def conv1d(draw: Any) -> dict[str, Any]:
    groups = draw(st.integers(1, 4))
    k, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    to = draw(ANY)
    return {
        **{"c": groups * draw(st.integers(1, 5)), "o": groups * draw(st.integers(1, 5)), "groups": groups},
        **{
            "k": k,
            "dilation": dilation,
            "padding": draw(st.integers(0, 4)),
            "stride": draw(st.integers(1, 3)),
        },
        **{"batch": draw(st.integers(1, 3)), "length": (k - 1) * dilation + draw(st.integers(1, 12))},
        **{"to": to, "in_zp": draw(BYTES), "out_zp": draw(zero_point(to))},
    }


@st.composite
def elementwise(draw: Any) -> dict[str, Any]:
    a, b, to = draw(NARROW), draw(NARROW), draw(NARROW)
    shape = draw(SHAPES)
    other = tuple(draw(st.sampled_from([1, d])) for d in shape)[draw(st.integers(0, len(shape) - 1)) :]
    shapes = (shape, other) if draw(st.booleans()) else (other, shape)
    zps = {"a_zp": draw(zero_point(a)), "b_zp": draw(zero_point(b)), "out_zp": draw(zero_point(to))}
    return {"a": a, "b": b, "to": to, "shapes": shapes, "gain": 2.0 ** draw(st.integers(-3, 4)), **zps}


@st.composite
def recurrent(draw: Any, state: str) -> dict[str, Any]:
    bits = draw(NARROW)
    return {
        **{
            "x": draw(SIZES),
            "h": draw(SIZES),
            "batch": draw(st.integers(1, 3)),
            "steps": draw(st.integers(1, 9)),
        },
        **{
            "reverse": draw(st.booleans()),
            "gate_bits": draw(NARROW),
            "pieces": draw(st.sampled_from([8, 16, 32])),
        },
        **{"gain": 2.0 ** draw(st.integers(-2, 5)), "constant_state": draw(st.booleans())},
        **{f"{state}_bits": bits, f"{state}_zp": draw(zero_point(bits))},
    }


@st.composite
def norm(draw: Any) -> dict[str, Any]:
    bits, to = draw(NARROW), draw(NARROW)
    shape = (*draw(SHAPES), draw(st.integers(1, 90)))
    eps = 2 ** draw(st.integers(0, 40))
    return {"bits": bits, "to": to, "shape": shape, "eps": eps, "out_zp": draw(zero_point(to)),
            "gain": 2.0 ** draw(st.integers(-4, 5))}  # fmt: skip


@st.composite
def pool(draw: Any) -> dict[str, Any]:
    bits, to = draw(NARROW), draw(NARROW)
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple))
    zps = {"in_zp": draw(zero_point(bits)), "out_zp": draw(zero_point(to))}
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return {
        "bits": bits,
        "to": to,
        "shape": shape,
        "dim": dim,
        "gain": 2.0 ** draw(st.integers(-3, 4)),
        **zps,
    }


@st.composite
def search(draw: Any) -> dict[str, Any]:
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple))
    return {"bits": draw(NARROW), "shape": shape, "dim": draw(st.integers(-len(shape), len(shape) - 1))}


@st.composite
def best(draw: Any) -> dict[str, Any]:
    shape = (*draw(SHAPES), draw(st.integers(1, 30)))
    return {"bits": draw(NARROW), "shape": shape, "k": draw(st.integers(1, shape[-1]))}


@st.composite
def window(draw: Any, average: bool) -> dict[str, Any]:
    kernel = draw(st.integers(1, 6))
    found = {"bits": draw(NARROW), "kernel": kernel, "stride": draw(st.integers(1, 4)),
             "padding": draw(st.integers(0, kernel // 2)), "batch": draw(st.integers(1, 3))}  # fmt: skip
    if not average:
        return found | {"dilation": draw(st.integers(1, 3))}
    to = draw(NARROW)
    return found | {"to": to, "in_zp": draw(zero_point(found["bits"])), "out_zp": draw(zero_point(to))}


@st.composite
def matmul(draw: Any) -> dict[str, Any]:
    a, b, to = draw(NARROW), draw(NARROW), draw(ANY)
    zps = {"a_zp": draw(zero_point(a)), "b_zp": draw(zero_point(b)), "out_zp": draw(zero_point(to))}
    sizes = {name: draw(SIZES) for name in ("m", "k", "n")}
    lead = draw(st.lists(st.integers(1, 3), max_size=2).map(tuple))
    return {"a": a, "b": b, "to": to, "lead": lead, "transposed": draw(st.booleans()), **sizes, **zps}


@st.composite
def softmax(draw: Any) -> dict[str, Any]:
    lead = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
    return {
        **{"shape": (*lead, draw(SIZES)), "bits": draw(NARROW), "to": draw(NARROW)},
        **{"scale": 10.0 ** draw(st.integers(-6, 0)), "pieces": draw(st.sampled_from([8, 32]))},
        **{"lengths": draw(st.booleans()), "causal": draw(st.booleans())},
    }


@st.composite
def attention(draw: Any) -> dict[str, Any]:
    heads, to, batch = draw(st.integers(1, 3)), draw(NARROW), draw(st.integers(1, 4))
    counts = [0, *(n for n in (1, 2, 3, 4) if batch % n == 0)]
    return {
        **{"b": batch, "tq": draw(st.integers(1, 9)), "tk": draw(SIZES), "heads": heads, "to": to},
        **{"d": heads * draw(st.integers(1, 9)), "v": heads * draw(st.integers(1, 9))},
        **{"lengths": draw(st.sampled_from(counts)), "causal": draw(st.booleans())},
        **{"q_zp": draw(BYTES), "v_zp": draw(BYTES), "out_zp": draw(zero_point(to))},
        **{"score": 10.0 ** draw(st.integers(-6, 0)), "gain": 2.0 ** draw(st.integers(-3, 4))},
    }


@st.composite
def additive_scores(draw: Any) -> dict[str, Any]:
    widths = {name: draw(NARROW) for name in ("q", "k", "pre", "to")}
    sizes = {"b": draw(st.integers(1, 3)), "tq": draw(st.integers(1, 5)), "tk": draw(SIZES), "h": draw(SIZES)}
    return {
        "gain": 2.0 ** draw(st.integers(-2, 5)),
        "out_zp": draw(zero_point(widths["to"])),
        **widths,
        **sizes,
    }


@st.composite
def lstm_general(draw: Any) -> dict[str, Any]:
    """Any combination of parts."""
    norms = st.sampled_from([None, "layer", "mad"])
    return {
        **draw(recurrent("cell")),
        **{"project": draw(st.sampled_from([0, 0, 1, 7, 20])), "peephole": draw(st.booleans())},
        **{"coupled": draw(st.booleans()), "clip": draw(st.sampled_from([None, 0.3, 2.0]))},
        **{"norm": draw(norms), "cell_norm": draw(norms), "rounds": draw(st.integers(0, 4))},
    }


@st.composite
def rnn(draw: Any) -> dict[str, Any]:
    settings = draw(recurrent("cell"))
    for name in ("pieces", "cell_bits", "cell_zp"):
        del settings[name]
    return {**settings, "function": draw(st.sampled_from(["tanh", "relu"]))}


OPERATORS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "lstm": recurrent("cell"),
    "gru": st.builds(lambda s, after: {**s, "reset_after": after}, recurrent("state"), st.booleans()),
    "lstm_general": lstm_general(),
    "gru_norm": st.builds(
        lambda s, norm: {**s, "norm": norm}, recurrent("state"), st.sampled_from(["layer", "mad"])
    ),
    "rnn": rnn(),
    "requantize": requantize(),
    "pwl": pwl(),
    "linear": linear(),
    "conv1d": conv1d(),
    "add": elementwise(),
    "mul": elementwise(),
    "layer_norm": norm(),
    "mad_norm": norm(),
    "mean_pool": pool(),
    "sum_pool": pool(),
    "max_pool": search(),
    "argmax": search(),
    "topk": best(),
    "avg_pool1d": window(True),
    "max_pool1d": window(False),
    "matmul": matmul(),
    "softmax": softmax(),
    "attention": attention(),
    "additive_scores": additive_scores(),
    "append": st.fixed_dictionaries({"b": st.integers(1, 4), "m": SIZES, "d": SIZES, "bits": NARROW}),
}
CASES = st.lists(
    st.sampled_from(list(OPERATORS)).flatmap(lambda op: st.tuples(st.just(op), OPERATORS[op])),
    min_size=20,
    max_size=28,
)


@pytest.mark.parametrize(
    ("target", "examples"),
    [("host", 1), *(pytest.param(target, 4, marks=pytest.mark.exhaustive) for target in ("host", "c"))],
)
def test_random_cases(target: str, examples: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    # No shrinking: a failure names its case and prints its settings already.
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(CASES)
    def compare(drawn: list[tuple[str, dict[str, Any]]]) -> None:
        bundle = Bundle(Case(f"{op}-{i}", op, values) for i, (op, values) in enumerate(drawn))
        program = torch.export.export(bundle, bundle.inputs("zeros"))
        folder = tmp_path_factory.mktemp("random") / target
        library = irnn_tvm.build(program, target, out=folder)
        if target == "c":
            library = compile_c_library(folder)
        expected = bundle.reference()
        results = library.run_many(tuple(x.numpy() for x in bundle.inputs(v)) for v in VARIANTS)
        for variant, result in zip(VARIANTS, results, strict=True):
            for case in bundle.cases:
                pairs = zip(bundle.by_case(result)[case.name], expected[variant][case.name], strict=True)
                for number, (ours, torchs) in enumerate(pairs):
                    assert np.array_equal(ours, torchs), f"{case}, {variant} inputs, output {number}"

    compare()
