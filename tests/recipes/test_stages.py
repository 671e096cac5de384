"""The stages of a recipe from float to measured library, resumption of rows, and the ablation on the same networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sequence_samples import job

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.examples import ablation
from irnn_tvm.examples.training.classification import VARIANTS, library_accuracy, model_accuracy
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import Variant, integer_model, run_stages, trained_twin
from irnn_tvm.training.twin import QatModel

PTQ, QAT = Variant("ptq", "8", 8), Variant("qat", "8/16", 16)


def silent(_: str) -> None:
    """Instead of printing."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe")


@pytest.fixture(scope="module")
def twin(work: Path) -> QatModel:
    model, _ = job().train_float(work / "float", True, silent)
    return trained_twin(job(), model, QAT, work, True, silent)[0]


def test_rows_are_those_of_the_built_library(work: Path) -> None:
    results = Results(work / "rows.jsonl")
    run_stages(job(), [PTQ, QAT], results, work, say=silent)
    assert [(row.stage, row.bits, row.pieces) for row in results.rows.values()] == [
        ("float", "32", 0),
        ("ptq", "8", 8),
        ("qat", "8/16", 16),
    ]
    model, _ = job().train_float(work / "float", True, silent)
    values = {row.stage: row.value for row in results.rows.values()}
    assert values["float"] == pytest.approx(model_accuracy(model, job().data_set.test), abs=1e-4)
    assert values["float"] > 80  # a network that has learned nothing has 33
    for variant in (PTQ, QAT):
        integer, _, _ = integer_model(job(), model, variant, work, True, silent)
        library = irnn_tvm.build(integer)
        assert values[variant.stage] == pytest.approx(
            library_accuracy(library, job().data_set.test), abs=1e-4
        )
        (row,) = results.find(stage=variant.stage)
        # Not less than the float parameters: kernels in tiles pad so small a layer (test_matrices_are_int8.py).
        assert row.size_bytes == library.report["weight_bytes"]
        x = job().data_set.test.inputs[0][None]
        (spec,) = library.inputs
        np.testing.assert_array_equal(
            library.run(spec.quantize(x)), integer(*integer.quantize_inputs(torch.from_numpy(x))).numpy()
        )


def test_a_row_that_exists_is_not_measured_again(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(work / "rows.jsonl")
    run_stages(job(), [PTQ], results, work, say=silent)
    before = results.path.read_text()
    monkeypatch.setattr(irnn_tvm, "quantize", None)
    monkeypatch.setattr(irnn_tvm, "build", None)
    run_stages(job(), [PTQ], Results(results.path), work, say=silent)
    assert results.path.read_text() == before


def test_a_finished_training_comes_from_its_checkpoint(work: Path, twin: QatModel) -> None:
    """Ranges, tables and steps included: the integers are the same."""
    model, _ = job().train_float(work / "float", True, silent)
    lines: list[str] = []
    again, progress = trained_twin(job(), model, QAT, work, True, lines.append)
    assert lines == []
    assert progress.steps == again.steps > 0
    x = torch.from_numpy(job().data_set.test.inputs[3][None])
    assert torch.equal(again(x), twin(x))
    assert torch.equal(irnn_tvm.convert(again).float_forward(x), twin(x))


@pytest.mark.parametrize("variant", [Variant("pqt", "8", 8), Variant("ptq", "16", 8)])
def test_unknown_stages_and_widths_are_refused(work: Path, variant: Variant) -> None:
    model, _ = job().train_float(work / "float", True, silent)
    with pytest.raises(InputError, match=r"stage='pqt' is not ptq or qat|bits='16' is not one of 8/16, 8"):
        integer_model(job(), model, variant, work, True, silent)


def test_unknown_networks_are_refused(tmp_path: Path) -> None:
    broken = job("transformer")
    broken.settings.hidden["transformer"] = 4
    try:
        with pytest.raises(
            InputError, match=f"there is no classifier 'transformer'; there are {', '.join(VARIANTS)}"
        ):
            broken.train_float(tmp_path, True, silent)
    finally:
        del broken.settings.hidden["transformer"]


def test_ablation_ends_are_the_integer_and_the_float_network(twin: QatModel) -> None:
    x = torch.from_numpy(np.stack(job().data_set.test.inputs[:8:2]))
    assert ablation.operators(twin) == {"rnn": "gru", "head": "linear"}
    with torch.no_grad():
        assert torch.equal(ablation.PartlyInteger(twin)(x), twin(x))
        assert torch.equal(ablation.PartlyInteger(twin, {"gru", "linear"})(x), twin.model(x))
        assert torch.equal(ablation.PartlyInteger(twin, {"rnn", "head"})(x), twin.model(x))


def test_ablation_of_one_kind_differs_from_both_ends(twin: QatModel) -> None:
    """The linear layer in float reads the integer GRU's states; integer, it rounds those of the float GRU."""
    x = torch.from_numpy(np.stack(job().data_set.test.inputs[:8:2]))
    with torch.no_grad():
        integer, real = twin(x), twin.model(x)
        states = twin.model.rnn(x)[0]  # type: ignore[operator]
        for in_float in ({"gru"}, {"linear"}):
            mixed = ablation.PartlyInteger(twin, in_float)(x)
            assert not torch.equal(mixed, integer)
            assert not torch.equal(mixed, real)
        integer_states = ablation.PartlyInteger(twin, {"linear"})
        head = twin.model.head
        got = integer_states(x)
        assert float((got - head(states)).abs().max()) > 0  # type: ignore[operator]
        # A float linear layer is exact: what is left is the error of the states, times the weights.
        bound = float(head.weight.abs().sum(1).max()) * 0.1  # type: ignore[union-attr, operator]
        assert float((got - real).abs().max()) < bound


def test_ablation_measures_every_kind(twin: QatModel) -> None:
    outcomes = ablation.ablate(twin, job().float_value, silent)
    assert [outcome.change for outcome in outcomes] == [
        "everything",
        "nothing",
        "gru in float",
        "linear in float",
        "gru in integers",
        "linear in integers",
    ]
    assert all(0 <= outcome.value <= 100 for outcome in outcomes)


def test_ablation_of_an_unknown_operator_is_refused(twin: QatModel) -> None:
    with pytest.raises(InputError, match="the model has no operator conv; it has gru, head, linear, rnn"):
        ablation.PartlyInteger(twin, {"conv"})
