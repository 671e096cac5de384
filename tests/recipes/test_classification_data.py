"""Loaders of JapaneseVowels and HAPT on small files, and the data sets themselves."""

import io
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from irnn_tvm.errors import BuildError
from irnn_tvm.examples.activity import data as activity
from irnn_tvm.examples.activity.frames import BLOCKS, read_frames
from irnn_tvm.examples.japanese_vowels import data as vowels
from irnn_tvm.examples.training.classification import (
    ClassificationData,
    ClassificationTask,
    Sequences,
    calibration_batches,
    standardized,
)

TS = "#comment\n@classLabel true 1 2\n@data\n1,2,3:4,5,6:1\n0.5,-0.25:1e-2,7:2\n"


def sequences(lengths: list[int], labels: list[int], features: int = 2) -> Sequences:
    rng = np.random.default_rng(len(lengths))
    inputs = tuple(rng.normal(3.0, 2.0, (n, features)).astype(np.float32) for n in lengths)
    return Sequences(inputs, tuple(labels))


def test_ts_file() -> None:
    parsed = vowels.parse_ts(TS)
    assert parsed.labels == (0, 1)
    assert parsed.inputs[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    np.testing.assert_array_equal(parsed.inputs[1], np.array([[0.5, 0.01], [-0.25, 7]], np.float32))


def test_bad_ts_files_are_refused() -> None:
    with pytest.raises(BuildError, match="has no @data line"):
        vowels.parse_ts("1,2:1\n")
    with pytest.raises(BuildError, match=r"line 2 of the \.ts file has dimensions of different lengths"):
        vowels.parse_ts("@data\n1,2:1:1\n")


def test_validation_takes_every_sixth_of_each_class() -> None:
    learning = sequences(list(range(1, 25)), [0, 1] * 12)
    train, valid = vowels.set_apart(learning, 6)
    assert [len(x) for x in valid.inputs] == [11, 12, 23, 24]
    assert valid.labels == (0, 1, 0, 1)
    assert len(train.labels) == 20


def test_windows_stay_inside_an_activity() -> None:
    labels = np.array([1] * 200 + [-1] * 10 + [7] * 300 + [3] * 128 + [2] * 127 + [3] * 256)
    signal = np.arange(len(labels), dtype=np.float32)[:, None]
    found = [(int(window[0, 0]), len(window), label) for window, label in activity.windows(signal, labels)]
    assert found == [
        (0, 128, 0),
        (64, 128, 0),
        (510, 128, 2),
        *[(start, 128, 2) for start in (765, 829, 893)],
    ]


def test_subjects_are_in_one_part_each() -> None:
    parts = [activity.part_of(subject) for subject in range(1, 31)]
    assert (parts.count("train"), parts.count("valid"), parts.count("test")) == (17, 4, 9)


def pickled_table(columns: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What pandas pickles for a table, by stand-ins under pandas' names; pandas itself is not needed to read it."""
    homes = {
        "DataFrame": "pandas.core.frame",
        "BlockManager": "pandas.core.internals.managers",
    }
    kinds: dict[str, type] = {}
    for package in ("pandas", "pandas.core", "pandas.core.internals"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    for name, home in homes.items():
        module = types.ModuleType(home)
        kinds[name] = type(name, (), {"__module__": home, "__getstate__": lambda self: self.content})
        setattr(module, name, kinds[name])
        monkeypatch.setitem(sys.modules, home, module)
    manager, frame = kinds["BlockManager"](), kinds["DataFrame"]()
    names = np.array(list(columns), dtype=object)
    blocks = [{"values": v[None], "mgr_locs": slice(i, i + 1, 1)} for i, v in enumerate(columns.values())]
    manager.content = ([], [], [], {BLOCKS: {"axes": [{"data": names}, {}], "blocks": blocks}})  # type: ignore[attr-defined]
    frame.content = {"_data": manager}  # type: ignore[attr-defined]
    return pickle.dumps({3: [frame]}, protocol=2)


def test_tables_are_read_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"acc-x": np.linspace(-1, 1, 5), "label": np.array([1, 1, 2, 2, -1])}
    content = pickled_table(columns, monkeypatch)
    monkeypatch.undo()
    (table,) = read_frames(io.BytesIO(content))[3]
    assert list(table) == ["acc-x", "label"]
    for name, values in columns.items():
        np.testing.assert_array_equal(table[name], values)
        assert table[name].dtype == values.dtype


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.unlink, ("/nonexistent",))


def test_a_pickle_that_names_other_functions_is_refused() -> None:
    with pytest.raises(BuildError, match=r"the table names .*, which no table of numbers needs: refused"):
        read_frames(io.BytesIO(pickle.dumps({1: [Malicious()]})))
    with pytest.raises(BuildError, match="the file holds no pickled tables"):
        read_frames(io.BytesIO(b"text"))
    with pytest.raises(BuildError, match="the file holds no pickled tables"):
        read_frames(io.BytesIO(pickle.dumps([1, 2])))


def test_features_are_scaled_with_the_training_part() -> None:
    train, valid, test = (sequences([40, 9], [0, 1]) for _ in range(3))
    scaled = standardized(train, valid, test)
    everything = np.concatenate(scaled[0].inputs)
    np.testing.assert_allclose(everything.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(everything.std(axis=0), 1, atol=1e-5)
    mean, deviation = np.concatenate(train.inputs).mean(axis=0), np.concatenate(train.inputs).std(axis=0)
    np.testing.assert_allclose(scaled[2].inputs[1], (test.inputs[1] - mean) / deviation, rtol=1e-3, atol=1e-5)


def test_batches_hold_one_length_and_every_sequence_once() -> None:
    train = sequences([5, 7, 5, 5, 7, 9], [0, 1, 2, 0, 1, 2])
    task = ClassificationTask(ClassificationData(("a", "b", "c"), train, train, train, ""), batch=2, seed=0)
    task.begin_epoch(0)
    first = task.batches()
    assert sorted(tuple(inputs.shape[:2]) for inputs, _ in first) == [(1, 5), (1, 9), (2, 5), (2, 7)]
    seen = sorted(
        (float(row[0, 0]), int(label))
        for inputs, labels in first
        for row, label in zip(inputs, labels, strict=True)
    )
    assert seen == sorted((float(x[0, 0]), y) for x, y in zip(train.inputs, train.labels, strict=True))
    task.begin_epoch(1)
    assert len(task.batches()) == len(first)
    assert {len(x) for x in calibration_batches(train, 2, 2)} <= {1, 2}


def test_majority_class_is_that_of_training() -> None:
    train, test = sequences([3] * 5, [1, 1, 1, 0, 2]), sequences([3] * 4, [0, 0, 1, 2])
    assert ClassificationData(("a", "b", "c"), train, train, test, "").majority() == 25.0


@pytest.mark.network
def test_pinned_vowels() -> None:
    try:
        data = vowels.load()
    except BuildError as error:
        pytest.skip(str(error))
    assert [len(p.labels) for p in (data.train, data.valid, data.test)] == [225, 45, 370]
    assert np.bincount(data.test.labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert (min(map(len, data.test.inputs)), max(map(len, data.test.inputs)), data.features) == (7, 29, 12)


@pytest.mark.network
def test_pinned_activities() -> None:
    try:
        data = activity.load()
    except BuildError as error:
        pytest.skip(str(error))
    assert [len(p.labels) for p in (data.train, data.valid, data.test)] == [5998, 1417, 2996]
    assert data.train.inputs[0].shape == (128, 6)
    assert round(data.majority(), 2) == 18.19
