"""Bulk jobs: the same results by threads, by processes and by a cluster, in bounded memory, and an end that is one."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore, IntegrityError, bulk
from artifactfs.bulk import each

from .clusters import a_cluster

ROOT = Path(__file__).resolve().parent.parent


def square(number: int) -> int:
    if number < 0:
        raise IntegrityError(f"no shard {number}", artifact="shop/alice/s1/x")
    return number * number


def test_threads_work_where_nothing_else_is_given() -> None:
    assert sorted(each(square, range(100))) == [n * n for n in range(100)]
    names: set[str] = set()
    assert len(list(each(lambda _: names.add(threading.current_thread().name), range(10)))) == 10
    assert all(name.startswith("artifactfs") for name in names)


def test_no_shard_is_no_work() -> None:
    assert list(each(square, [])) == []


def saved(job: tuple[ArtifactStore, int]) -> tuple[int, int]:
    store, number = job
    record = store.scope("shop", "alice", f"s{number % 3}").save(f"{number}.txt", str(number))
    return number, record.version


def test_processes_give_the_same_results(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        _same_by(pool, tmp_path)


def _same_by(executor: bulk.Executor, folder: Path) -> None:
    store = ArtifactStore(folder / "store", durability="none")
    assert sorted(each(square, range(50), executor)) == [n * n for n in range(50)]
    assert sorted(each(square, range(50), executor)) == [n * n for n in range(50)]
    assert sorted(each(saved, [(store, n) for n in range(9)], executor)) == [(n, 0) for n in range(9)]
    # The same shards once more are done once more.
    assert sorted(each(saved, [(store, n) for n in range(9)], executor)) == [(n, 1) for n in range(9)]
    results = each(square, [1, -1, 2, -2, 3], executor)
    told = []
    with pytest.raises(IntegrityError, match="no shard -") as failed:
        told += results
    assert failed.value.artifact == "shop/alice/s1/x"


def test_the_workers_of_a_cluster_give_the_same_results(tmp_path: Path) -> None:
    with a_cluster() as client:
        _same_by(client.get_executor(), tmp_path)


def test_an_error_loses_no_other_result_and_is_raised_at_the_end() -> None:
    told: list[int] = []
    with pytest.raises(IntegrityError, match=r"no shard -1") as failed:
        for result in each(square, [-1, 2, -3, 4, -5]):
            told.append(result)  # noqa: PERF402
    assert sorted(told) == [4, 16]
    assert any("2 more failed, of 5" in note for note in failed.value.__notes__)


def test_shards_that_cannot_be_listed_to_their_end_lose_no_result() -> None:
    def shards() -> Iterator[int]:
        yield from (1, 2, 3)
        raise ConnectionError("the listing was cut off")

    told = []
    with pytest.raises(ConnectionError, match="cut off"):
        for result in each(square, shards()):
            told.append(result)  # noqa: PERF402
    assert sorted(told) == [1, 4, 9]


def test_an_executor_that_takes_no_more_loses_no_result() -> None:
    class Closing(Inline):
        def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
            if self.count == 2:
                raise RuntimeError("cannot schedule new futures after shutdown")
            return super().submit(fn, *args)

    told = []
    with pytest.raises(RuntimeError, match="after shutdown"):
        for result in each(square, range(5), Closing()):
            told.append(result)  # noqa: PERF402
    assert sorted(told) == [0, 1]


class Inline:
    """An executor that has done all work at once when it is handed over, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        self.count += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def _taken_ahead(run: Callable[..., Iterator[int]]) -> int:
    """The most shards that were taken and not told of, of 20,000."""
    taken, most = 0, 0

    def shards() -> Iterable[int]:
        nonlocal taken
        for number in range(20_000):
            taken += 1
            yield number

    for told, _ in enumerate(run(square, shards(), Inline())):
        most = max(most, taken - told)
    assert taken == 20_000
    return most


def test_shards_are_taken_as_they_are_needed() -> None:
    assert _taken_ahead(each) <= bulk.AT_ONCE


def test_a_run_that_takes_all_shards_at_first_would_be_found() -> None:
    def all_at_once(work: Callable[[int], int], shards: Iterable[int], executor: Pool) -> Iterator[int]:
        yield from [future.result() for future in [executor.submit(work, shard) for shard in shards]]

    assert _taken_ahead(all_at_once) == 20_000


def test_memory_does_not_grow_with_the_shards() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            for _ in each(square, range(count), Inline()):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(20_000) < peak(2_000) * 1.5


def test_closing_waits_for_what_is_begun_and_begins_no_more() -> None:
    begun: list[int] = []
    ended: list[int] = []
    go_on = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            go_on.wait(60)
        ended.append(number)
        return number

    with ThreadPoolExecutor(2) as pool:
        running = each(work, range(100), pool)
        assert next(running) == 0
        threading.Timer(0.05, go_on.set).start()
        running.close()  # type: ignore[attr-defined]
        assert sorted(begun) == sorted(ended)
        assert len(begun) < 100
    assert len(begun) == len(ended) < 100


def test_an_interrupt_waits_for_what_is_begun_and_begins_no_more(tmp_path: Path) -> None:
    """Ctrl-C in a process of its own, where it comes while results are waited for."""
    program = """
import os, signal, sys, threading, time
from artifactfs.bulk import each

begun, ended = [], []
go_on = threading.Event()

def work(number):
    begun.append(number)
    if number == 3:
        threading.Timer(0.2, go_on.set).start()
        os.kill(os.getpid(), signal.SIGINT)
    if number:
        go_on.wait(60)
    ended.append(number)
    return number

try:
    for _ in each(work, range(1000)):
        pass
except KeyboardInterrupt:
    assert sorted(begun) == sorted(ended) and len(begun) < 100, (begun, ended)
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout == "interrupted\n", done.stderr


def test_a_process_that_dies_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    from concurrent.futures.process import BrokenProcessPool

    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(BrokenProcessPool),
    ):
        list(each(_die, range(3), pool))


def _die(number: int) -> None:
    import os

    os._exit(1)


def test_work_that_is_not_wanted_any_more_is_told_before_it_is_waited_for() -> None:
    begun, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number:
            begun.set()
            stopped.wait(60)
            ended.set()
        else:
            begun.wait(60)
        return number

    running = each(work, range(2), stopped=stopped)
    assert next(running) == 0
    running.close()  # type: ignore[attr-defined]
    assert stopped.is_set() and ended.is_set()


def test_nobody_is_told_to_stop_where_all_is_wanted() -> None:
    stopped = threading.Event()
    assert sum(each(square, range(10), stopped=stopped)) == 285
    assert not stopped.is_set()
