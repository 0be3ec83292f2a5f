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


def test_an_answer_that_breaks_off_is_gone_on_with(store: ArtifactStore, front: Proxy) -> None:
    front.clear()
    first = iter([True])
    cut = front.when(CUT, lambda request: request.headers.get("range", "").endswith("-") and next(first, False))
    assert pieces(store, MIB) == CONTENT
    assert cut.hits == 1
    front.clear()


@pytest.mark.usefixtures("store")
def test_tasks_read_so_too_on_their_own_loops(opened: tuple[str, dict[str, Any]]) -> None:
    async def read() -> bytes:
        own = AsyncArtifactStore(opened[0], **opened[1])
        async with await own.scope("shop", "alice", "s1").open("long.bin") as file:
            parts = [await file.read(MIB) for _ in range(13)]
        await own.close()
        return b"".join(parts)

    assert asyncio.run(read()) == CONTENT


def test_a_flow_that_loses_bytes_is_caught(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ObstoreFlow.wait_for_next
    monkeypatch.setattr(ObstoreFlow, "wait_for_next", lambda self: real(self)[1:])
    try:
        wrong = pieces(store, MIB) != CONTENT
    except IntegrityError:
        wrong = True
    assert wrong
