"""What goes wrong rarely: a machine that slept, a source that fails while a part is sent, a writer that is collected."""

from __future__ import annotations

import asyncio
import enum
import gc
import io
import multiprocessing
import os
import pickle
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import pytest

from artifactfs import (
    AccessDenied,
    ArtifactError,
    ArtifactNotFound,
    ArtifactStore,
    AsyncArtifactStore,
    BackendError,
    BackendUnavailable,
    Conflict,
    IntegrityError,
    InvalidConfig,
    InvalidMetadata,
    Pointer,
    PointerNotManaged,
    Scope,
    records,
)
from artifactfs.backends.memory import MemoryBackend, MemoryUpload
from artifactfs.drivers import perform
from artifactfs.layout import HINT_EVERY
from artifactfs.operations import core as core_module
from artifactfs.protocol import ops
from artifactfs.protocol.delete import delete_all
from artifactfs.protocol.env import HINT_TTL, Env

LONG = 9 * 1024 * 1024


def fresh(name: str) -> Scope:
    return ArtifactStore(f"memory://{name}-{os.urandom(4).hex()}").scope("shop", "alice", "s1")


def again(scope: Scope) -> Scope:
    """The same scope as another process sees it, which remembers nothing."""
    return ArtifactStore(scope.store.url).scope("shop", "alice", "s1")


def left_below(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".tmp-*")]


@pytest.mark.parametrize("asleep", ["wall", "monotonic"])
def test_what_is_remembered_ages_by_whichever_clock_shows_more(monkeypatch: pytest.MonkeyPatch, asleep: str) -> None:
    """A machine that slept wakes with a monotonic clock that stood still."""
    shift = {"wall": 0.0, "monotonic": 0.0}
    clocks = Env(wall=lambda: 1e9 + shift["wall"], monotonic=lambda: 5.0 + shift["monotonic"])
    monkeypatch.setattr(core_module, "CLOCKS", clocks)
    scope = fresh("slept")
    artifact = scope.id.artifact("x")
    scope.save("x", b"0")
    assert scope._core.recall(artifact) is not None
    shift[asleep] = HINT_TTL + 1
    assert scope._core.recall(artifact) is None


def test_a_save_that_slept_for_a_day_before_it_claimed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = fresh("asleep")
    scope.save("x", b"0")
    other = again(scope)
    real = MemoryBackend.create
    asleep: list[float] = []

    async def create(self: Any, key: str, data: bytes, content_type: str) -> Any:
        if not asleep:
            asleep.append(1.0)
            clocks["ahead"] = 2 * 86400.0
        return await real(self, key, data, content_type)

    clocks = {"ahead": 0.0}
    moved = Env(wall=lambda: 1e9 + clocks["ahead"], monotonic=lambda: 0.0)
    monkeypatch.setattr(core_module, "Env", lambda **settings: moved)
    monkeypatch.setattr(MemoryBackend, "create", create)
    with pytest.raises(BackendUnavailable, match="48 hours between claim and publication"):
        other.save("x", b"1")
    assert scope.versions("x") == [0]


def test_a_source_that_fails_while_a_part_is_sent_spoils_no_other_file(tmp_path: Path) -> None:
    """The part is waited for before its upload is aborted: a closed descriptor's number is soon another file's."""
    held, begun = threading.Event(), threading.Event()
    order: list[str] = []

    async def main() -> None:
        store = AsyncArtifactStore(tmp_path, durability="none")
        scope = store.scope("shop", "alice", "s1")
        upload_type: Any = None
        real_write, real_abort = None, None
        to_come = LONG

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * LONG
            await asyncio.to_thread(begun.wait, 10)
            held.set()
            raise RuntimeError("the source failed")

        from artifactfs.backends.local import LocalUpload

        upload_type, real_write, real_abort = LocalUpload, LocalUpload.write, LocalUpload.abort

        async def write(self: Any, data: bytes) -> None:
            nonlocal to_come
            to_come -= len(data)
            if not to_come:  # the last part, which is sent beside the failure
                begun.set()
                held.wait(10)
                await real_write(self, data)
                order.append("written")
            else:
                await real_write(self, data)

        async def abort(self: Any) -> None:
            order.append("aborted")
            await real_abort(self)

        upload_type.write, upload_type.abort = write, abort
        try:
            with pytest.raises(RuntimeError, match="the source failed"):
                await scope.save("big", pieces())
        finally:
            upload_type.write, upload_type.abort = real_write, real_abort
        assert [name async for name in scope.names()] == []

    asyncio.run(main())
    assert order == ["written", "aborted"]
    assert left_below(tmp_path) == []


def test_a_cancelled_stream_waits_for_its_part_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        scope = AsyncArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
        started = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1024 * 1024
                started.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(scope.save("big", endless()))
        await started.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [name async for name in scope.names()] == []
        assert (await scope.save("big", b"small")).version in (0, 1)

    asyncio.run(main())
    assert left_below(tmp_path) == []


def test_a_writer_that_is_only_collected_discards_and_says_so(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    writer: Any = scope.open("big", "wb")
    writer.write(b"x" * LONG)
    with pytest.warns(ResourceWarning, match="not closed; it was discarded"):
        del writer
    gc.collect()
    assert left_below(tmp_path) == []
    with pytest.raises(ArtifactNotFound):
        scope.load("big")


def test_an_asynchronous_writer_that_is_only_collected_discards_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        scope = AsyncArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
        writer: Any = await scope.open("big", "wb")
        await writer.write(b"x" * LONG)
        with pytest.warns(ResourceWarning, match="not closed; it was discarded"):
            del writer

    asyncio.run(main())
    assert left_below(tmp_path) == []


def test_a_text_layer_that_is_only_collected_publishes_nothing() -> None:
    scope = fresh("text")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        text: Any = io.TextIOWrapper(scope.open("notes.txt", "wb"))
        text.write("half a sen")
        del text
        gc.collect()
    assert scope.versions("notes.txt") == []


@pytest.mark.parametrize("failure", [AccessDenied, BackendError])
def test_a_save_that_surely_failed_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch, failure: type[Exception]) -> None:
    scope = fresh("denied")
    real = MemoryBackend.create

    async def create(self: Any, key: str, data: bytes, content_type: str) -> Any:
        if not key.endswith(".metadata"):
            raise failure("no permission for payloads")
        return await real(self, key, data, content_type)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "create", create)
        with pytest.raises(failure):
            scope.save("x", b"never")
    assert list(scope.names()) == []
    assert scope.save("x", b"first", expect="absent").version == 1


def test_a_claim_whose_publication_may_have_landed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: to give it up could lose what was saved."""
    scope = fresh("landed")
    real = MemoryBackend.create

    async def create(self: Any, key: str, data: bytes, content_type: str) -> Any:
        written = await real(self, key, data, content_type)
        if not key.endswith(".metadata"):
            raise BackendUnavailable("the answer was lost", landed=True)
        return written

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "create", create)
        with pytest.raises(BackendUnavailable):
            scope.save("x", b"landed")
    assert scope.load("x").data == b"landed"


def test_a_compare_and_set_on_what_is_remembered_is_stamped_no_earlier_than_what_it_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scope = fresh("skewed")
    ahead = Env(wall=lambda: 4e9)
    scope._core.env = ahead
    first = scope.save("x", b"0")
    scope._core.env = Env()
    assert scope.save("x", b"1", expect=0).timestamp >= first.timestamp


def test_absent_reads_the_tombstones_of_many_deleted_versions_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = fresh("many")
    for number in range(2 * HINT_EVERY):
        scope.save("x", str(number))
    scope.delete("x")
    batches: list[int] = []
    real = ops.Get.perform

    def perform(self: ops.Get, backend: Any) -> Any:
        batches[-1] += 1
        return real(self, backend)

    from artifactfs import drivers

    real_turn = drivers._in_turn

    async def in_turn(batch: Any, backend: Any) -> Any:
        batches.append(0)
        return await real_turn(batch, backend)

    monkeypatch.setattr(ops.Get, "perform", perform)
    monkeypatch.setattr(drivers, "_in_turn", in_turn)
    assert again(scope).save("x", b"new", expect="absent").version == 2 * HINT_EVERY
    assert len(batches) < HINT_EVERY
    assert sum(batches) >= 2 * HINT_EVERY


class Colour(str, enum.Enum):  # noqa: UP042  (the old kind, whose str() is not its value)
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def test_subclasses_of_json_types_are_stored_as_what_they_are() -> None:
    scope = fresh("enums")
    saved = scope.save(Colour.RED, b"x", metadata={Colour.RED: [Level.HIGH, Colour.RED, True, 1.5]})
    assert saved.filename == "red"
    assert scope.load("red").record.metadata == {"red": [3, "red", True, 1.5]}


def test_metadata_that_is_nested_too_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(InvalidMetadata, match="deeper than 100 levels"):
        fresh("deep").save("x", b"", metadata={"a": deep})


def test_a_file_that_has_nothing_to_read_yet_is_not_taken_for_its_end() -> None:
    class Slow(io.RawIOBase):
        pieces: Iterator[bytes | None] = iter([b"head", None])

        def read(self, size: int = -1) -> Any:
            return next(self.pieces)

    scope = fresh("slow")
    with pytest.raises(BlockingIOError, match="blocking mode"):
        scope.save("x", Slow())  # type: ignore[arg-type]
    assert scope.versions("x") == []


def test_a_writer_refuses_at_once_what_could_not_be_saved(tmp_path: Path) -> None:
    ArtifactStore(tmp_path, durability="none").scope("a", "b", "c").save("x", b"0")
    with pytest.raises(AccessDenied, match="read_only"):
        ArtifactStore(tmp_path, read_only=True).scope("a", "b", "c").open("x", "wb")
    with pytest.raises(InvalidMetadata):
        ArtifactStore(tmp_path).scope("a", "b", "c").open("x", "wb", metadata={"a": object()})


def test_a_pickled_store_is_the_same_folder_wherever_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packed = pickle.dumps(ArtifactStore("./here", durability="none"))
    monkeypatch.chdir("/")
    assert pickle.loads(packed).url == f"file://{tmp_path}/here"


def test_erase_takes_the_parts_of_unfinished_uploads(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, durability="none")
    writer = store.scope("shop", "alice", "s1").open("big", "wb")
    writer.write(b"x" * LONG)
    assert len(left_below(tmp_path)) == 1
    store.erase("shop", "alice")
    assert left_below(tmp_path) == []
    with pytest.raises(ArtifactError):
        writer.close()


def test_small_pieces_are_gathered_before_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = MemoryUpload.write

    async def write(self: Any, data: bytes) -> None:
        sizes.append(len(data))
        await real(self, data)

    monkeypatch.setattr(MemoryUpload, "write", write)
    scope = fresh("rows")
    scope.save("x", (b"0123456789" * 10 for _ in range(120_000)))
    assert len(sizes) < 20
    with scope.open("y", "wb") as file:
        for _ in range(120_000):
            file.write(b"0123456789" * 10)
    assert len(sizes) < 40
    assert scope.load("x").data == scope.load("y").data


def test_a_lost_compare_and_set_says_whether_a_save_is_in_progress() -> None:
    scope = fresh("progress")
    scope.save("x", b"0")
    writer = scope.open("x", "wb")
    writer.write(b"x" * LONG)
    with pytest.raises(Conflict) as caught:
        again(scope).save("x", b"1", expect=0)
    assert caught.value.in_progress is True
    writer.discard()
    assert again(scope).save("x", b"1", expect=0).version == 2


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_savers_of_one_name_within_a_store_take_no_number_from_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    created: list[str] = []
    real = ops.Create.perform

    async def perform(self: ops.Create, backend: Any) -> Any:
        created.append(self.key)
        return await real(self, backend)

    monkeypatch.setattr(ops.Create, "perform", perform)
    if kind == "threads":
        scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
        with ThreadPoolExecutor(32) as pool:
            saved = list(pool.map(lambda number: scope.save("x", str(number)).version, range(64)))
    else:

        async def main() -> list[int]:
            scope = AsyncArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
            return [record.version for record in await asyncio.gather(*(scope.save("x", str(n)) for n in range(64)))]

        saved = asyncio.run(main())
    assert sorted(saved) == list(range(64))
    assert len(created) == 2 * 64


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("s3:/bucket", {}, "looks like a URL and is none"),
        ("s3//bucket", {}, "looks like a URL and is none"),
        ("memory:x", {}, "looks like a URL and is none"),
        ("s4://bucket", {}, "no filesystem answers to s4://"),
        ("a\0b", {}, "holds no NUL"),
        ("memory://x", {"max_bytes": "5"}, "max_bytes is a number of bytes"),
        ("memory://x", {"tries": "a"}, "tries must be at least 1"),
        ("memory://x", {"deadline": float("nan")}, "deadline above 0"),
        ("memory://x", {"read_only": "no"}, "read_only is True or False"),
        ("memory://x", {"colour": 1}, "takes no such option: colour"),
        ("s3://bucket", {"endpoint_ulr": "http://x"}, "did you mean endpoint_url"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_store_is_opened(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        ArtifactStore(url, **options)


def test_a_scope_is_pickled_with_its_store(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    scope.save("x", b"0")
    assert pickle.loads(pickle.dumps(scope)).load("x").data == b"0"


def test_an_error_of_the_store_below_names_the_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise BackendUnavailable("no answer")

    scope = fresh("down")
    monkeypatch.setattr(MemoryBackend, "list", down)
    for call in (lambda: scope.save("x", b""), lambda: scope.load("x"), lambda: list(scope.names())):
        with pytest.raises(BackendUnavailable) as caught:
            call()
        assert caught.value.store == scope.store.url
        assert caught.value.artifact in ("shop/alice/s1/x", "shop/alice/s1")


def test_a_record_that_was_moved_to_another_number_is_an_error(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    for number in range(2):
        scope.save("x", str(number))
    folder = tmp_path / "shop/alice/s1/x"
    (folder / "0.metadata").write_bytes((folder / "1.metadata").read_bytes())
    with pytest.raises(IntegrityError, match="says that it is of version 1"):
        scope.load("x", 0)
    assert scope.load("x").data == b"1"


def test_a_pointer_is_not_given_out_as_content(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    scope.save("x", b"0")
    uri = "https://example.org/paper.pdf"
    pointer = Pointer(
        filename="x", mime_type="application/pdf", version=1, size_bytes=None, timestamp=datetime.now(UTC),
        write_id="0" * 32, uri=uri,
    )  # fmt: skip
    folder = tmp_path / "shop/alice/s1/x"
    (folder / "1.metadata").write_bytes(records.encode(pointer))
    (folder / "1").write_bytes(records.pointer_payload(uri))
    assert scope.stat("x") == pointer
    for read in (lambda: scope.load("x"), lambda: scope.open("x")):
        with pytest.raises(PointerNotManaged, match=r"points to https://example\.org/paper\.pdf") as caught:
            read()
        assert caught.value.uri == uri


def test_a_delete_of_all_finds_what_was_saved_while_others_deleted_what_it_had_listed() -> None:
    scope = ArtifactStore("memory://all-of-it").scope("shop", "alice", "s1")
    scope.save("x", b"0")
    backend = scope.store.backend
    deleting = delete_all(Env(), scope.id.artifact("x"))
    batch = deleting.send(perform(next(deleting), backend, None))
    scope.save("x", b"1")
    scope.delete("x", 0)
    with pytest.raises(StopIteration):
        while batch:
            batch = deleting.send(perform(batch, backend, None))
    assert scope.versions("x") == []


def test_an_empty_array_of_any_shape_is_written_and_saved() -> None:
    scope = fresh("empty")
    empty: Any = numpy.empty((0, 3))
    assert scope.save("whole", empty).size_bytes == 0
    with scope.open("written", "wb") as file:
        assert file.write(empty) == 0

    async def write() -> None:
        async with await AsyncArtifactStore(scope.store.url).scope("shop", "alice", "s1").open("later", "wb") as file:
            assert await file.write(empty) == 0

    asyncio.run(write())
    assert [scope.load(name).data for name in scope.names()] == [b"", b"", b""]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_a_forked_child_that_ends_takes_nothing_from_a_writer_of_its_parent(tmp_path: Path, kind: str) -> None:
    def in_a_child(writer: Any) -> None:
        child = multiprocessing.get_context("fork").Process(target=writer.__del__)
        child.start()
        child.join()
        assert child.exitcode == 0

    async def write_async() -> None:
        scope = AsyncArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
        async with await scope.open("x", "wb") as file:
            await file.write(bytes(LONG))
            in_a_child(file)

    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    if kind == "async":
        asyncio.run(write_async())
    else:
        with scope.open("x", "wb") as file:
            file.write(bytes(LONG))
            in_a_child(file)
    assert scope.stat("x").size_bytes == LONG
