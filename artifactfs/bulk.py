"""Bulk jobs: one function over many shards of work, by threads, by processes, or by the workers of a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from queue import SimpleQueue
from threading import Event
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

Shard = TypeVar("Shard")
Result = TypeVar("Result")
T = TypeVar("T")

AT_ONCE = 1000
"""Shards that are handed over and not told of yet, at most: enough for a large cluster, and memory stays constant."""

THREADS = 16
"""Threads that work where no executor is given: they mostly wait for a store."""


class Executor(Protocol):
    """Whatever runs calls as those of `concurrent.futures` do: a pool of threads or of processes, or that which
    ``distributed.Client.get_executor()`` gives.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have *fn* called with *args* somewhere."""
        ...


class Shared(Generic[T]):
    """What work needs besides its shard: itself in this process, and in each other one opened once, when it is asked for.

    So what cannot be opened there is an error of the work, and does not break the executor.
    """

    def __init__(self, it: T | None, data: bytes = b"") -> None:
        self._it, self._data = it, data

    def get(self) -> T:
        found: T = _opened(self._data) if self._it is None else self._it
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        self._data = self._data or pickle.dumps(self._it)
        return Shared, (None, self._data)


@lru_cache(maxsize=4)
def _opened(data: bytes) -> Any:
    return pickle.loads(data)


def each(
    work: Callable[[Shard], Result],
    shards: Iterable[Shard],
    executor: Executor | None = None,
    *,
    stopped: Event | None = None,
) -> Iterator[Result]:
    """The result of ``work(shard)`` for every shard, in the order in which they are ready.

    Every shard is worked on, also where others fail: an error is raised when all other results have been given, the
    first one, with a note of how many more there were. Shards are taken as they are needed, so that there may be any
    number of them. Where the iterator is closed, or interrupted, no other shard is begun; it waits for those that are
    being worked on, except by workers of a Dask cluster, which end what they have begun unseen.

    >>> from artifactfs.bulk import each
    >>> sorted(each(len, ["one", "three"]))
    [3, 5]

    Args:
        work: a function that can be pickled, unless threads work.
        shards: values that can be pickled, unless threads work.
        executor: else some threads of its own. It is left open.
        stopped: set before anything is waited for that was begun and is not wanted any more, so that *work* may look there
            whether to go on.
    """
    if executor is None:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="artifactfs") as own:
            yield from _each(work, iter(shards), own, stopped)
    else:
        yield from _each(work, iter(shards), executor, stopped)


def _each(
    work: Callable[[Shard], Result], shards: Iterator[Shard], executor: Executor, stopped: Event | None
) -> Iterator[Result]:
    run, count = uuid4().hex, 0
    begun: set[Future[Result]] = set()
    ended: SimpleQueue[Future[Result]] = SimpleQueue()
    errors: list[Exception] = []
    more = True
    try:
        while True:
            while more and len(begun) < AT_ONCE:
                try:
                    shard = next(shards)
                    future = executor.submit(_call, work, shard, f"{run}-{count}")
                except StopIteration:
                    more = False
                except Exception as error:  # noqa: BLE001  (raised when what was begun has ended)
                    errors.append(error)
                    more = False
                else:
                    begun.add(future)
                    count += 1
                    future.add_done_callback(ended.put)
            if not begun:
                break
            future = ended.get()
            begun.remove(future)
            try:
                result = future.result()
            except Exception as error:  # noqa: BLE001
                errors.append(error)
            else:
                yield result
            del future
    finally:
        if begun and stopped is not None:
            stopped.set()
        for future in begun:
            future.cancel()
        for future in begun:
            while not future.done():
                ended.get()
    if errors:
        if len(errors) > 1:
            errors[0].add_note(f"(and {len(errors) - 1} more failed, of {count} shards that were begun)")
        raise errors[0]


def _call(work: Callable[[Shard], Result], shard: Shard, call: str) -> Result:
    """*call* is another one each time: Dask takes calls that are alike for one, and gives it an earlier one's result."""
    return work(shard)
