"""Libraries and streams in other processes and in copies."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import leaky
import numpy as np
import pytest
from leaky import Build

import irnn_tvm
from irnn_tvm.compiler.compile_sources import compile_c_library
from irnn_tvm.errors import InputError, LoadError
from irnn_tvm.runtime import Library, Stream, load

X, K = leaky.sample(6)
START_METHODS = ("fork", "spawn", "forkserver")


def run_here(library: Library) -> tuple[int, Any]:
    """In a worker: who ran it, and its outputs."""
    return os.getpid(), library.run(X, K)


def go_on(stream: Stream) -> tuple[Any, Stream]:
    """In a worker: the second half of the sequence, and the stream after it."""
    return stream.run(X[3:], K[3:]), stream


def refused(library: Library) -> None:
    library.run(X)


def same(found: Any, expected: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("method", START_METHODS)
def test_process_pools(host: Library, method: str) -> None:
    """A library and a stream in mid-sequence go to workers and come back; errors come back as themselves."""
    stream = host.stream()
    stream.run(X[:3], K[:3])
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(run_here, [host] * 4))
        rest, returned = pool.submit(go_on, stream).result(60)
        with pytest.raises(InputError, match="takes 2 inputs"):
            pool.submit(refused, host).result(60)
    with context.Pool(1) as pool:
        found += pool.map(run_here, [host] * 2)
    assert all(pid != os.getpid() and same(outputs, leaky.reference(X, K)) for pid, outputs in found)
    whole = leaky.reference(X, K)
    assert same(rest, (whole[0][3:], whole[1]))
    # The worker had a copy: here the stream stands where it stood, and the one that came back is further.
    assert same(stream.run(X[3:], K[3:]), rest)
    assert returned.state == stream.state


@pytest.mark.emulator
def test_emulated_library_and_its_stream(build: Build) -> None:
    library = build("cortex-m4")
    stream = library.stream()
    fresh = pickle.loads(pickle.dumps(stream))
    stream.run(X[:3], K[:3])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        rest, returned = pool.submit(go_on, stream).result(120)
    whole = leaky.reference(X, K)
    assert same(rest, (whole[0][3:], whole[1]))
    assert returned._library.emulated
    assert same(fresh.run(X, K), whole)
    assert same(pickle.loads(pickle.dumps(library)).run(X, K), whole)


@pytest.mark.emulator
def test_emulation_that_was_asked_for_is_kept(build: Build) -> None:
    library = load(build("arm").directory, emulate=True)
    assert pickle.loads(pickle.dumps(library)).emulated


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
@pytest.mark.parametrize("started", [False, True])
def test_copies_of_a_stream_are_independent(host: Library, copied: Any, started: bool) -> None:
    stream = host.stream()
    done = 3 if started else 0
    if started:
        stream.run(X[:3], K[:3])
    twin = copied(stream)
    other = leaky.sample(4, seed=9)
    stream.run(*other)
    whole = leaky.reference(X, K)
    assert same(twin.run(X[done:], K[done:]), (whole[0][done:], whole[1]))
    # Buffers that one uses again do not lead into the memory of the other.
    twin.reset()
    assert same(twin.run(X[:1], K[:1]), leaky.reference(X[:1], K[:1]))
    before = stream.state
    twin.run(*other)
    assert stream.state == before
    assert copy.deepcopy([stream, stream])[0] is not stream


def test_a_copy_of_a_library_is_the_library(host: Library) -> None:
    assert copy.copy(host) is host
    assert copy.deepcopy({"model": host})["model"] is host


def test_streams_of_one_pickle_share_their_library(host: Library) -> None:
    one, other, library = pickle.loads(pickle.dumps((host.stream(), host.stream(), host)))
    assert one._library is other._library is library


def test_relative_path_after_a_change_of_directory(
    host: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.export(tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    library = load("copy")
    monkeypatch.chdir("/")
    assert same(pickle.loads(pickle.dumps(library)).run(X, K), leaky.reference(X, K))


def test_another_library_at_the_path_is_refused(host: Library, tmp_path: Path) -> None:
    copied = load(host.export(tmp_path / "copy"))
    library, stream = pickle.dumps(copied), pickle.dumps(copied.stream())
    path = tmp_path / "copy" / "report.json"
    path.write_text(path.read_text().replace('"scale": 0.5', '"scale": 0.25'))
    for data in (library, stream):
        with pytest.raises(LoadError, match=r"holds another library .*built again"):
            pickle.loads(data)
    shutil.rmtree(tmp_path / "copy")
    for data in (library, stream):
        with pytest.raises(LoadError, match="pickles hold the path of a library, not its files"):
            pickle.loads(data)


def test_compiled_sources_live_as_long_as_their_library(build: Build) -> None:
    library = compile_c_library(build("c").directory)
    data = pickle.dumps(library)
    assert same(pickle.loads(data).run(X, K), leaky.reference(X, K))
    folder = library.directory
    # A child of fork that drops its copy leaves the files of its parent alone, however it ends.
    child = os.fork()
    if child == 0:
        try:
            del library
            gc.collect()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert folder.is_dir()
    del library
    gc.collect()
    assert not folder.exists()
    with pytest.raises(LoadError, match=r"built without out= into a temporary folder"):
        pickle.loads(data)


def test_fork_while_another_thread_opens_libraries(host: Library) -> None:
    """The lock of opened libraries is free in a child, whoever held it."""
    from irnn_tvm.runtime import native

    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with native._opened_lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        ok = 1
        try:
            ok = 0 if same(load(host.directory).run(X, K), leaky.reference(X, K)) else 2
        finally:
            os._exit(ok)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_whole_model(tmp_path: Path) -> None:
    """The hash of the interface knows the weights: a model that was trained further is another library."""
    import torch
    from torch import nn

    def make(seed: int) -> Library:
        torch.manual_seed(seed)
        model = nn.GRU(5, 7, batch_first=True)
        data = [torch.randn(2, 6, 5) for _ in range(2)]
        return irnn_tvm.build(model, "host", calibration=data, out=tmp_path / "gru")

    library = make(0)
    x = library.inputs[0].quantize(np.random.default_rng(0).normal(size=(1, 4, 5)))
    rest = [np.zeros((1, 1, 7), np.int16)] if len(library.inputs) > 1 else []
    stream = library.stream()
    stream.run(x, *rest)
    data = pickle.dumps((library, stream))
    again, going_on = pickle.loads(data)
    assert same(again.run(x, *rest), library.run(x, *rest))
    assert same(going_on.run(x, *rest), stream.run(x, *rest))
    make(1)
    with pytest.raises(LoadError, match="holds another library"):
        pickle.loads(data)
