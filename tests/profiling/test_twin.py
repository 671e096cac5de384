"""What is elementwise: a twin with short products against counts in which the depth of the products differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from profiled import HIDDEN, integer_model
from sampling import sampled
from torch import nn

import irnn_tvm
from irnn_tvm import Library
from irnn_tvm.compiler.short_products import short_products
from irnn_tvm.errors import InputError
from irnn_tvm.profiling import profile
from irnn_tvm.profiling.accounting import work
from irnn_tvm.profiling.twin import elementwise, products_left, twin

Libraries = Callable[[str, str], Library]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize("target", sampled(["cortex-m4", "cortex-m3", "host"], 2))
def test_nothing_but_twins_is_shortened(target: str, tmp_path: Path) -> None:
    model = integer_model("lstm")
    irnn_tvm.build(model, target, out=tmp_path / "before", name="lstm")
    with short_products():
        irnn_tvm.build(model, target, out=tmp_path / "twin", name="lstm")
    irnn_tvm.build(model, target, out=tmp_path / "after", name="lstm")
    before, short, after = (_digests(tmp_path / name) for name in ("before", "twin", "after"))
    assert before == after
    library = "liblstm.so" if target == "host" else "liblstm.a"
    assert short[library] != before[library]
    assert short["lstm.c"] == before["lstm.c"]


@pytest.mark.emulator
@pytest.mark.parametrize("target", sampled(["arm", "arm-a53", "armv7", "cortex-m4", "cortex-m55"], 3))
def test_twice_the_depth_is_twice_the_products(target: str, tmp_path: Path, require_tool) -> None:
    """Instructions of a layer are elementwise + products per depth * depth: two depths give both."""
    require_tool(irnn_tvm.TARGETS[target].emulator.qemu)
    counts, shares = [], []
    for depth in (256, 512):
        torch.manual_seed(5)
        config = irnn_tvm.QuantConfig(weight_rounding="nearest")
        model = irnn_tvm.quantize(nn.Linear(depth, 64).eval(), [torch.randn(1, 8, depth)], config)
        lib = irnn_tvm.build(model, target, out=tmp_path / str(depth), name="layer")
        found = profile(lib.directory, steps=1, model=model)
        (row,) = found["kernels"]
        counts.append(row["instructions"])
        shares.append(row["elementwise_share"])
    expected = 2 * counts[0] - counts[1]
    for count, share in zip(counts, shares, strict=True):
        # Activations that are widened for the DSP routine count as elementwise, and a routine with one group of them
        # takes its way for what is left of a vector.
        tolerance = {"cortex-m4": 0.05, "cortex-m55": 0.12}.get(target, 0.03)
        assert abs(share * count - expected) < tolerance * count


def test_products_left(library: Libraries) -> None:
    """Depth 64 on `arm`: four rounds of four groups of four, one of which is left; routines: a group;
    scalar code: one product of two."""
    report = library("lstm", "arm").report
    assert set(products_left(report, work(report, 1)).values()) == {0.25}
    for target, share in (
        ("cortex-m4", 4 / HIDDEN),
        ("cortex-m55", 16 / HIDDEN),
        ("cortex-m3", 2 / (2 * HIDDEN)),
    ):
        report = library("lstm", target).report
        assert set(products_left(report, work(report, 1)).values()) == {share}
    report = library("whole", "arm").report
    assert set(products_left(report, work(report, 3)).values()) == {1.0}


def test_what_is_not_shortened_is_left_out(library: Libraries) -> None:
    done = work(library("tagger", "cortex-m3").report, 1)
    spent = dict.fromkeys(done, 100.0)
    left = products_left(library("tagger", "cortex-m3").report, done)
    found = elementwise(spent, dict.fromkeys(done, 10.0), left, done)
    assert found["tagger_k_embedding"] == found["tagger_k_pwl"] == 100.0
    assert found["tagger_k_linear"] == pytest.approx((10 - 100 / HIDDEN) / (1 - 1 / HIDDEN))
    assert "tagger_k_linear" not in elementwise(spent, spent, dict.fromkeys(done, 1.0), done)


def test_another_model_is_refused(library: Libraries) -> None:
    lib = library("lstm", "host")
    with pytest.raises(InputError, match="the model is not the one that lstm was built from"):
        with twin(integer_model("gru"), lib, lib.directory):
            pass
