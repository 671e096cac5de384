"""The language model: batches of the text, perplexity per document, and the built library in place of the model."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import irnn_tvm
from irnn_tvm.errors import InputError
from irnn_tvm.examples.language_model.corpus import Corpus
from irnn_tvm.examples.language_model.job import LanguageModelJob, library_predictor
from irnn_tvm.examples.language_model.model import VARIANTS, LanguageModel
from irnn_tvm.examples.language_model.settings import Settings
from irnn_tvm.examples.language_model.task import LanguageModelTask, Sampling, perplexity, predictor
from irnn_tvm.examples.training.loop import LoopSettings

VOCABULARY = 20
SETTINGS = Settings(
    name="quick",
    float_loop=LoopSettings(epochs=3, learning_rate=1e-2),
    qat_loop=LoopSettings(epochs=1, learning_rate=1e-3),
    sampling=Sampling(until=1, frequent=8, drawn=6),
    hidden=12,
    batch=4,
    steps=7,
    vocabulary=VOCABULARY,
    observe_steps=3,
    calibration=3,
)


def document(length: int, seed: int) -> np.ndarray:
    """Words that mostly follow each other in a circle, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    words = np.cumsum(rng.choice([1, 1, 1, 2], length)) % VOCABULARY
    return words.astype(np.int64)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    words = ("w0", "w1", "<eos>", "<unk>", *(f"w{i}" for i in range(4, VOCABULARY)))
    train = tuple(document(40 + 7 * i, i) for i in range(12))
    valid = tuple(document(30 + 5 * i, 100 + i) for i in range(3))
    test = tuple(document(20 + 11 * i, 200 + i) for i in range(5))
    return Corpus(words, train, valid, test)


@pytest.fixture(scope="module")
def trained(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModelJob, nn.Module]:
    job = LanguageModelJob(corpus, SETTINGS, "lstm", 0)
    model, _ = job.train_float(tmp_path_factory.mktemp("lm"), True, lambda _: None)
    return job, model


def test_batches_are_the_shuffled_text_each_word_predicted_once(corpus: Corpus) -> None:
    task = LanguageModelTask(corpus, lambda batch: (torch.zeros(1, batch, 1),) * 2, 4, 7, 0)
    task.begin_epoch(0)
    inputs = torch.cat([batch[0] for batch in task.batches()], dim=1)
    targets = torch.cat([batch[1] for batch in task.batches()], dim=1)
    assert torch.equal(inputs.flatten()[1:], targets.flatten()[:-1])
    assert int(inputs[0, 0]) == corpus.end
    everything = sum(len(text) for text in corpus.train)
    assert targets.numel() == everything // 4 * 4
    first = targets.clone()
    task.begin_epoch(1)
    assert not torch.equal(first, torch.cat([batch[1] for batch in task.batches()], dim=1))
    task.begin_epoch(0)
    assert torch.equal(first, torch.cat([batch[1] for batch in task.batches()], dim=1))


def test_state_goes_from_batch_to_batch(corpus: Corpus) -> None:
    model = LanguageModel(VOCABULARY, 12)
    task = LanguageModelTask(corpus, model.zero_state, 4, 7, 0, cell_limit=0.0)
    task.begin_epoch(0)
    model.eval()
    whole = torch.cat([batch[0] for batch in task.batches()[:3]], dim=1)
    with torch.no_grad():
        for batch in task.batches()[:3]:
            task.loss(model, batch)
        _, expected = model(whole, model.zero_state(4))
    for kept, want in zip(task.carried()["state"], expected, strict=True):
        torch.testing.assert_close(kept, want)


def test_cell_limit_adds_what_is_beyond(corpus: Corpus) -> None:
    model = LanguageModel(VOCABULARY, 12, dropout=0.0)
    losses = []
    for limit in (None, 0.0):
        task = LanguageModelTask(corpus, model.zero_state, 4, 7, 0, cell_limit=limit, cell_penalty=2.0)
        task.begin_epoch(0)
        with torch.no_grad():
            losses.append(float(task.loss(model, task.batches()[0])))
        cell = task.carried()["state"][1]
    assert losses[1] - losses[0] == pytest.approx(2.0 * float(cell.abs().mean()), rel=1e-4)


def test_perplexity_of_known_probabilities(corpus: Corpus) -> None:
    """A model that gives every word the same probability has the perplexity of the vocabulary's size."""

    def uniform(ids: Tensor, state: None) -> tuple[Tensor, None]:
        return torch.zeros(*ids.shape, VOCABULARY), None

    assert perplexity(uniform, corpus, "test") == pytest.approx(VOCABULARY)

    def half_on_next(ids: Tensor, state: None) -> tuple[Tensor, None]:
        logits = torch.zeros(*ids.shape, VOCABULARY)
        logits.scatter_(-1, ((ids + 1) % VOCABULARY)[..., None], math.log(VOCABULARY - 1))
        return logits, None

    total = count = 0.0
    for text in corpus.test:
        previous = np.concatenate([[corpus.end], text[:-1]])
        hits = text == (previous + 1) % VOCABULARY
        total += hits.sum() * math.log(2) + (~hits).sum() * math.log(2 * (VOCABULARY - 1))
        count += len(text)
    assert perplexity(half_on_next, corpus, "test") == pytest.approx(math.exp(total / count), rel=1e-5)


def test_perplexity_does_not_depend_on_batch_and_chunk(
    corpus: Corpus, trained: tuple[LanguageModelJob, nn.Module]
) -> None:
    job, model = trained
    with torch.no_grad():
        figures = [
            perplexity(predictor(model, job.zero_state), corpus, "test", batch, chunk)
            for batch, chunk in ((1, 1000), (5, 9), (3, 1))
        ]
        assert figures == pytest.approx([figures[0]] * 3, rel=1e-5)
        assert figures[0] < VOCABULARY / 2


def test_library_has_the_integer_model_s_perplexity(
    corpus: Corpus, trained: tuple[LanguageModelJob, nn.Module]
) -> None:
    job, model = trained
    integer = irnn_tvm.quantize(model, job.calibration(model))
    library = job.build(integer)

    def reference(ids: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        state = job.zero_state(len(ids)) if state is None else state
        logits, state = integer.float_forward(ids, state)
        return logits, state

    with torch.no_grad():
        expected = perplexity(reference, corpus, "test")
    # Five documents in a library of batch ten: the rows that are left over change nothing.
    assert job.library_value(library) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(job.float_value(model), rel=0.02)


def test_library_predictor_keeps_integers_from_call_to_call(
    corpus: Corpus, trained: tuple[LanguageModelJob, nn.Module]
) -> None:
    job, model = trained
    library = job.build(irnn_tvm.quantize(model, job.calibration(model)))
    predict = library_predictor(library)
    ids = torch.from_numpy(corpus.test[4][:24])[None]
    whole, end = predict(ids, None)
    first, state = predict(ids[:, :10], None)
    second, last = predict(ids[:, 10:], state)
    assert torch.equal(whole, torch.cat([first, second], dim=1))
    for a, b in zip(end, last, strict=True):
        np.testing.assert_array_equal(a[:, 0], b[:, 0])
        assert a.dtype in (np.int8, np.int16)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains(corpus: Corpus, variant: str) -> None:
    torch.manual_seed(0)
    model = LanguageModel(VOCABULARY, 12, 2, variant, 0.1)
    task = LanguageModelTask(corpus, model.zero_state, 4, 7, 0)
    task.begin_epoch(0)
    loss = task.loss(model, task.batches()[0])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_unknown_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"there is no language model 'rwkv'; there are {', '.join(VARIANTS)}"
    ):
        LanguageModel(VOCABULARY, 12, 2, "rwkv")


def test_tied_and_untied_output(corpus: Corpus) -> None:
    tied, untied = (LanguageModel(VOCABULARY, 12, tied=tied) for tied in (True, False))
    assert tied.output.weight is tied.embedding.weight
    difference = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert difference == VOCABULARY * 12
