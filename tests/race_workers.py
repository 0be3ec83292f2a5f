"""What runs in processes of its own for the tests of races, of kills and of memory; and a server that begins full.

A function here is given plain values and gives plain values back, so that it can be sent to a spawned process. Run as a
program, ``race_workers.py PORT BUCKET=COUNT…`` is a moto server whose buckets hold an artifact of so many versions.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from artifactfs import ArtifactStore
from artifactfs.drivers import call
from artifactfs.errors import ArtifactNotFound, Conflict, IntegrityError, VersionNotFound

NAME = "raced.bin"

Saved = tuple[int, str]
"""A version that was acknowledged, and the SHA-256 of what was saved."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def payload(who: object, turn: int, size: int) -> bytes:
    """*size* bytes that no other turn of anybody has."""
    return random.Random(f"{who} {turn}").randbytes(size)


def opened(where: tuple[str, dict[str, Any]]) -> ArtifactStore:
    url, options = where
    return ArtifactStore(url, **options)


# --- eight processes --------------------------------------------------------------------------------------------------

_start: Any = None


def _ready(barrier: Any) -> None:
    global _start
    _start = barrier


class Pool:
    """So many spawned processes, kept for many races: each begins when all of its runners stand at the line."""

    def __init__(self, runners: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.runners = runners
        self._pool = ProcessPoolExecutor(
            runners, mp_context=context, initializer=_ready, initargs=(context.Barrier(runners),)
        )

    def race(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``function(runner, *arguments)`` gives back in each of the processes."""
        futures = [self._pool.submit(_run, function, runner, arguments) for runner in range(self.runners)]
        return [future.result(240) for future in futures]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _run(function: Callable[..., Any], runner: int, arguments: Sequence[Any]) -> Any:
    _start.wait(120)
    return function(runner, *arguments)


def save_many(who: object, where: tuple[str, dict[str, Any]], saves: int, size: int) -> tuple[list[Saved], list[str]]:
    """Save *saves* payloads of *size* bytes; what was acknowledged, and what was raised."""
    saved: list[Saved] = []
    raised: list[str] = []
    with opened(where) as store:
        scope = store.scope("shop", "alice", "s1")
        for turn in range(saves):
            data = payload(who, turn, size)
            try:
                saved.append((scope.save(NAME, data).version, digest(data)))
            except Exception as error:
                raised.append(f"{type(error).__name__}: {error}")
    return saved, raised


def count_up(who: int, where: tuple[str, dict[str, Any]], times: int) -> tuple[list[int], int]:
    """Add one to a counter, so many times, by compare-and-set; the versions that it made, and how often it lost."""
    versions: list[int] = []
    lost = 0
    with opened(where) as store:
        scope = store.scope("shop", "alice", "s1")
        while len(versions) < times:
            try:
                seen = scope.load("counter")
                value, expect = int(seen.data), seen.record.version
            except ArtifactNotFound:
                value, expect = 0, "absent"
            try:
                versions.append(scope.save("counter", str(value + 1), expect=expect).version)
            except Conflict:
                lost += 1
    return versions, lost


def meddle(who: int, where: tuple[str, dict[str, Any]], turns: int) -> dict[str, Any]:
    """Save, delete what one saved, remove, list names, and read the newest, in a mixture of one's own."""
    dice = random.Random(who)
    saved: dict[int, str] = {}
    deleted: list[int] = []
    missed = 0
    with opened(where) as store:
        scope = store.scope("shop", "alice", "s1")
        for turn in range(turns):
            what = dice.choice(("save", "save", "save", "delete", "remove", "names", "load"))
            if what == "save" or (what == "delete" and not saved):
                data = payload(who, turn, 300)
                saved[scope.save(NAME, data).version] = digest(data)
            elif what == "delete":
                number = dice.choice(sorted(saved))
                scope.delete(NAME, version=number)
                deleted.append(number)
                del saved[number]
            elif what == "remove":
                with contextlib.suppress(ArtifactNotFound):
                    scope.remove(NAME)
            elif what == "names":
                missed += "beside.txt" not in list(scope.names())
            else:
                with contextlib.suppress(ArtifactNotFound, VersionNotFound):
                    found = scope.load(NAME)
                    missed += found.record.sha256 != digest(found.data)
    return {"saved": saved, "deleted": deleted, "missed": missed}


# --- a fork in the middle ---------------------------------------------------------------------------------------------


def save_across_a_fork(
    runner: int, where: tuple[str, dict[str, Any]], saves: int, size: int
) -> tuple[list[Saved], list[str]]:
    """As `save_many` with a store that is open and in use; then this process forks, and both go on saving with it."""
    saved: list[Saved] = []
    with opened(where) as store:
        scope = store.scope("shop", "alice", "s1")

        def go(who: str) -> list[Saved]:
            done = []
            for turn in range(saves):
                data = payload(f"{runner} {who}", turn, size)
                done.append((scope.save(NAME, data).version, digest(data)))
            return done

        saved += go("before")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            answer: Any
            try:
                os.close(reading)
                answer = go("child")
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        os.close(writing)
        saved += go("parent")
        with open(reading, "rb") as pipe:
            told = json.loads(pipe.read() or b'"the child told nothing"')
        os.waitpid(child, 0)
    return (saved, [told]) if isinstance(told, str) else (saved + [(number, seen) for number, seen in told], [])


# --- kill -9 ----------------------------------------------------------------------------------------------------------

LONG = 8 * 1024 * 1024 + 1
"""Bytes: one more than what is saved whole, so that it goes the way of a stream."""


def _save_for_ever(folder: str, durability: str, writing: int, seed: int) -> None:
    """Save and tell each acknowledged version, until killed."""
    scope = ArtifactStore(folder, durability=durability).scope("shop", "alice", "s1")  # type: ignore[arg-type]
    dice = random.Random(seed)
    turn = 0
    while True:
        turn += 1
        data = payload(seed, turn, dice.choice((0, 100, 5000, 200_000)))
        if dice.random() < 0.12:
            data += bytes(LONG)
            view = memoryview(data)
            record = scope.save(NAME, (bytes(view[at : at + 500_000]) for at in range(0, len(data), 500_000)))
        else:
            record = scope.save(NAME, data)
        os.write(writing, f"{record.version} {digest(data)}\n".encode())


def kill_savers(folder: str, durability: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill so many savers, one after the other, each at a random moment, and look at what is there after each.

    Gives back what is wrong, and how often a saver died with a number claimed and not published (so that a test can tell
    that the kills struck in the middle).
    """
    dice = random.Random(seed)
    acknowledged: dict[int, str] = {}
    checked: set[int] = set()
    wrong: list[str] = []
    store = ArtifactStore(folder, durability="none")
    scope = store.scope("shop", "alice", "s1")
    in_the_middle, claimed = 0, set[int]()
    for kill in range(kills):
        with _child(folder, durability, seed * 1000 + kill) as (pid, pipe):
            for _ in range(dice.choice((0, 1, 1, 2, 3))):
                number, seen = pipe.readline().split()
                acknowledged[int(number)] = seen.decode()
            time.sleep(dice.random() * 0.012)
            os.kill(pid, signal.SIGKILL)
            for line in pipe:  # what it still told before it died
                if line.endswith(b"\n"):
                    number, seen = line.split()
                    acknowledged[int(number)] = seen.decode()
        there = scope.versions(NAME)
        for number in set(there) - checked:
            try:
                seen = scope.load(NAME, version=number).record.sha256
            except IntegrityError as error:
                wrong.append(f"kill {kill}: {error}")
                continue
            if seen != acknowledged.get(number, seen):
                wrong.append(f"kill {kill}: version {number} holds other bytes")
        checked |= set(there)
        wrong += [f"kill {kill}: version {number} is missing" for number in acknowledged.keys() - set(there)]
        claims = {int(name.partition(".")[0]) for name in _keys(folder) if name.endswith(".metadata")} - set(there)
        in_the_middle += claims != claimed
        claimed = claims
        saved = scope.save(NAME, f"after kill {kill}")
        acknowledged[saved.version] = digest(f"after kill {kill}".encode())
    return {"wrong": wrong, "in_the_middle": in_the_middle, "acknowledged": len(acknowledged)}


def _keys(folder: str) -> list[str]:
    try:
        return os.listdir(os.path.join(folder, "shop", "alice", "s1", NAME))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _child(folder: str, durability: str, seed: int) -> Iterator[tuple[int, Any]]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            _save_for_ever(folder, durability, writing, seed)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as pipe:
        yield pid, pipe
    os.waitpid(pid, 0)


# --- a server that begins full ----------------------------------------------------------------------------------------


def serve_full(port: int, filled: dict[str, int]) -> None:
    """A moto server; *filled* says of which buckets an artifact has how many versions, as a saver leaves them."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import run_simple

    backend = s3_backends["123456789012"]["aws"]
    for bucket, count in filled.items():
        backend.create_bucket(bucket, "us-east-1")
        for key, data in versions(count):
            backend.put_object(bucket, f"prefix/{key}", data)
    run_simple("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=True)


def versions(count: int) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes that one saver leaves of an artifact with *count* versions: its hints too."""
    store = ArtifactStore(f"memory://versions-{count}-{os.getpid()}")
    scope = store.scope("shop", "alice", "s1")
    for number in range(count):
        scope.save(NAME, f"version {number}")
    backend, position = store.backend, ""
    while True:
        page = call(backend, functools.partial(backend.list, "", position, deep=True))
        for entry in page.entries:
            got = call(backend, functools.partial(backend.get, entry.name))
            assert got is not None
            yield entry.name, got.data
        if page.next is None:
            return
        position = page.next


if __name__ == "__main__":
    serve_full(
        int(sys.argv[1]), {bucket: int(count) for bucket, _, count in (arg.partition("=") for arg in sys.argv[2:])}
    )
