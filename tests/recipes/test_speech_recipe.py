"""The speech recipe end to end on small synthetic recordings: both models, float to built libraries."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import speech_samples
import torch

from irnn_tvm.errors import InputError
from irnn_tvm.examples.speech import corpus, recipe
from irnn_tvm.examples.speech.attention_decoding import greedy
from irnn_tvm.examples.speech.attention_job import METRICS, AttentionJob, build_model
from irnn_tvm.examples.speech.attention_library import LibraryRecognizer, rescaler
from irnn_tvm.examples.speech.batches import Batch, Framing, Masking
from irnn_tvm.examples.speech.ctc_job import BEAM, GREEDY, CtcJob, library_logits
from irnn_tvm.examples.speech.data import Data
from irnn_tvm.examples.speech.settings import QUICK, Settings
from irnn_tvm.examples.speech.task import (
    CELL_PENALTY,
    AttentionTask,
    character_limit,
    decode_one,
    evaluation_batches,
    excess,
    float_logits,
    last_cells,
    predict,
    recognize,
)
from irnn_tvm.examples.speech.text import BLANK, encode
from irnn_tvm.examples.training import command
from irnn_tvm.examples.training.loop import LoopSettings
from irnn_tvm.examples.training.results import Results
from irnn_tvm.examples.training.stages import Variant, integer_model, run_stages
from irnn_tvm.runtime.tensors import Tensor

PTQ, QAT = Variant("ptq", "8/16", 16), Variant("qat", "8/16", 16)
SETTINGS = replace(
    QUICK,
    masking=Masking(band_masks=0, frame_masks=0),
    beam=2,
    ctc=replace(
        QUICK.ctc,
        framing=Framing(4, 8),
        hidden=24,
        layers=1,
        batch=4,
        dropout=0.0,
        float_loop=LoopSettings(epochs=30, learning_rate=1e-2, warmup=5),
        qat_loop=LoopSettings(epochs=4, learning_rate=1e-3),
    ),
    attention=replace(
        QUICK.attention,
        framing=Framing(2, 8),
        hidden=16,
        layers=1,
        decoder=24,
        channels=16,
        from_ctc=False,
        attention=16,
        batch=4,
        dropout=0.0,
        label_smoothing=0.0,
        float_loop=LoopSettings(epochs=45, learning_rate=1e-2, warmup=5),
        qat_loop=LoopSettings(epochs=4, learning_rate=1e-3),
    ),
)


def silent(text: str) -> None:
    pass


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_ctc_from_float_to_library(tmp_path: Path) -> None:
    job = CtcJob(speech_samples.data(), SETTINGS, "ctc-nl", 0)
    results = Results(tmp_path / "rows.jsonl")
    run_stages(job, [PTQ, QAT], results, tmp_path / "work", say=silent)
    values = {row.stage: row.value for row in results.rows.values()}
    assert values["float"] < 10
    assert max(values["ptq"], values["qat"]) < 15
    sizes = {row.stage: row.size_bytes for row in results.rows.values()}
    assert 0 < sizes["qat"] < sizes["float"]
    # A second run has nothing to do, the other way of decoding takes the trained models from their checkpoints.
    before = (tmp_path / "rows.jsonl").read_text()
    run_stages(job, [PTQ, QAT], Results(tmp_path / "rows.jsonl"), tmp_path / "work", say=silent)
    assert (tmp_path / "rows.jsonl").read_text() == before
    other = replace(job, metric=BEAM)
    model, _ = other.train_float(tmp_path / "work/float", True, silent)
    assert other.float_value(model) < 10
    assert GREEDY != BEAM

    # The library's integers are the converted model's, whatever the length of a recording.
    integer, _, note = integer_model(job, model, QAT, tmp_path / "work", say=silent)
    assert note.endswith(" steps")
    logits = library_logits(job.build(integer))
    batches = evaluation_batches(job.corpus.test, job.network, 1)
    assert len({batch.features.shape[1] for batch in batches}) > 1
    for batch in batches:
        expected = integer.float_forward(batch.features).numpy()
        assert np.array_equal(logits(batch), expected)
        assert logits(batch).shape == float_logits(model)(batch).shape


@pytest.mark.slow
@pytest.mark.exhaustive
def test_attention_from_float_to_libraries(tmp_path: Path) -> None:
    job = AttentionJob(speech_samples.data(train=60), SETTINGS, "attention-nl", 0)
    results = Results(tmp_path / "rows.jsonl")
    job.run([PTQ, QAT], results, tmp_path / "work", say=silent)
    values = {(row.stage, row.metric): row.value for row in results.rows.values()}
    assert len(values) == 3 * len(METRICS)
    assert values["float", GREEDY] < 15
    assert max(values.values()) < 25
    before = (tmp_path / "rows.jsonl").read_text()
    job.run([PTQ, QAT], Results(tmp_path / "rows.jsonl"), tmp_path / "work", say=silent)
    assert (tmp_path / "rows.jsonl").read_text() == before

    model, _ = job.train_float(tmp_path / "work/float", True, silent)
    integer = job.integer(model, QAT, tmp_path / "work", say=silent)
    libraries, decoder = job.build(integer), integer.decoder
    _agree(libraries, evaluation_batches(job.corpus.test, job.network)[0])
    memory = libraries.remember(evaluation_batches(job.corpus.test, job.network)[0].features.numpy()[0])
    assert 0 < memory.lengths[0] <= memory.keys.shape[1]
    rng = np.random.default_rng(0)
    states = [rng.integers(-100, 100, t.shape).astype(t.dtype) for t in libraries.decoder.inputs[1:4]]
    token = np.array([[3]], libraries.decoder.inputs[0].dtype)
    inputs = [token, *states, memory.keys, memory.values, memory.lengths]
    expected = decoder(*[torch.from_numpy(array) for array in inputs])
    for ours, theirs in zip(libraries.decoder.run(*inputs), expected, strict=True):
        assert np.array_equal(ours, theirs.numpy())


def _agree(libraries: LibraryRecognizer, batch: Batch) -> None:
    """Given its own characters, a recognizer predicts them again, and then the end."""
    for row in batch.features.numpy():
        memory = libraries.remember(row)
        step, start = libraries._step(memory), libraries._start()
        found = greedy(step, start, character_limit(int(memory.lengths[0])))
        assert libraries.predict(row, [BLANK, *found])[: len(found)] == found


def test_eight_bits_attend_as_float_does(tmp_path: Path) -> None:
    """The context of a decoder that points at one place after the other, without training."""
    torch.manual_seed(0)
    job = AttentionJob(speech_samples.data(train=24), SETTINGS, "attention-nl", 0)
    model = build_model(SETTINGS.attention).eval()
    with torch.no_grad():  # one-sided scores, sharp weights
        model.decoder.attention.score.copy_(2.0 * model.decoder.attention.score.abs() + 0.5)
        model.decoder.attention.query_projection.bias.add_(1.0)
        model.encoder.keys.weight.mul_(6.0)
        model.encoder.encoder.layers[0].weight_ih_l0.mul_(3.0)
    features, calls = job.calibration(model)
    parts = job.integer(model, Variant("ptq", "8", 32), tmp_path)
    assert len(features) > 1
    for call in calls[::5]:
        exact, ours = model.decoder(*call), parts.decoder.float_forward(*call)
        noise = float((exact[3] - ours[3]).detach().norm() / exact[3].detach().norm())
        assert noise < 0.03, noise


def test_next_characters() -> None:
    torch.manual_seed(0)
    model = build_model(SETTINGS.attention).eval()
    batches = evaluation_batches(speech_samples.data().test, SETTINGS.attention)
    got = predict(model, batches)
    wrong = total = 0
    for batch in batches:
        for row, text in zip(batch.features, batch.texts, strict=True):
            characters = encode(text)
            logits, _ = model(row[None], torch.tensor([[BLANK, *characters]]))
            wrong += sum(
                a != b for a, b in zip(logits[0].argmax(-1).tolist(), [*characters, BLANK], strict=True)
            )
            total += len(characters) + 1
    assert 0 < got == pytest.approx(100 * wrong / total)


def test_the_attention_model_starts_from_the_ctc_encoder(tmp_path: Path) -> None:
    once = LoopSettings(epochs=1, learning_rate=0.0)
    ctc = replace(SETTINGS.ctc, float_loop=replace(SETTINGS.ctc.float_loop, epochs=1))
    shape = dict(framing=ctc.framing, hidden=ctc.hidden, layers=ctc.layers, channels=0)
    settings = replace(
        SETTINGS, ctc=ctc, attention=replace(SETTINGS.attention, **shape, from_ctc=True, float_loop=once)
    )
    data = speech_samples.data(train=8)
    encoder = CtcJob(data, settings, "ctc-nl", 0)
    job = AttentionJob(data, settings, "attention-nl", 0, ctc=(encoder, tmp_path / "ctc"))
    model, seconds = job.train_float(tmp_path / "attention", True, silent)
    start, before = encoder.train_float(tmp_path / "ctc/float", True, silent)
    assert seconds > before > 0
    expected = start.encoder.state_dict()  # the rate is 0: training changed nothing
    assert all(torch.equal(v, expected[k]) for k, v in model.encoder.encoder.state_dict().items())
    assert torch.equal(model.helper.weight, start.output.weight)

    with pytest.raises(InputError, match="starts from a CTC model"):
        replace(job, ctc=None).train_float(tmp_path / "other", True, silent)
    wider = replace(settings, attention=replace(settings.attention, hidden=32))
    with pytest.raises(InputError, match="cannot start from ctc-nl"):
        replace(job, settings=wider).train_float(tmp_path / "other", True, silent)


def test_decoding_together_is_decoding_one_by_one() -> None:
    torch.manual_seed(0)
    model = build_model(SETTINGS.attention).eval()
    for batch in evaluation_batches(speech_samples.data().test, SETTINGS.attention):
        together = recognize(model, batch)
        single = [decode_one(model, row[None]) for row in batch.features]
        assert together == single
        assert [decode_one(model, row[None], width=2) for row in batch.features]


def test_the_helper_takes_its_share_of_the_loss() -> None:
    torch.manual_seed(0)
    model = build_model(SETTINGS.attention)
    losses = []
    for share in (0.0, 0.5, 1.0):
        network = replace(SETTINGS.attention, helper=share)
        task = AttentionTask(speech_samples.data(), SETTINGS, network, 0)
        task.begin_epoch(0)
        model.zero_grad()
        loss = task.loss(model.eval(), task.batches()[0])
        losses.append(float(loss.detach()))
        loss.backward()
        assert (model.helper.weight.grad is None) == (share == 0.0)
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-5)


def test_cells_that_count_up_cost_something() -> None:
    layer = torch.nn.LSTM(2, 3, batch_first=True, bidirectional=True)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), layer)
    with last_cells(model) as cells:
        _, (_, c) = model(torch.randn(4, 5, 2))
    assert len(cells) == 1
    assert torch.equal(cells[0], c)
    model(torch.randn(4, 5, 2))
    assert len(cells) == 1  # outside, nothing is collected
    assert float(excess([c], 8.0)) == 0.0
    found = excess([torch.tensor([9.0, -12.0, 3.0, 8.0]), torch.tensor([-10.0])], 8.0)
    assert float(found) == pytest.approx(CELL_PENALTY * (5 / 4 + 2))


def test_integers_are_rescaled_between_libraries() -> None:
    fine = Tensor("fine", np.dtype("int16"), (1, 4), 0.001, 0)
    coarse = Tensor("coarse", np.dtype("int8"), (1, 4), 0.0213, -5)
    values = np.arange(-3000, 3000, dtype=np.int16)
    got = rescaler(fine, coarse)(values)
    assert got.dtype == np.int8
    exact = np.clip(np.floor(values * 0.001 / 0.0213 + 0.5) - 5, -128, 127)
    assert np.abs(got - exact).max() <= 1
    assert (got == exact).mean() > 0.99
    assert rescaler(coarse, coarse)(values) is values
    back = rescaler(coarse, fine)(np.array([-128, -5, 127], np.int8))
    assert back.tolist() == [-2620, 0, 2812]


def test_the_command_measures_what_has_no_row_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def load(language: str, settings: Settings, advance: object) -> Data:
        loads.append((language, settings.name))
        return speech_samples.data()

    monkeypatch.setattr(recipe.recordings, "load", load)
    monkeypatch.setitem(recipe.SETTINGS, "quick", SETTINGS)
    options = command.parse(
        "test",
        recipe.MODELS,
        ("quick",),
        ["--quick", "--model", "ctc-nl", "--stage", "float", "--work", str(tmp_path), "--device", "cpu"],
    )
    results = recipe.run_recipe(options)
    assert loads == [("nl", "quick")]
    found = {(row.model, row.stage, row.metric): row.value for row in results.rows.values()}
    assert found["empty answer, nl", "baseline", GREEDY] == 100
    assert found["most frequent answer, nl", "baseline", GREEDY] < 100
    assert found["ctc-nl", "float", GREEDY] < 10
    assert found["ctc-nl", "float", BEAM] < 10
    before = options.results("speech").read_text()
    recipe.run_recipe(options)
    assert options.results("speech").read_text() == before


def test_languages_choose_the_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(languages: tuple[str, ...], speeds: tuple[object, ...], advance: object) -> object:
        asked.append((languages, len(speeds)))
        clips = [speech_samples.recording("een", seed) for seed in range(50)]
        return {"train": clips, "valid": clips[:10], "test": clips[:5]}, {"clips": 50}

    monkeypatch.setattr(corpus, "load", load)
    got = recipe.recordings.load("cs", replace(SETTINGS, clips=7, tested=6, speeds=2))
    assert asked == [(("cs",), 2)]
    assert [len(part) for part in (got.train, got.valid, got.test)] == [7, 6, 5]
    assert len({clip.clip.key for clip in got.train}) == 7
    assert "nl:" not in got.description
    with pytest.raises(InputError, match="no language 'de'"):
        recipe.recordings.load("de", SETTINGS)


def test_jobs_for_the_other_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe.recordings, "load", lambda *arguments: speech_samples.data())
    options = command.Options("quick")
    job = recipe.make_job(None, options, 3, documents=2)
    assert (job.model, job.seed, len(job.corpus.test)) == ("ctc-both", 3, 2)
    assert recipe.make_job("ctc-cs", options, 0).model == "ctc-cs"
    with pytest.raises(InputError, match="attention-nl is two networks; supported here: ctc-both, ctc-nl"):
        recipe.make_job("attention-nl", options, 0)
    with pytest.raises(InputError, match="no model 'rnn'"):
        recipe.make_job("rnn", options, 0)
