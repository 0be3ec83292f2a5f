"""A long sequence over obstore is one answer of the store, taken piece by piece, and gives what ranges would give."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Iterator
from typing import Any

import pytest

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.backends.obstore_client import ObstoreFlow
from artifactfs.codecs.base import Bytes
from artifactfs.content import SHARED, Flowing
from artifactfs.errors import IntegrityError
from artifactfs.keys.keyring import new_key

from .proxy import CUT, Proxy, in_front_of
from .servers import Server

pytestmark = pytest.mark.server("minio")

MIB = 1024 * 1024
CONTENT = random.Random(7).randbytes(12 * MIB + 345)
KEY = new_key("v1")


@pytest.fixture(scope="module")
def front(minio: Server) -> Iterator[Proxy]:
    with in_front_of(minio.url) as proxy:
        yield proxy


@pytest.fixture(scope="module", params=["plain", "sealed"])
def opened(request: pytest.FixtureRequest, minio: Server, front: Proxy) -> tuple[str, dict[str, Any]]:
    """A store behind the proxy that is to hold the content: its URL, and how it is opened."""
    keys = {"keys": KEY} if request.param == "sealed" else {}
    return minio.bucket(), {**minio.at(front.url).storage_options, "engine": "obstore", **keys}


@pytest.fixture(scope="module")
def store(opened: tuple[str, dict[str, Any]]) -> ArtifactStore:
    made = ArtifactStore(opened[0], **opened[1])
    made.scope("shop", "alice", "s1").save("long.bin", io.BytesIO(CONTENT))
    return made


def pieces(store: ArtifactStore, size: int) -> bytes:
    with store.scope("shop", "alice", "s1").open("long.bin", version=0) as file:
        return b"".join(iter(lambda: file.read(size), b""))


@pytest.mark.parametrize("size", [MIB, 1_000_003, 70_001])
def test_a_long_sequence_is_few_requests_whatever_its_pieces(store: ArtifactStore, front: Proxy, size: int) -> None:
    front.clear()
    assert pieces(store, size) == CONTENT
    assert len([one for one in front.requests if one.path.endswith("/0")]) <= 9


def test_a_seek_ends_it_and_another_sequence_begins(store: ArtifactStore) -> None:
    with store.scope("shop", "alice", "s1").open("long.bin") as file:
        assert file.read(5 * MIB) + file.read(MIB) == CONTENT[: 6 * MIB]
        file.seek(17)
        assert file.read(100) == CONTENT[17:117]
        assert b"".join(file.read(MIB) for _ in range(9)) == CONTENT[117 : 117 + 9 * MIB]


def test_an_answer_that_breaks_off_is_gone_on_with_by_a_range(store: ArtifactStore, front: Proxy) -> None:
    front.clear()
    first = iter([True])
    cut = front.when(CUT, lambda request: request.headers.get("range", "").endswith("-") and next(first, False))
    assert pieces(store, MIB) == CONTENT
    assert cut.hits == 1
    asked = [request.headers.get("range", "") for request in front.requests]
    assert not asked[[told.endswith("-") for told in asked].index(True) + 1].endswith("-")
    front.clear()


@pytest.mark.usefixtures("store")
def test_tasks_read_so_too_on_their_own_loops(opened: tuple[str, dict[str, Any]], front: Proxy) -> None:
    async def read() -> bytes:
        own = AsyncArtifactStore(opened[0], **opened[1])
        async with await own.scope("shop", "alice", "s1").open("long.bin") as file:
            front.clear()
            parts = [await file.read(MIB) for _ in range(13)]
        await own.close()
        return b"".join(parts)

    assert asyncio.run(read()) == CONTENT
    assert len(front.requests) <= 6


@pytest.mark.parametrize("tasks", [False, True])
def test_what_a_flow_loses_is_told_of_sealed_content_and_changes_plain_content(
    opened: tuple[str, dict[str, Any]], store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, tasks: bool
) -> None:
    next_, wait_for_next = ObstoreFlow.next, ObstoreFlow.wait_for_next

    async def lossy(self: ObstoreFlow) -> Bytes:
        return (await next_(self))[1:]

    monkeypatch.setattr(ObstoreFlow, "next", lossy)
    monkeypatch.setattr(ObstoreFlow, "wait_for_next", lambda self: wait_for_next(self)[1:])

    async def read() -> bytes:
        own = AsyncArtifactStore(opened[0], **opened[1])
        async with await own.scope("shop", "alice", "s1").open("long.bin", version=0) as file:
            try:
                return b"".join([await file.read(MIB) for _ in range(13)])
            finally:
                await own.close()

    if "keys" in opened[1]:
        with pytest.raises(IntegrityError):
            asyncio.run(read()) if tasks else pieces(store, MIB)
    else:
        assert (asyncio.run(read()) if tasks else pieces(store, MIB)) != CONTENT


class Given:
    """An answer of so many pieces, each of which holds its number."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(pieces)

    async def next(self) -> bytes:
        return self.wait_for_next()

    def wait_for_next(self) -> bytes:
        return next(self._pieces, b"")


def test_only_what_comes_next_is_taken_of_an_answer() -> None:
    flowing = Flowing(Given(b"0123", b"456789", b"abcdef"), 100)
    assert flowing.wait_for(100, 106) == b"012345"
    assert flowing.wait_for(103, 107) == b"3456"  # what two ranges share
    assert flowing.wait_for(105, 106) is None  # all of it was given before
    assert flowing.wait_for(108, 109) is None
    assert flowing.wait_for(107, 112) == b"789ab"
    assert asyncio.run(flowing.take(111, 116)) == b"bcdef"
    assert flowing.wait_for(116, 117) is None  # it ended


def test_an_answer_is_not_gone_on_with_in_another_process() -> None:
    flowing = Flowing(Given(b"0123"), 0)
    flowing._process = -1
    assert flowing.wait_for(0, 1) is None
    assert asyncio.run(flowing.take(0, 1)) is None


def test_of_a_long_range_hardly_anything_is_kept() -> None:
    flowing = Flowing(Given(bytes(9 * MIB)), 0)
    assert flowing.wait_for(0, 9 * MIB) == bytes(9 * MIB)
    assert len(flowing._last) == SHARED and flowing._held == []
    assert flowing.wait_for(9 * MIB - SHARED, 9 * MIB) == bytes(SHARED)
