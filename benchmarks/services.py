"""What stores artifacts, each by one small interface: artifactfs, floors (the same requests by hand) and peers.

A service runs in this process, or in a process of the environment that has its packages (`worker.Worker`); so nothing is
imported here that only one of them has.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

SCOPE = ("shop", "alice", "s1")


class Service:
    """What a case drives. A method may be a coroutine function: then its calls are tasks of one loop, else threads.

    `load` gives the version that the first `save` of that name made: one that is known, so that nothing is looked up.
    What a service lacks it does not override.
    """

    def save(self, name: str, data: bytes) -> Any:
        raise NotImplementedError

    def load(self, name: str) -> Any:
        raise NotImplementedError

    def latest(self, name: str) -> Any:
        """The bytes of the newest version."""
        raise NotImplementedError

    def versions(self, name: str) -> Any:
        """The versions of a name, as what `read` takes."""
        raise NotImplementedError

    def read(self, name: str, version: Any) -> Any:
        """The bytes of a version that `versions` gave."""
        raise NotImplementedError

    def history(self, name: str) -> Any:
        """All versions with their details (time, type, size as far as the service has them)."""
        raise NotImplementedError

    def names(self) -> Any:
        """The names of the scope."""
        raise NotImplementedError

    def close(self) -> None: ...


@dataclass(frozen=True)
class Work:
    """What is done, over and over: call *i* is about ``names[i % len(names)]``, so that no name is in flight twice
    where there are as many names as calls in flight.

    *size*: bytes of a payload that is saved.
    """

    op: Literal["save", "load", "latest", "versions", "history", "names"]
    names: tuple[str, ...] = ("report.csv",)
    size: int = 1024
    in_flight: int = 1


def named(count: int) -> tuple[str, ...]:
    """So many names."""
    return tuple(f"report-{number:05}.csv" for number in range(count))


def payload(size: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(size)


_loop: list[asyncio.AbstractEventLoop] = []
_threads: dict[int, ThreadPoolExecutor] = {}
_payloads = itertools.count()


def loop() -> asyncio.AbstractEventLoop:
    """The loop of this process that all asynchronous services run on."""
    if not _loop or _loop[0].is_closed():
        _loop[:] = [asyncio.new_event_loop()]
    return _loop[0]


def end() -> None:
    """End the loop and the threads of this process."""
    for pool in _threads.values():
        pool.shutdown()
    _threads.clear()
    for made in _loop:
        made.run_until_complete(made.shutdown_asyncgens())
        made.run_until_complete(made.shutdown_default_executor())
        made.close()
    _loop.clear()


def drive(service: Service, work: Work, calls: int) -> float:
    """The seconds that so many calls take, `Work.in_flight` at a time."""
    method = getattr(service, work.op)
    lanes = work.in_flight
    content = payload(work.size) if work.op == "save" else None

    def arguments(call: int) -> tuple[Any, ...]:
        name = work.names[call % len(work.names)] if work.names else None
        # Each payload is another one: some name what they store by its content.
        data = None if content is None else b"%016x" % next(_payloads) + content[16:]
        return tuple(one for one in (name, data) if one is not None)

    plan = [[arguments(call) for call in range(lane, calls, lanes)] for lane in range(lanes)]
    if inspect.iscoroutinefunction(method):

        async def task(lane: list[tuple[Any, ...]]) -> None:
            for told in lane:
                await method(*told)

        async def all_tasks() -> float:
            begun = time.perf_counter()
            if lanes == 1:
                await task(plan[0])
            else:
                await asyncio.gather(*map(task, plan))
            return time.perf_counter() - begun

        return loop().run_until_complete(all_tasks())

    def thread(lane: list[tuple[Any, ...]]) -> None:
        for told in lane:
            method(*told)

    if lanes == 1:
        begun = time.perf_counter()
        thread(plan[0])
        return time.perf_counter() - begun
    if lanes not in _threads:
        _threads[lanes] = ThreadPoolExecutor(lanes)
    begun = time.perf_counter()
    list(_threads[lanes].map(thread, plan))
    return time.perf_counter() - begun


def finished(found: Any) -> Any:
    """What a method gave, awaited where it is a coroutine."""
    return loop().run_until_complete(found) if inspect.isawaitable(found) else found


def race(service: Service, name: str, who: int, saves: int, size: int, at: float) -> dict[str, Any]:
    """Save so often, from a moment of `time.perf_counter` on; the first bytes of what was acknowledged, when all was
    done, and what was raised."""
    data = [payload(size, (who, turn)) for turn in range(saves)]
    raised: list[str] = []
    kept: list[str] = []
    time.sleep(max(0.0, at - time.perf_counter()))
    for one in data:
        try:
            finished(service.save(name, one))
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is what is counted
            raised.append(f"{type(error).__name__}: {error}"[:200])
        else:
            kept.append(one[:16].hex())
    return {"acknowledged": kept, "raised": raised, "ended": time.perf_counter()}


def stored(service: Service, name: str) -> list[str]:
    """The first bytes of every version that is there."""
    found = []
    for version in finished(service.versions(name)):
        try:
            data = finished(service.read(name, version))
        except Exception:  # noqa: BLE001 - a version that cannot be read is not kept
            continue
        found.append(bytes(data)[:16].hex())
    return found


# --- artifactfs -------------------------------------------------------------------------------------------------------


class Ours(Service):
    """`ArtifactStore`, opened with what it is told."""

    def __init__(self, url: str, **options: Any) -> None:
        from artifactfs import ArtifactStore

        self.store = ArtifactStore(url, **options)
        self.scope = self.store.scope(*SCOPE)

    def save(self, name: str, data: bytes) -> None:
        self.scope.save(name, data)

    def load(self, name: str) -> bytes:
        return self.scope.load(name, 0).data

    def latest(self, name: str) -> bytes:
        return self.scope.load(name).data

    def versions(self, name: str) -> list[int]:
        return self.scope.versions(name)

    def read(self, name: str, version: int) -> bytes:
        return self.scope.load(name, version).data

    def history(self, name: str) -> list[Any]:
        return list(self.scope.history(name))

    def names(self) -> list[Any]:
        return list(self.scope.names())

    def close(self) -> None:
        self.store.close()


class OursAwaited(Service):
    """`AsyncArtifactStore`, opened with what it is told."""

    def __init__(self, url: str, **options: Any) -> None:
        from artifactfs import AsyncArtifactStore

        self.store = AsyncArtifactStore(url, **options)
        self.scope = self.store.scope(*SCOPE)

    async def save(self, name: str, data: bytes) -> None:
        await self.scope.save(name, data)

    async def load(self, name: str) -> bytes:
        return (await self.scope.load(name, 0)).data

    async def latest(self, name: str) -> bytes:
        return (await self.scope.load(name)).data

    def close(self) -> None:
        loop().run_until_complete(self.store.close())


# --- floors -----------------------------------------------------------------------------------------------------------

RECORD = b"{" + b" " * 415 + b"}"
"""As long as the record of a version of a small file is."""


class Floor(Service):
    """Two objects for each save, as artifactfs has them, under numbers that nobody else uses: nothing is decided."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._first: dict[str, str] = {}

    def fresh(self, name: str) -> str:
        """The key of a new version; the first of a name is what `load` gives."""
        key = f"{name}/{next(self._numbers)}"
        self._first.setdefault(name, key)
        return key

    def known(self, name: str) -> str:
        return self._first[name]


# --- all of them ------------------------------------------------------------------------------------------------------

SERVICES: dict[str, str] = {
    "artifactfs": "services:Ours",
    "artifactfs-awaited": "services:OursAwaited",
    "files": "floors:Files",
    "files-synced": "floors:SyncedFiles",
    "dict": "floors:Dict",
    "obstore": "floors:Obstore",
    "obstore-awaited": "floors:ObstoreAwaited",
    "s3fs": "floors:S3fs",
    "s3fs-awaited": "floors:S3fsAwaited",
    "gcsfs-awaited": "floors:GcsfsAwaited",
    "boto3": "floors:Boto3",
    "pins": "pins_service:Pins",
    "pins-s3": "pins_service:PinsS3",
    "adk-memory": "peer_services:AdkMemory",
    "adk-file": "peer_services:AdkFile",
    "adk-gcs": "peer_services:AdkGcs",
    "adk-s3": "peer_services:AdkS3",
    "solace": "peer_services:Solace",
    "solace-s3": "peer_services:SolaceS3",
}
"""Where each service is: module and class. Those of `peer_services` need the environment of `make peers`."""


def of_peers(service: str) -> bool:
    """Whether a service needs the environment of the peers."""
    return SERVICES[service].startswith("peer_services:")


def opened(service: str, told: dict[str, Any]) -> Service:
    """A service in this process. *told*: what its class takes."""
    module, _, name = SERVICES[service].partition(":")
    made: Callable[..., Service] = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    return made(**told)


def s3_told(bucket: str, endpoint: str, key: str, secret: str) -> dict[str, str]:
    """What every service on S3 but artifactfs takes."""
    return {"bucket": bucket, "endpoint": endpoint, "key": key, "secret": secret}
