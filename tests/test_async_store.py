"""`AsyncArtifactStore` keeps the same promises, awaited, from any event loop."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import pickle
import random
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from artifactfs import (
    AccessDenied,
    ArtifactError,
    ArtifactNotFound,
    ArtifactReader,
    ArtifactStore,
    ArtifactWriter,
    AsyncArtifactStore,
    AsyncScope,
    Conflict,
    IntegrityError,
    InvalidMetadata,
    InvalidName,
    InvalidRef,
    PayloadTooLarge,
    Removed,
    Scope,
    VersionNotFound,
)
from artifactfs.async_files import AsyncArtifactReader, AsyncArtifactWriter
from artifactfs.testing.store_base import LONG

from .servers import Server

T = TypeVar("T")


def _run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


@pytest.fixture(scope="module")
def on_server() -> Iterator[Callable[[Server], AsyncArtifactStore]]:
    made: dict[str, AsyncArtifactStore] = {}

    def on(server: Server) -> AsyncArtifactStore:
        if server.name not in made:
            made[server.name] = AsyncArtifactStore(server.bucket(), **server.storage_options)
        return made[server.name]

    yield on
    for store in made.values():
        _run(store.close())


_OTHERS = [
    pytest.param(name, marks=[pytest.mark.deep, pytest.mark.server(name)]) for name in ("ceph", "minio", "fake_gcs")
]


@pytest.fixture(params=["memory", "local", "moto", *_OTHERS])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, on_server: Callable[[Server], AsyncArtifactStore]
) -> AsyncArtifactStore:
    match request.param:
        case "memory":
            return AsyncArtifactStore(f"memory://{uuid.uuid4().hex}")
        case "local":
            return AsyncArtifactStore(tmp_path / "root", durability="none")
        case name:
            return on_server(request.getfixturevalue(name))


@pytest.fixture
def scope(store: AsyncArtifactStore) -> AsyncScope:
    return store.scope(f"shop-{uuid.uuid4().hex[:8]}", "alice", "s1")


async def _list(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


async def _pieces(data: bytes, size: int = 1_000_003) -> AsyncIterator[bytes]:
    yield b""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def _unfinished(scope: AsyncScope) -> list[Any]:
    """Uploads that were begun and not ended, as the backend tells where its coroutines may run."""
    from artifactfs.drivers import acall

    backend = scope.store.backend
    return list(await acall(backend, lambda: backend.unfinished(scope.id.folder)))  # type: ignore[arg-type, return-value]


def _again(store: AsyncArtifactStore, **changed: Any) -> AsyncArtifactStore:
    make, (kind, url, settings) = store.__reduce__()
    reopened: AsyncArtifactStore = make(kind, url, {**settings, **changed})
    return reopened


# both surfaces


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def _parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(("blocking", "awaited"), [(ArtifactStore, AsyncArtifactStore), (Scope, AsyncScope)])
def test_both_kinds_of_store_have_the_same_methods_and_parameters(blocking: type, awaited: type) -> None:
    assert _public(blocking) == _public(awaited)
    for name in _public(blocking) | {"__init__"}:
        method, other = getattr(blocking, name), getattr(awaited, name)
        if isinstance(method, property):
            continue
        assert _parameters(method) == _parameters(other), name
        returned, awaits = (str(inspect.signature(one).return_annotation) for one in (method, other))
        assert not {"Steps", "Lazy"} & {returned.partition("[")[0], awaits.partition("[")[0]}, f"help() on {name}"
        if returned.startswith("Iterator"):
            assert awaits == f"Async{returned}"
        elif name not in ("scope", "open", "watch", "from_config", "__init__"):
            assert inspect.iscoroutinefunction(other), name
        assert inspect.getdoc(other), name


def test_both_kinds_of_file_can_do_the_same() -> None:
    for blocking, awaited in ((ArtifactReader, AsyncArtifactReader), (ArtifactWriter, AsyncArtifactWriter)):
        assert _public(awaited) <= _public(blocking)
    assert _public(AsyncArtifactReader) >= {"read", "seek", "tell", "close"}
    assert _public(AsyncArtifactWriter) >= {"write", "tell", "close", "discard"}


# what they do


def test_the_life_of_an_artifact(scope: AsyncScope) -> None:
    async def main() -> None:
        first = await scope.save("notes.txt", b"first", metadata={"by": "alice"})
        second = await scope.save("notes.txt", "zweite", mime_type="text/x", expect=0)
        assert (first.version, second.version, first.mime_type) == (0, 1, "text/plain")
        loaded = await scope.load("notes.txt")
        assert (loaded.data, loaded.record) == (b"zweite", second)
        assert (await scope.load("notes.txt", 0)).data == b"first"
        assert (await scope.load("notes.txt", -2)).record == first
        assert await scope.stat("notes.txt", first.timestamp) == first
        assert await scope.versions("notes.txt") == [0, 1]
        removal = await scope.remove("notes.txt")
        assert isinstance(removal, Removed)
        assert await _list(scope.names()) == []
        assert await _list(scope.history("notes.txt")) == [removal, second, first]
        await scope.delete("notes.txt", 2)
        assert await _list(scope.names()) == ["notes.txt"]
        await scope.delete("notes.txt", -1)
        assert await scope.versions("notes.txt") == [0]
        await scope.delete("notes.txt")
        assert await _list(scope.history("notes.txt")) == []
        assert (await scope.save("notes.txt", b"anew", expect="absent")).version == 3

    _run(main())


def test_names_of_a_session_and_its_user_and_all_that_lies_above(scope: AsyncScope) -> None:
    async def main() -> None:
        store, app = scope.store, scope.id.app
        await asyncio.gather(*(scope.save(name, b"x") for name in ("b", "a/b", "a.csv", "a", "user:logo.png")))
        assert await _list(scope.names()) == ["a", "a/b", "a.csv", "b", "user:logo.png"]
        assert await _list(scope.names("a", after="a")) == ["a/b", "a.csv"]
        assert await _list(store.scope(app, "alice").names()) == ["logo.png"]
        assert app in await _list(store.apps())
        assert await _list(store.users(app)) == ["alice"]
        assert await _list(store.sessions(app, "alice")) == ["s1"]
        names = scope.names()
        assert await anext(names) == "a"
        await names.aclose()  # type: ignore[attr-defined]
        async for name in scope.names():
            assert name == "a"
            break
        assert await store.erase(app, "alice") > 0
        assert await _list(store.users(app)) == []
        assert await store.compact() >= 0
        assert (await store.probe()).create == "atomic"

    _run(main())


@pytest.mark.parametrize("size", [0, 10, len(LONG)])
def test_every_kind_of_payload_comes_back(scope: AsyncScope, size: int, tmp_path: Path) -> None:
    data = LONG[:size]
    path = tmp_path / "payload"
    path.write_bytes(data)

    async def main() -> None:
        with path.open("rb") as file:
            payloads = [
                *(data, bytearray(data), memoryview(data), path, file, io.BytesIO(data)),
                *(iter([data]), [data[:3], data[3:]], _pieces(data), _pieces(data, 70_001)),
            ]
            for number, payload in enumerate(payloads):
                record = await scope.save("x", payload)
                assert (record.version, record.size_bytes) == (number, len(data))
                assert record.sha256 == hashlib.sha256(data).hexdigest()  # type: ignore[union-attr]
                assert (await scope.load("x", number)).data == data

    _run(main())


def test_errors_are_those_of_the_other_store_and_name_this_one(scope: AsyncScope) -> None:
    async def main() -> None:
        await scope.save("x", b"0")
        wrong: list[tuple[type[ArtifactError], Callable[[], Any]]] = [
            (ArtifactNotFound, lambda: scope.load("nothing")),
            (ArtifactNotFound, lambda: scope.remove("nothing")),
            (VersionNotFound, lambda: scope.load("x", 7)),
            (VersionNotFound, lambda: scope.stat("x", -2)),
            (VersionNotFound, lambda: scope.delete("x", 7)),
            (Conflict, lambda: scope.save("x", b"?", expect="absent")),
            (Conflict, lambda: scope.save("x", _pieces(LONG), expect=7)),
            (InvalidName, lambda: scope.save("", b"?")),
            (InvalidMetadata, lambda: scope.save("x", b"?", metadata={"x": {1, 2}})),
            (VersionNotFound, lambda: scope.load("x", "prod")),
            (InvalidRef, lambda: scope.load("x", "Prod")),
        ]
        for kind, call in wrong:
            with pytest.raises(kind) as raised:
                await call()
            if kind is not InvalidMetadata:
                assert raised.value.store in (scope.store.url, None)
        assert await scope.versions("x") == [0]

    _run(main())


@pytest.mark.parametrize("piece", ["text", 7, None])
def test_a_stream_of_something_else_than_bytes_saves_nothing(scope: AsyncScope, piece: Any) -> None:
    async def stream() -> AsyncIterator[Any]:
        yield LONG
        yield piece

    async def main() -> None:
        with pytest.raises(TypeError, match="bytes"):
            await scope.save("x", stream())
        assert await scope.versions("x") == []
        assert await _unfinished(scope) == []

    _run(main())


def test_a_stream_that_fails_saves_nothing_and_leaves_nothing_behind(scope: AsyncScope) -> None:
    async def stream(data: bytes) -> AsyncIterator[bytes]:
        yield data
        raise RuntimeError("the source broke")

    async def main() -> None:
        for data in (b"short", LONG):
            with pytest.raises(RuntimeError, match="the source broke"):
                await scope.save("x", stream(data))
        assert (await scope.versions("x"), await _list(scope.names())) == ([], [])
        assert await _unfinished(scope) == []
        await scope.save("x", b"after")
        assert (await scope.load("x")).data == b"after"

    _run(main())


# many at once


def test_tasks_that_save_one_name_lose_nothing(scope: AsyncScope) -> None:
    async def main() -> None:
        records = await asyncio.gather(*(scope.save("raced", b"%d" % number) for number in range(24)))
        assert sorted(record.version for record in records) == list(range(24))
        loaded = await asyncio.gather(*(scope.load("raced", number) for number in range(24)))
        assert {one.data for one in loaded} == {b"%d" % number for number in range(24)}
        by_version = {record.version: record for record in records}
        assert all(one.record == by_version[one.record.version] for one in loaded)

    _run(main())


def test_of_tasks_that_expect_the_same_exactly_one_wins(scope: AsyncScope) -> None:
    async def main() -> None:
        saves = (scope.save("x", b"%d" % number, expect="absent") for number in range(6))
        outcomes = await asyncio.gather(*saves, return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5
        assert len(await scope.versions("x")) == 1

    _run(main())


def test_one_store_serves_loops_one_after_the_other_and_at_once(scope: AsyncScope) -> None:
    for number in range(3):
        assert _run(scope.save("x", b"%d" % number)).version == number
    errors: list[BaseException] = []

    def work() -> None:
        try:
            _run(scope.save("x", b"thread"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert _run(scope.versions("x")) == list(range(7))


# cancellation


@pytest.mark.parametrize("how", ["save", "file"])
@pytest.mark.parametrize("size", [100, len(LONG)])
def test_a_cancelled_stream_publishes_nothing_and_leaves_nothing_behind(scope: AsyncScope, size: int, how: str) -> None:
    async def main() -> None:
        waiting = asyncio.Event()

        async def stream() -> AsyncIterator[bytes]:
            yield LONG[:size]
            waiting.set()
            await asyncio.Event().wait()

        async def write() -> None:
            async with scope.open("x", "wb") as file:
                async for piece in stream():
                    await file.write(piece)

        await scope.save("x", b"before")
        task = asyncio.create_task(write() if how == "file" else scope.save("x", stream()))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await scope.versions("x") == [0]
        assert await _unfinished(scope) == []
        await scope.save("x", b"after")
        assert (await scope.load("x")).data == b"after"

    _run(main())


def test_a_save_that_is_cancelled_anywhere_is_there_whole_or_not_at_all(scope: AsyncScope) -> None:
    async def main() -> None:
        chance = random.Random(1)
        for number in range(12):
            task = asyncio.create_task(scope.save("x", b"%d" % number))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        versions = await scope.versions("x")
        loaded = [int((await scope.load("x", number)).data) for number in versions]
        assert loaded == sorted(set(loaded))
        record = await scope.save("x", b"after")
        assert (await scope.load("x")).record == record

    _run(main())


# files


@pytest.mark.parametrize("size", [0, 10, len(LONG)])
def test_a_file_becomes_a_version_when_it_is_closed(scope: AsyncScope, size: int) -> None:
    data = LONG[:size]

    async def main() -> None:
        async with scope.open("x.csv", "wb", metadata={"a": 1}) as file:
            async for piece in _pieces(data):
                assert await file.write(bytearray(piece)) == len(piece)
            assert file.tell() == len(data)
            assert await scope.versions("x.csv") == []
        assert file.record is not None
        assert file.record == await scope.stat("x.csv")
        assert file.record.mime_type == "text/csv"
        assert (await scope.load("x.csv")).data == data
        with pytest.raises(ValueError, match="closed"):
            await file.write(b"more")
        await file.close()
        awaited = await scope.open("x.csv", "wb")
        await awaited.write(memoryview(data))
        await awaited.close()
        assert await scope.versions("x.csv") == [0, 1]

    _run(main())


@pytest.mark.parametrize("size", [10, len(LONG)])
def test_a_file_that_is_left_by_an_exception_or_discarded_saves_nothing(scope: AsyncScope, size: int) -> None:
    async def fail() -> None:
        async with scope.open("x", "wb") as file:
            await file.write(LONG[:size])
            raise RuntimeError("no")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="no"):
            await fail()
        async with scope.open("x", "wb") as file:
            await file.write(LONG[:size])
            await file.discard()
        assert (await scope.versions("x"), await _list(scope.names())) == ([], [])
        assert await _unfinished(scope) == []

    _run(main())


def test_a_version_is_a_seekable_file_that_is_pinned(scope: AsyncScope) -> None:
    async def main() -> None:
        await scope.save("x", LONG)
        async with scope.open("x") as file:
            assert file.record == await scope.stat("x")
            assert await file.read(10) == LONG[:10]
            await scope.save("x", b"newer")
            chance = random.Random(3)
            for _ in range(8):
                start, size = chance.randrange(len(LONG)), chance.choice([0, 1, 70_000, 3_000_000])
                assert file.seek(start) == start
                assert await file.read(size) == LONG[start : start + size]
            assert file.seek(-4, io.SEEK_END) == file.tell() == len(LONG) - 4
            assert await file.read() == LONG[-4:]
            assert await file.read() == b""
            with pytest.raises(ValueError, match="before the beginning"):
                file.seek(-1)
            await scope.delete("x", 0)
            file.seek(0)
            with pytest.raises(VersionNotFound, match="deleted while"):
                await file.read()
        with pytest.raises(ArtifactNotFound):
            await scope.open("nothing")
        with pytest.raises(InvalidRef, match="'rb' or 'wb'"):
            scope.open("x", "ab")  # type: ignore[call-overload]

    _run(main())


# the store


def test_settings_hold_here_too(scope: AsyncScope) -> None:
    async def main() -> None:
        await scope.save("x", b"0123456789")
        path = (scope.id.app, "alice", "s1")
        async with _again(scope.store, read_only=True, max_bytes=9) as other:
            reader = other.scope(*path)
            with pytest.raises(PayloadTooLarge, match="max_bytes=9"):
                await reader.load("x")
            async with reader.open("x") as file:
                assert await file.read() == b"0123456789"
            for attempt in (reader.save("x", b"1"), reader.delete("x"), reader.remove("x"), other.compact()):
                with pytest.raises(AccessDenied, match="read_only=True"):
                    await attempt
        async with pickle.loads(pickle.dumps(scope.store)) as pickled:
            assert (type(pickled), pickled.url, repr(pickled)) == (
                AsyncArtifactStore,
                scope.store.url,
                repr(scope.store),
            )
            assert (await pickled.scope(*path).save("x", b"1")).version == 1
        assert (await pickled.scope(*path).load("x")).data == b"1"
        await pickled.close()

    _run(main())


def test_both_kinds_of_store_see_the_same(tmp_path: Path) -> None:
    for url in (f"memory://{uuid.uuid4().hex}", str(tmp_path)):
        blocking, awaited = ArtifactStore(url), AsyncArtifactStore(url)
        saved = blocking.scope("shop", "alice", "s1").save("x", b"0")
        scope = awaited.scope("shop", "alice", "s1")
        assert _run(scope.load("x")).record == saved
        assert _run(scope.save("x", b"1")).version == 1
        assert blocking.scope("shop", "alice", "s1").versions("x") == [0, 1]


def test_an_altered_payload_is_reported_not_returned(tmp_path: Path) -> None:
    scope = AsyncArtifactStore(tmp_path).scope("shop", "alice", "s1")
    _run(scope.save("x", b"genuine"))
    (tmp_path / "shop/alice/s1/x/0").write_bytes(b"altered")
    with pytest.raises(IntegrityError, match="does not match its record"):
        _run(scope.load("x"))
