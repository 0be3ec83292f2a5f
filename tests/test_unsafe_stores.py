"""A store whose creates are not atomic is recognised and refused before anything is written to it, unless one vouches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from artifactfs import ArtifactStore
from artifactfs.errors import AccessDenied, UnsafeBackend

from .proxy import Proxy, in_front_of
from .race_workers import LONG, payload
from .racy_server import Mode, serving
from .servers import Server

MODES: list[Mode] = ["racy", "ignored", "refused"]


def keys(server: Server, url: str) -> list[str]:
    """All that is in the bucket of a store."""
    found = server.client().list_objects_v2(Bucket=url.split("/")[2])
    return [entry["Key"] for entry in found.get("Contents", ())]


def unfinished(server: Server, url: str) -> list[Any]:
    return list(server.client().list_multipart_uploads(Bucket=url.split("/")[2]).get("Uploads", ()))


@pytest.fixture(params=MODES)
def bad(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as server:
        yield server


def refused(server: Server, seen: str) -> None:
    url = server.bucket()
    scope = ArtifactStore(url, **server.storage_options).scope("shop", "alice", "s1")
    for data in (b"first", bytes(LONG)):
        with pytest.raises(UnsafeBackend) as caught:
            scope.save("report.csv", data)
        assert caught.value.seen == seen and caught.value.store == url
        message = str(caught.value)
        assert url in message and f"seen: {seen}" in message
        assert "nothing was written" in message and "single_writer=True" in message
    with pytest.raises(UnsafeBackend), scope.open("report.csv", "wb") as file:
        file.write(b"first")
    assert keys(server, url) == []


def test_rclones_server_is_refused_before_anything_is_written(rclone: Server) -> None:
    refused(rclone, "ignored")


def test_a_bad_server_is_recognised_for_what_it_is_and_refused(bad: Server) -> None:
    refused(bad, bad.name)
    url = bad.bucket()
    assert ArtifactStore(url, **bad.storage_options).probe().create == bad.name
    assert keys(bad, url) == [] and unfinished(bad, url) == []


def test_every_kind_of_write_is_refused(bad: Server) -> None:
    url = bad.bucket()
    store = ArtifactStore(url, **bad.storage_options)
    scope = store.scope("shop", "alice", "s1")
    writes = [
        lambda: scope.save("report.csv", b"x", expect="absent"),
        lambda: scope.remove("report.csv"),
        lambda: scope.delete("report.csv"),
        lambda: scope.delete("report.csv", version=0),
        store.compact,
        lambda: store.erase("shop", "alice"),
    ]
    for write in writes:
        with pytest.raises(UnsafeBackend):
            write()
    assert keys(bad, url) == []


def test_what_is_in_a_bad_store_can_be_read(bad: Server) -> None:
    url = bad.bucket()
    vouched = ArtifactStore(url, single_writer=True, **bad.storage_options).scope("shop", "alice", "s1")
    vouched.save("report.csv", b"first")
    for settings in ({}, {"read_only": True}):
        scope = ArtifactStore(url, **settings, **bad.storage_options).scope("shop", "alice", "s1")
        assert scope.load("report.csv").data == b"first"
        assert list(scope.names()) == ["report.csv"]


def test_a_single_writer_can_use_any_store(bad: Server) -> None:
    everything_works(bad)


def test_a_single_writer_can_use_rclones_server(rclone: Server) -> None:
    """It cannot hold both an object and a folder of one name, but keeps that of versions apart."""
    url = rclone.bucket()
    scope = ArtifactStore(url, single_writer=True, **rclone.storage_options).scope("shop", "alice", "s1")
    assert [scope.save("report.csv", text).version for text in ("first", "second")] == [0, 1]
    assert scope.load("report.csv").data == b"second"


def everything_works(server: Server) -> None:
    url = server.bucket()
    with in_front_of(server.url) as proxy:
        store = ArtifactStore(url, single_writer=True, **server.at(proxy.url).storage_options)
        scope = store.scope("shop", "alice", "s1")
        long = payload("single", 0, LONG)
        assert scope.save("report.csv", b"first").version == 0
        assert scope.save("report.csv", iter([long[:100], long[100:]])).version == 1
        assert scope.save("report.csv", b"third", expect=1).version == 2
        assert scope.load("report.csv", version=1).data == long
        scope.delete("report.csv", version=0)
        scope.remove("report.csv")
        assert scope.versions("report.csv") == [1, 2] and list(scope.names()) == []
        # Nobody who vouches for himself needs a probe.
        assert not [each for each in proxy.requests if "@store" in each.path]


def test_a_store_that_is_read_only_never_probes_and_never_writes(moto: Server) -> None:
    url = moto.bucket()
    with in_front_of(moto.url) as proxy:
        store = ArtifactStore(url, read_only=True, **moto.at(proxy.url).storage_options)
        scope = store.scope("shop", "alice", "s1")
        writes = [
            lambda: scope.save("report.csv", b"x"),
            lambda: scope.save("report.csv", bytes(LONG)),
            lambda: scope.remove("report.csv"),
            lambda: scope.delete("report.csv"),
            store.probe,
            store.compact,
            lambda: store.erase("shop", "alice"),
        ]
        for write in writes:
            with pytest.raises(AccessDenied, match="read_only"):
                write()
        assert proxy.requests == []
        writer = ArtifactStore(url, **moto.storage_options).scope("shop", "alice", "s1")
        writer.save("report.csv", b"first")
        assert scope.load("report.csv").data == b"first"
        assert scope.versions("report.csv") == [0] and list(scope.names()) == ["report.csv"]
        assert scope.open("report.csv").read() == b"first"
        assert list(store.users("shop")) == ["alice"]
        assert {each.method for each in proxy.requests} <= {"GET", "HEAD"}
        assert not [each for each in proxy.requests if "@store" in each.path]


# --- what a probe saw is kept -----------------------------------------------------------------------------------------


def probed(proxy: Proxy, store: ArtifactStore) -> bool:
    """Save, and tell whether that probed first."""
    with proxy.counted() as seen:
        store.scope("shop", "alice", "s1").save("report.csv", b"x")
    return any("@store/probe/" in each.path for each in seen)


def kept(server: Server, url: str) -> list[str]:
    return [key for key in keys(server, url) if "@store/" in key]


def test_the_answer_of_a_probe_is_kept_for_that_endpoint_and_bucket_only(moto: Server) -> None:
    url, other = moto.bucket(), moto.bucket()
    with in_front_of(moto.url) as proxy, in_front_of(moto.url) as elsewhere:
        options, others = moto.at(proxy.url).storage_options, moto.at(elsewhere.url).storage_options
        assert probed(proxy, ArtifactStore(url, **options))
        assert not probed(proxy, ArtifactStore(url, **options))
        assert probed(proxy, ArtifactStore(other, **options))
        assert probed(elsewhere, ArtifactStore(url, **others))
        assert not probed(elsewhere, ArtifactStore(url, **others))
        assert not probed(proxy, ArtifactStore(url, **options))
    assert len(kept(moto, url)) == 2 and len(kept(moto, other)) == 1


def test_a_copy_of_a_bucket_does_not_bring_the_answer_along(moto: Server) -> None:
    """Copied together with all that is in the root, it speaks of the bucket that it was copied from."""
    url, copy = moto.bucket(), moto.bucket()
    with in_front_of(moto.url) as proxy:
        options = moto.at(proxy.url).storage_options
        assert probed(proxy, ArtifactStore(url, **options))
        client = moto.client()
        for key in kept(moto, url):
            body = client.get_object(Bucket=url.split("/")[2], Key=key)["Body"].read()
            client.put_object(Bucket=copy.split("/")[2], Key=key, Body=body)
        assert probed(proxy, ArtifactStore(copy, **options))


@pytest.mark.parametrize("days", [31, -1])
def test_an_answer_that_is_old_or_from_the_future_is_not_believed(moto: Server, days: int) -> None:
    url = moto.bucket()
    with in_front_of(moto.url) as proxy:
        options = moto.at(proxy.url).storage_options
        assert probed(proxy, ArtifactStore(url, **options))
        change(moto, url, at=lambda at: at - days * 24 * 3600)
        assert probed(proxy, ArtifactStore(url, **options))
        assert not probed(proxy, ArtifactStore(url, **options))


def change(server: Server, url: str, **how: Any) -> None:
    """Change fields of the answer that is kept."""
    client, bucket = server.client(), url.split("/")[2]
    (key,) = kept(server, url)
    seen = json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    for field, new in how.items():
        seen[field] = new(seen[field])
    client.put_object(Bucket=bucket, Key=key, Body=json.dumps(seen).encode())


@pytest.mark.parametrize("create", ["perfect", ""])
def test_an_answer_that_says_nothing_known_is_asked_for_anew(moto: Server, create: str) -> None:
    url = moto.bucket()
    with in_front_of(moto.url) as proxy:
        options = moto.at(proxy.url).storage_options
        assert probed(proxy, ArtifactStore(url, **options))
        change(moto, url, create=lambda _: create)
        assert probed(proxy, ArtifactStore(url, **options))


def test_a_probe_that_is_asked_for_is_made_and_leaves_only_its_answer(moto: Server) -> None:
    url = moto.bucket()
    store = ArtifactStore(url, **moto.storage_options)
    assert store.probe() == ("atomic", "atomic", "atomic")
    assert keys(moto, url) == kept(moto, url) and len(kept(moto, url)) == 1
    assert unfinished(moto, url) == []


@pytest.mark.server("ceph")
def test_ceph_creates_atomically_and_completes_not_and_streams_are_saved_right(ceph: Server) -> None:
    url = ceph.bucket()
    store = ArtifactStore(url, **ceph.storage_options)
    seen = store.probe()
    assert seen.create == "atomic" and seen.complete != "atomic"
    scope = store.scope("shop", "alice", "s1")
    sent = [payload("ceph", turn, LONG) for turn in range(2)]
    for turn, data in enumerate(sent):
        assert scope.save("long.bin", iter([data[:5000], data[5000:]])).version == turn
    assert [scope.load("long.bin", version=turn).data == data for turn, data in enumerate(sent)] == [True, True]


def test_the_refusal_catches_a_store_that_believes_every_server(
    rclone: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without a probe rclone's server is written to."""
    from artifactfs.protocol import ability

    monkeypatch.setattr(ability, "refuse", lambda abilities, url: None)
    with pytest.raises(pytest.fail.Exception):
        refused(rclone, "ignored")
