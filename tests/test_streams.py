"""Streams of any length are saved and read in bounded memory, and one that fails leaves nothing that anybody sees."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactfs import AsyncArtifactStore
from artifactfs.backends.base import WHOLE_LIMIT
from artifactfs.errors import ArtifactNotFound

from .race_workers import LONG, opened, payload
from .servers import Server

Where = tuple[str, dict[str, Any]]

_EVERYWHERE = [
    *("memory", "local", "moto", "ministack"),
    *(pytest.param(name, marks=pytest.mark.server(name)) for name in ("ceph", "minio", "fake_gcs")),
]
_SOME = ["local", "moto", pytest.param("fake_gcs", marks=pytest.mark.server("fake_gcs"))]


def place(name: str, request: pytest.FixtureRequest) -> Where:
    folder: Path = request.getfixturevalue("tmp_path")
    if name == "memory":
        return f"memory://{folder.name}-{id(folder)}", {}
    if name == "local":
        return str(folder), {}
    server: Server = request.getfixturevalue(name)
    return server.bucket(), server.storage_options


@pytest.fixture(params=_EVERYWHERE)
def everywhere(request: pytest.FixtureRequest) -> Where:
    return place(request.param, request)


@pytest.fixture(params=_SOME)
def where(request: pytest.FixtureRequest) -> Where:
    return place(request.param, request)


def session(where: Where) -> Any:
    return opened(where).scope("shop", "alice", "s1")


def in_pieces(data: bytes, size: int = 1_000_000) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def awaited_pieces(data: bytes) -> AsyncIterator[bytes]:
    for piece in in_pieces(data):
        yield piece


# --- memory -----------------------------------------------------------------------------------------------------------

MEGABYTES = 256
GROWTH = 48 * 2**20


def peak(what: str, where: Where, megabytes: int) -> int:
    """Bytes by which the peak memory of a fresh process grows over a stream of so many megabytes."""
    given = json.dumps({"what": what, "where": where, "megabytes": megabytes})
    done = subprocess.run(
        [sys.executable, "-c", "from tests.test_streams import measured; measured()", given],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["read"] == told["size"] == megabytes * 2**20
    assert told["written_digest"] == told["read_digest"] == told["recorded"]
    return int(told["grown"])


class Zeros(io.RawIOBase):
    """A file of so many megabytes, none of them in memory; each begins with its number."""

    def __init__(self, megabytes: int) -> None:
        self.left = megabytes
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        if not self.left:
            return b""
        self.left -= 1
        piece = self.left.to_bytes(8, "big") + bytes(2**20 - 8)
        self.digest.update(piece)
        return piece


def _by_file(scope: Any, source: Zeros) -> Any:
    return scope.save("long.bin", source)


def _by_generator(scope: Any, source: Zeros) -> Any:
    return scope.save("long.bin", iter(source.read, b""))


def _by_writer(scope: Any, source: Zeros) -> Any:
    with scope.open("long.bin", "wb") as file:
        while piece := source.read():
            file.write(piece)
    return file.record


def _by_tasks(scope: Any, source: Zeros) -> Any:
    """By an asynchronous generator, of an asynchronous store."""
    url, settings = scope.store._made_of

    async def pieces() -> AsyncIterator[bytes]:
        while piece := source.read():
            yield piece

    async def go() -> Any:
        async with AsyncArtifactStore(url, **settings) as store:
            return await store.scope("shop", "alice", "s1").save("long.bin", pieces())

    return asyncio.run(go())


WAYS: dict[str, Callable[[Any, Zeros], Any]] = {
    "file": _by_file,
    "generator": _by_generator,
    "writer": _by_writer,
    "async generator": _by_tasks,
}


def _whole(scope: Any, source: Zeros) -> Any:
    return scope.save("long.bin", b"".join(iter(source.read, b"")))


def measured() -> None:
    """Run in a process of its own: save by one of the ways, read back in pieces, and print what that took."""
    told = json.loads(sys.argv[1])
    scope = session(tuple(told["where"]))
    # What is imported and opened once is no part of a stream: a short one first.
    way = {**WAYS, "whole": _whole}[told["what"]]
    way(scope, Zeros(9))
    _read_back(scope)
    before = _peak()
    source = Zeros(told["megabytes"])
    record = way(scope, source)
    size, seen = _read_back(scope)
    print(
        json.dumps(
            {
                "grown": _peak() - before,
                "size": record.size_bytes,
                "read": size,
                "written_digest": source.digest.hexdigest(),
                "read_digest": seen,
                "recorded": record.sha256,
            }
        )
    )


def _read_back(scope: Any) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    # moto copies the whole object for each range that is asked for: few long ones, then.
    most = 300_000 if scope.store.url.startswith("file:") else 2**23
    with scope.open("long.bin") as file:
        while piece := file.read(most):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _peak() -> int:
    """Bytes: the most that this process ever had in memory."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("what", WAYS)
def test_a_long_stream_to_a_disk_needs_little_memory(tmp_path: Path, what: str) -> None:
    assert peak(what, (str(tmp_path), {"durability": "none"}), MEGABYTES) < GROWTH


def test_a_long_stream_to_s3_needs_little_memory(moto: Server) -> None:
    assert peak("generator", (moto.bucket(), moto.storage_options), MEGABYTES) < GROWTH


@pytest.mark.nightly
@pytest.mark.parametrize("what", WAYS)
def test_a_long_stream_to_any_server_needs_little_memory(any_server: Server, what: str) -> None:
    assert peak(what, (any_server.bucket(), any_server.storage_options), MEGABYTES) < GROWTH


def test_the_measure_catches_a_payload_that_is_held_whole(tmp_path: Path) -> None:
    """The control."""
    assert peak("whole", (str(tmp_path), {"durability": "none"}), 64) > GROWTH


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [WHOLE_LIMIT - 1, WHOLE_LIMIT, WHOLE_LIMIT + 1])
def test_a_stream_at_the_limit_of_what_is_saved_whole_round_trips(where: Where, size: int) -> None:
    scope = session(where)
    data = payload("limit", size, size)
    record = scope.save("limit.bin", in_pieces(data))
    assert (record.version, record.size_bytes) == (0, size)
    assert scope.load("limit.bin").data == data
    with scope.open("limit.bin", "wb") as file:
        for piece in in_pieces(data):
            file.write(piece)
    assert file.record.version == 1 and file.record.sha256 == record.sha256
    with scope.open("limit.bin") as reader:
        assert reader.read() == data
        reader.seek(-5, io.SEEK_END)
        assert reader.read() == data[-5:]


@pytest.mark.parametrize("empty", [b"", "", iter([]), iter([b"", b""]), io.BytesIO()], ids=lambda made: str(type(made)))
def test_an_empty_stream_is_a_version_of_no_bytes(tmp_path: Path, empty: Any) -> None:
    scope = session((str(tmp_path), {}))
    assert scope.save("empty.bin", empty).size_bytes == 0
    assert scope.load("empty.bin").data == b"" and scope.versions("empty.bin") == [0]


def test_a_writer_that_wrote_nothing_makes_a_version_of_no_bytes(where: Where) -> None:
    scope = session(where)
    with scope.open("empty.bin", "wb"):
        pass
    assert scope.load("empty.bin").data == b"" and list(scope.names()) == ["empty.bin"]
    with scope.open("empty.bin") as file:
        assert file.read() == b""


def test_pieces_of_any_length_are_one_stream(where: Where) -> None:
    scope = session(where)
    data = payload("pieces", 0, LONG + 70_000)
    cuts = [0, 1, 1, 2, 70_001, WHOLE_LIMIT, WHOLE_LIMIT + 1, len(data)]
    scope.save("pieces.bin", (data[start:end] for start, end in itertools.pairwise(cuts)))
    assert scope.load("pieces.bin").data == data


def test_one_piece_of_many_parts_is_a_stream_too(where: Where) -> None:
    scope = session(where)
    data = payload("one", 0, 3 * WHOLE_LIMIT + 1)
    assert scope.save("one.bin", data).size_bytes == len(data)
    assert scope.load("one.bin").data == data
    assert scope.save("one.bin", memoryview(data)[1:]).size_bytes == len(data) - 1


def test_a_path_and_a_file_that_is_read_from_its_middle_are_streamed(where: Where, tmp_path: Path) -> None:
    data = payload("path", 0, LONG)
    path = tmp_path / "given.bin"
    path.write_bytes(data)
    scope = session(where)
    assert scope.save("by path.bin", path).size_bytes == LONG
    with path.open("rb") as file:
        file.seek(100)
        assert scope.save("by file.bin", file).size_bytes == LONG - 100
    assert scope.load("by path.bin").data == data and scope.load("by file.bin").data == data[100:]


def test_tasks_stream_in_and_out(where: Where) -> None:
    data = payload("tasks", 0, LONG)

    async def go() -> None:
        async with AsyncArtifactStore(where[0], **where[1]) as store:
            scope = store.scope("shop", "alice", "s1")
            assert (await scope.save("a.bin", awaited_pieces(data))).size_bytes == LONG
            async with scope.open("b.bin", "wb") as file:
                for piece in in_pieces(data):
                    await file.write(piece)
            for name in ("a.bin", "b.bin"):
                async with scope.open(name) as reader:
                    pieces = []
                    while piece := await reader.read(700_000):
                        pieces.append(piece)
                assert b"".join(pieces) == data

    asyncio.run(go())


# --- what breaks off --------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def breaking(data: bytes, after: int) -> Iterator[bytes]:
    for sent, piece in enumerate(in_pieces(data)):
        if sent == after:
            raise Broken
        yield piece


def nothing_is_there(scope: Any) -> None:
    assert list(scope.names()) == [] and scope.versions("broken.bin") == []
    with pytest.raises(ArtifactNotFound):
        scope.load("broken.bin")
    saved = scope.save("broken.bin", b"next")
    assert scope.versions("broken.bin") == [saved.version]
    assert scope.load("broken.bin").data == b"next"
    assert list(scope.names()) == ["broken.bin"]


@pytest.mark.parametrize("after", [0, 3, 10])
def test_a_stream_that_raises_leaves_nothing_that_is_seen(where: Where, after: int) -> None:
    scope = session(where)
    with pytest.raises(Broken):
        scope.save("broken.bin", breaking(bytes(LONG + 3_000_000), after))
    nothing_is_there(scope)


def test_an_asynchronous_stream_that_raises_leaves_nothing_that_is_seen(where: Where) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in breaking(bytes(LONG + 3_000_000), 10):
            yield piece

    async def go() -> None:
        async with AsyncArtifactStore(where[0], **where[1]) as store:
            await store.scope("shop", "alice", "s1").save("broken.bin", pieces())

    with pytest.raises(Broken):
        asyncio.run(go())
    nothing_is_there(session(where))


@pytest.mark.parametrize("pieces", [0, 1, 10])
def test_a_writer_discards_where_an_exception_leaves_its_block(where: Where, pieces: int) -> None:
    scope = session(where)
    with pytest.raises(Broken), scope.open("broken.bin", "wb") as file:
        for _ in range(pieces):
            file.write(bytes(1_000_000))
        raise Broken
    assert file.closed and file.record is None
    nothing_is_there(scope)


def test_a_writer_that_is_closed_while_an_exception_is_on_its_way_discards(where: Where) -> None:
    """As libraries do that close what they write to when they fail."""
    scope = session(where)
    file = scope.open("broken.bin", "wb")
    with pytest.raises(Broken):
        try:
            file.write(bytes(LONG))
            raise Broken
        finally:
            file.close()
    nothing_is_there(scope)


def test_a_writer_that_is_forgotten_or_told_so_discards(where: Where) -> None:
    scope = session(where)
    file = scope.open("broken.bin", "wb")
    file.write(bytes(LONG))
    with pytest.warns(ResourceWarning):
        del file
    file = scope.open("broken.bin", "wb")
    file.write(bytes(LONG))
    file.discard()
    file.close()
    nothing_is_there(scope)


@pytest.mark.parametrize("long", [False, True])
def test_a_stream_of_text_is_refused_by_its_type(where: Where, long: bool) -> None:
    scope = session(where)
    head = [bytes(LONG)] if long else []
    with pytest.raises(TypeError, match="text, not bytes"):
        scope.save("broken.bin", [*head, "some text"])
    with pytest.raises(TypeError, match="text, not bytes"):
        scope.save("broken.bin", io.StringIO("some text"))
    with pytest.raises(TypeError), scope.open("broken.bin", "wb") as file:
        file.write("some text")
    nothing_is_there(scope)


def test_what_streams_left_behind_is_no_upload_that_still_costs(moto: Server) -> None:
    url = moto.bucket()
    scope = session((url, moto.storage_options))
    for after in (9, 10, 11):
        with pytest.raises(Broken):
            scope.save("broken.bin", breaking(bytes(LONG + 3_000_000), after))
    assert not moto.client().list_multipart_uploads(Bucket=url.split("/")[2]).get("Uploads")


# --- bytes that look like framing -------------------------------------------------------------------------------------

FRAMING = [
    b"kept\n--==0==--\nwhich gcsfs's own small upload would cut off",
    b"before\r\n--==0==--\r\nafter\r\n--==0==\r\nand after that",
    b"\r\n--==0==--\r\n",
    b"--==0==--",
    b"0\r\n\r\n",
    b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"artifactfs fence" + bytes(16),
]


def test_payloads_that_look_like_framing_round_trip_on_every_backend(everywhere: Where) -> None:
    scope = session(everywhere)
    for number, data in enumerate(FRAMING):
        assert scope.save("framing.bin", data).size_bytes == len(data)
        assert scope.load("framing.bin").data == data
        assert scope.load("framing.bin", version=number).data == data
    assert scope.versions("framing.bin") == list(range(len(FRAMING)))
    long = FRAMING[0] + payload("framing", 0, WHOLE_LIMIT) + FRAMING[0]
    scope.save("framing.bin", in_pieces(long))
    assert scope.load("framing.bin").data == long


@pytest.mark.server("fake_gcs")
def test_that_payload_catches_gcsfss_own_small_upload(fake_gcs: Server) -> None:
    """The control: as soon as gcsfs itself keeps these bytes whole, this test has lost its point."""
    import gcsfs

    filesystem = gcsfs.GCSFileSystem(**fake_gcs.own_options, skip_instance_cache=True)
    path = fake_gcs.bucket().removeprefix("gs://") + "/framing.bin"
    filesystem.pipe_file(path, FRAMING[0])
    filesystem.invalidate_cache()
    assert filesystem.cat_file(path) != FRAMING[0]
