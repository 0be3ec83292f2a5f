"""The S3 backend keeps every promise of a backend on real servers, and what is S3's own."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from artifactfs.backends import open_backend
from artifactfs.backends.base import WHOLE_LIMIT, Abilities, Backend, Unfinished
from artifactfs.backends.s3 import S3Backend
from artifactfs.backends.s3_client import Answer
from artifactfs.backends.s3_upload import S3Upload, part_size
from artifactfs.errors import BackendError, BackendUnavailable, InvalidConfig, UnsafeBackend
from artifactfs.testing.backend import BINARY, BackendConformance, _all, _make, _run, _unfinished

from .proxy import REFUSE, in_front_of
from .racy_server import Mode, serving
from .servers import Server


@pytest.fixture(scope="module")
def clients() -> Iterator[Callable[[Server, str], tuple[S3Backend, S3Backend]]]:
    """Two clients of one bucket of a server by an engine, the same for all tests here."""
    made: dict[tuple[str, str], Any] = {}

    def of(server: Server, engine: str) -> tuple[S3Backend, S3Backend]:
        if (server.url, engine) not in made:
            url = server.bucket("some/prefix")
            made[server.url, engine] = (opened(server, url, engine), opened(server, url, engine))
        pair: tuple[S3Backend, S3Backend] = made[server.url, engine]
        return pair

    yield of
    for client in itertools.chain(*made.values()):
        _run(client, client.close())


def opened(server: Server, url: str, engine: str) -> Backend:
    return open_backend(url, {**server.own_options, "engine": engine})


class OnServer(BackendConformance):
    """The conformance suite on two clients of one bucket; a subclass names the server."""

    server_name = ""
    engine = "s3fs"
    many = 1100  # two pages

    @pytest.fixture
    def pair(self, request: pytest.FixtureRequest, clients: Any) -> tuple[S3Backend, S3Backend]:
        pair: tuple[S3Backend, S3Backend] = clients(request.getfixturevalue(self.server_name), self.engine)
        return pair

    @pytest.fixture
    def backend(self, pair: tuple[S3Backend, S3Backend]) -> S3Backend:
        return pair[0]

    @pytest.fixture
    def another(self, pair: tuple[S3Backend, S3Backend]) -> S3Backend:
        return pair[1]


class Moto(OnServer):
    server_name = "moto"

    @pytest.fixture
    def another(self, pair: tuple[S3Backend, S3Backend], monkeypatch: pytest.MonkeyPatch) -> S3Backend:
        # moto says of every upload in parts that it was begun in 2010.
        real = S3Backend.unfinished

        async def unfinished(backend: S3Backend, folder: str) -> list[Unfinished]:
            now = await backend.now()
            return [found._replace(started=now) for found in await real(backend, folder)]

        monkeypatch.setattr(S3Backend, "unfinished", unfinished)
        return pair[1]


class TestMoto(Moto):
    pass


@pytest.mark.nightly
class TestMotoByObstore(Moto):
    engine = "obstore"


class TestMinistack(OnServer):
    server_name = "ministack"
    many = 300  # pages are moto's part, above


@pytest.mark.nightly
class TestMinistackByObstore(TestMinistack):
    engine = "obstore"


@pytest.mark.server("ceph")
class TestCeph(OnServer):
    server_name = "ceph"
    atomic_complete = False


@pytest.mark.nightly
class TestCephByObstore(TestCeph):
    engine = "obstore"


@pytest.mark.server("minio")
class TestMinio(OnServer):
    server_name = "minio"
    lists_unfinished = False  # only those of a key that one knows; MinIO removes them itself after a day


@pytest.fixture(params=["s3fs", pytest.param("obstore", marks=pytest.mark.nightly)])
def client(request: pytest.FixtureRequest, moto: Server) -> Iterator[Callable[..., S3Backend]]:
    """Opens backends on moto that are closed in the end. Where obstore cannot serve the options, s3fs does."""
    made: list[Any] = []
    engine: dict[str, str] = {"engine": "s3fs"} if request.param == "s3fs" else {}

    def make(server: Server = moto, **options: Any) -> Any:
        arguments = {name: options.pop(name) for name in ("single_writer",) if name in options}
        made.append(open_backend(server.bucket(), {**server.own_options, **options, **engine}, **arguments))
        return made[-1]

    yield make
    for backend in made:
        _run(backend, backend.close())


# requests


def test_each_operation_is_one_request(moto: Server, client: Callable[..., S3Backend]) -> None:
    with in_front_of(moto.url) as front:
        backend = client(moto.at(front.url))
        _make(backend, [f"f/{n}/x" for n in range(5)])
        tag = _run(backend, backend.put("x", b"0123456789", BINARY)).tag
        for call, method in (
            (lambda: backend.create("y", b"data", BINARY), "PUT"),
            (lambda: backend.create("y", b"", BINARY), "PUT"),
            (lambda: backend.put("z", b"data", BINARY), "PUT"),
            (lambda: backend.replace("x", b"0123456789", BINARY, tag), "PUT"),
            (lambda: backend.get("x"), "GET"),
            (lambda: backend.get("x", 3), "GET"),
            (lambda: backend.get("x", 3, 5), "GET"),
            (lambda: backend.get("missing"), "GET"),
            (lambda: backend.stat("x"), "HEAD"),
            (lambda: backend.stat("missing"), "HEAD"),
            (lambda: backend.list("f/"), "GET"),
            (lambda: backend.list("f/", "2/", limit=2), "GET"),
            (lambda: backend.list("f/", deep=True), "GET"),
            (lambda: backend.delete(["y"]), "DELETE"),
            (lambda: backend.delete([f"f/{n}/x" for n in range(5)]), "POST"),
            (lambda: backend.unfinished(""), "GET"),
            (lambda: backend.now(), "HEAD"),
        ):
            with front.counted() as seen:
                _run(backend, call())
            assert [request.method for request in seen] == [method], [str(request) for request in seen]
        with front.counted() as seen:
            _run(backend, backend.sign("x", 60))
        assert seen == []


def test_a_short_upload_is_one_request_and_nothing_of_it_stays(moto: Server, client: Callable[..., S3Backend]) -> None:
    with in_front_of(moto.url) as front:
        backend = client(moto.at(front.url))
        front.clear()
        upload = _run(backend, backend.upload("x", BINARY))
        _run(backend, upload.write(bytes(WHOLE_LIMIT)))
        assert _run(backend, upload.commit()).done
        assert [request.method for request in front.requests] == ["PUT"]


def test_a_range_beyond_the_end_tells_the_whole_size(client: Callable[..., S3Backend]) -> None:
    backend = client()
    _run(backend, backend.put("x", b"0123456789", BINARY))
    whole = _run(backend, backend.get("x"))
    assert whole is not None
    for start, end in ((10, None), (99, 100), (3, 3), (5, 2)):
        assert _run(backend, backend.get("x", start, end)) == whole._replace(data=b"")


# what the store's options add


def test_encryption_and_content_type_reach_every_kind_of_write(moto: Server, client: Callable[..., S3Backend]) -> None:
    backend = client(s3_additional_kwargs={"ServerSideEncryption": "AES256"})
    assert _run(backend, backend.create("created", b"data", "text/csv")).done
    tag = _run(backend, backend.put("put", b"data", "text/csv")).tag
    assert _run(backend, backend.replace("put", b"data", "text/csv", tag)).done
    upload = _run(backend, backend.upload("uploaded", "text/csv"))
    _run(backend, upload.write(bytes(WHOLE_LIMIT + 1)))
    assert _run(backend, upload.commit()).done
    assert _run(backend, backend.probe("")) == Abilities("atomic", "atomic", "atomic")
    for key in ("created", "put", "uploaded"):
        head = moto.client().head_object(Bucket=backend.url.split("/")[2], Key=f"prefix/{key}")
        assert (head["ServerSideEncryption"], head["ContentType"]) == ("AES256", "text/csv"), key


def test_requester_pays_is_said_with_every_request(moto: Server, client: Callable[..., S3Backend]) -> None:
    with in_front_of(moto.url) as front:
        backend = client(moto.at(front.url), requester_pays=True)
        front.clear()
        _make(backend, ["x", "y", "z"])
        _run(backend, backend.get("x"))
        _run(backend, backend.stat("x"))
        _run(backend, backend.list(""))
        _run(backend, backend.delete(["x"]))
        _run(backend, backend.delete(["y", "z"]))
        assert len(front.requests) == 8
        assert {request.headers.get("x-amz-request-payer") for request in front.requests} == {"requester"}


@pytest.mark.parametrize(
    "name", ["moto", "ministack", "rclone", *(pytest.param(n, marks=pytest.mark.server(n)) for n in ("ceph", "minio"))]
)
def test_a_signed_url_needs_no_credentials(
    request: pytest.FixtureRequest, client: Callable[..., S3Backend], name: str
) -> None:
    backend = client(request.getfixturevalue(name))
    _run(backend, backend.put("a b/ü+%25", b"signed", "text/csv"))
    url = _run(backend, backend.sign("a b/ü+%25", 60))
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"signed"
        assert answer.headers["Content-Type"] == "text/csv" or name == "rclone"
    with pytest.raises(BackendError, match="7 days"):
        _run(backend, backend.sign("x", 8 * 24 * 3600))


# what servers guarantee


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("moto", {"atomic": {0, 1, 2}}),
        ("ministack", {"atomic": {0, 1, 2}}),
        ("rclone", {"ignored": {0}}),
        pytest.param("ceph", {"atomic": {0, 2}, "ignored": {1}}, marks=pytest.mark.server("ceph")),
        pytest.param("minio", {"atomic": {0, 1, 2}}, marks=pytest.mark.server("minio")),
    ],
)
def test_a_probe_sees_what_a_server_is_known_for(
    request: pytest.FixtureRequest, client: Callable[..., S3Backend], name: str, seen: dict[str, set[int]]
) -> None:
    backend = client(request.getfixturevalue(name))
    assert backend.abilities is None
    abilities = _run(backend, backend.probe("probe/"))
    for ability, places in seen.items():
        assert {abilities[place] for place in places} == {ability}, abilities
    assert _all(backend, "", deep=True) == []
    assert _unfinished(backend, "") == []


@pytest.mark.parametrize("mode", ["racy", "ignored", "refused"])
def test_a_probe_tells_bad_servers_apart(client: Callable[..., S3Backend], mode: Mode) -> None:
    with serving(mode) as server:
        backend = client(server)
        assert _run(backend, backend.probe("probe/")) == Abilities(mode, mode, mode)
        assert _all(backend, "", deep=True) == []
        assert _unfinished(backend, "") == []
        _run(backend, backend.close())


def test_a_store_that_refuses_the_precondition_is_unsafe(client: Callable[..., S3Backend]) -> None:
    with serving("refused") as server:
        backend = client(server)
        for coro in (
            backend.create("x", b"data", BINARY),
            backend.replace("x", b"data", BINARY, "0" * 32),
        ):
            with pytest.raises(UnsafeBackend, match="single_writer=True") as caught:
                _run(backend, coro)
            assert caught.value.seen == "refused"
        upload = _run(backend, backend.upload("x", BINARY))
        _run(backend, upload.write(bytes(WHOLE_LIMIT + 1)))
        with pytest.raises(UnsafeBackend):
            _run(backend, upload.commit())
        _run(backend, upload.abort())
        assert _all(backend, "", deep=True) == []
        _run(backend, backend.close())


@pytest.mark.parametrize("mode", ["ignored", "refused"])
def test_a_single_writer_can_use_any_server(client: Callable[..., S3Backend], mode: Mode) -> None:
    with serving(mode) as server:
        backend = client(server, single_writer=True)
        assert _run(backend, backend.create("x", b"first", BINARY)).done
        assert not _run(backend, backend.create("x", b"second", BINARY)).done
        there = _run(backend, backend.stat("x"))
        assert there is not None
        assert not _run(backend, backend.replace("x", b"second", BINARY, "0" * 32)).done
        assert _run(backend, backend.replace("x", b"second", BINARY, there.tag)).done
        assert not _run(backend, backend.replace("gone", b"second", BINARY, there.tag)).done
        for key, done in (("x", False), ("y", True)):
            upload = _run(backend, backend.upload(key, BINARY))
            _run(backend, upload.write(bytes(WHOLE_LIMIT + 1)))
            assert _run(backend, upload.commit()).done is done
            _run(backend, upload.abort())
        got = _run(backend, backend.get("x"))
        assert got is not None and got.data == b"second"
        _run(backend, backend.close())


def test_keys_are_deleted_one_by_one_where_a_server_cannot_do_many(
    client: Callable[..., S3Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("tests.racy_server._Handler._post_bucket_delete")
    with serving("racy") as server:
        backend = client(server)
        _make(backend, [str(n) for n in range(50)])
        _run(backend, backend.delete([str(n) for n in range(49)]))
        assert _all(backend, "") == ["49"]
        _run(backend, backend.close())


def test_aws_alone_is_trusted_without_a_probe() -> None:
    atomic = Abilities("atomic", "atomic", "atomic")
    for endpoint in (None, "https://s3.eu-west-1.amazonaws.com", "https://s3.cn-north-1.amazonaws.com.cn"):
        assert S3Backend("s3://bucket", options={"endpoint_url": endpoint}).abilities == atomic
    for endpoint in ("https://amazonaws.com.example.org", "https://notamazonaws.com", "http://127.0.0.1:9000"):
        backend = S3Backend("s3://bucket/prefix", options={"endpoint_url": endpoint})
        assert backend.abilities is None
        assert backend.identity == f"{endpoint}/bucket"


# processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_and_its_parent_go_on_side_by_side(client: Callable[..., S3Backend]) -> None:
    backend = client()
    _make(backend, ["before"])
    child = os.fork()
    if child == 0:
        done = 1
        try:
            _make(backend, [f"child/{n}" for n in range(20)])
            done = 0 if _run(backend, backend.get("before")) is not None else 1
        finally:
            os._exit(done)
    _make(backend, [f"parent/{n}" for n in range(20)])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    _make(backend, ["after"])
    assert len(_all(backend, "", deep=True)) == 42


def test_a_child_that_ends_in_the_ordinary_way_leaves_its_parents_connections_alone(moto: Server) -> None:
    script = """
import os, sys
from artifactfs.backends.s3 import S3Backend
from artifactfs.testing.backend import _run
url, endpoint, key, secret = sys.argv[1:]
options = {"endpoint_url": endpoint, "key": key, "secret": secret, "config_kwargs": {"read_timeout": 5}}
backend = S3Backend(url, options=options, tries=1)
assert _run(backend, backend.create("before", b"", "a/b")).done
child = os.fork()
if child == 0:
    assert _run(backend, backend.create("child", b"", "a/b")).done
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert _run(backend, backend.create("after", b"", "a/b")).done
"""
    command = [sys.executable, "-W", "error", "-c", script, moto.bucket(), moto.url, moto.key, moto.secret]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# settings


def test_credentials_and_endpoint_come_from_the_environment(moto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "aws-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.url)
    url = moto.bucket()

    def user(**options: Any) -> str:
        """The key id that requests are signed with."""
        with in_front_of(moto.url) as front:
            if "AWS_ENDPOINT_URL_S3" in os.environ:
                monkeypatch.setenv("AWS_ENDPOINT_URL_S3", front.url)
            if "S3_ENDPOINT_URL" in os.environ:
                monkeypatch.setenv("S3_ENDPOINT_URL", front.url)
            backend = S3Backend(url, options=options)
            _run(backend, backend.list(""))
            _run(backend, backend.close())
            (request,) = front.requests
            return request.headers["authorization"].partition("Credential=")[2].partition("/")[0]

    assert user() == "aws-key"
    monkeypatch.setenv("S3_ACCESS_KEY_ID", "s3-key")
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", "s3-secret")
    assert user() == "s3-key"
    monkeypatch.setenv("S3_ENDPOINT_URL", moto.url)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert user() == "s3-key"
    assert user(key="own-key", secret="own-secret") == "own-key"
    assert user(access_key_id="own-key", secret_access_key="own-secret") == "own-key"
    monkeypatch.delenv("S3_SECRET_ACCESS_KEY")
    with pytest.raises(InvalidConfig, match="only one is set"):
        S3Backend(url, options={})


def test_an_endpoint_of_the_s3_variable_wins_over_those_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://aws.example")
    assert S3Backend("s3://b", options={}).identity == "http://aws.example/b"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://aws-s3.example/")
    assert S3Backend("s3://b", options={}).identity == "http://aws-s3.example/b"
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://s3.example")
    assert S3Backend("s3://b", options={}).identity == "http://s3.example/b"
    options = {"client_kwargs": {"endpoint_url": "http://own.example"}}
    assert S3Backend("s3://b", options=options).identity == "http://own.example/b"


def test_r2_is_found_by_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "https://acc0.r2.cloudflarestorage.com/bucket"
    for url in ("r2://bucket/prefix", "s3://bucket/prefix"):
        backend = S3Backend(url, options={"account_id": "acc0"})
        assert (backend.identity, backend.url, backend.abilities) == (wanted, url, None)
    with pytest.raises(InvalidConfig, match="account_id= or set R2_ACCOUNT_ID"):
        S3Backend("r2://bucket", options={})
    monkeypatch.setenv("R2_ACCOUNT_ID", "acc0")
    monkeypatch.setenv("R2_ACCESS_KEY_ID", "r2-key")
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", "r2-secret")
    monkeypatch.setenv("S3_ACCESS_KEY_ID", "s3-key")
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", "s3-secret")
    backend = S3Backend("r2://bucket", options={})
    assert backend.identity == wanted
    signed = urlsplit(_run(backend, backend.sign("x", 60)))
    assert signed.hostname == "acc0.r2.cloudflarestorage.com"
    assert parse_qs(signed.query)["X-Amz-Credential"][0].startswith("r2-key/")
    assert "/auto/s3/" in parse_qs(signed.query)["X-Amz-Credential"][0]
    assert S3Backend("s3://bucket", options={}).identity != wanted
    eu = S3Backend("r2://bucket", options={"endpoint_url": "https://acc0.eu.r2.cloudflarestorage.com"})
    assert eu.identity == "https://acc0.eu.r2.cloudflarestorage.com/bucket"


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "gs://bucket", "bucket", "s3://key:secret@bucket/prefix"])
def test_a_url_that_names_no_bucket_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        S3Backend(url, options={})
    assert "secret@" not in str(caught.value)


def test_a_store_may_be_the_root_of_a_bucket(moto: Server) -> None:
    backend = opened(moto, moto.bucket(""), "s3fs")
    _make(backend, ["a/1", "a/2", "b"])
    assert _all(backend, "") == ["a/", "b"]
    assert _all(backend, "", "a/", limit=1) == ["b"]
    _run(backend, backend.delete(["a/1", "b"]))
    assert _all(backend, "", deep=True) == ["a/2"]
    _run(backend, backend.close())


def test_the_longest_key_leaves_room_for_the_prefix(client: Callable[..., S3Backend]) -> None:
    assert S3Backend("s3://bucket", options={}).max_key == 1024
    assert S3Backend("s3://bucket/größe/", options={}).max_key == 1024 - len("größe/".encode())
    backend = client()
    key = "/".join(["x" * 200] * 5)[: backend.max_key]
    _make(backend, [key])
    assert _all(backend, "", deep=True) == [key]


def test_parts_grow_until_the_largest_object_fits() -> None:
    sizes = [part_size(number) for number in range(1, 10_001)]
    assert set(sizes[:2500]) == {WHOLE_LIMIT}
    assert sizes == sorted(sizes)
    assert sum(sizes) >= 5 * 2**40
    assert sizes[-1] <= 5 * 2**30


def test_an_upload_whose_part_failed_raises_and_leaves_nothing(moto: Server, client: Callable[..., S3Backend]) -> None:
    with in_front_of(moto.url) as front:
        made = client(moto.at(front.url))
        backend = S3Backend(made.url, options=moto.at(front.url).own_options, tries=1)
        front.once(REFUSE, method="PUT")
        upload = _run(backend, backend.upload("x", BINARY))
        with pytest.raises(BackendUnavailable, match="upload_part of 'x'"):
            for _ in range(8):
                _run(backend, upload.write(bytes(WHOLE_LIMIT)))
            _run(backend, upload.commit())
        _run(backend, upload.abort())
        _run(backend, upload.abort())
        with pytest.raises(BackendError, match="has ended: save again"):
            _run(backend, upload.commit())
        assert _all(backend, "") == []
        assert _unfinished(backend, "") == []
        _run(backend, backend.close())


def test_the_memory_of_a_part_that_was_sent_twice_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that was given up may go on sending for a while."""
    monkeypatch.setattr("artifactfs.backends.s3_upload.PART", 4)
    monkeypatch.setattr("artifactfs.backends.s3_upload.IN_FLIGHT", 4)
    sent: list[bytearray] = []

    async def answer(method: str, key: str, **arguments: Any) -> Answer:
        if method == "upload_part":
            sent.append(arguments["Body"])
        return Answer(200, "", {"UploadId": "u", "ETag": "e"}, {}, 2 if len(sent) == 1 else 1)

    async def upload() -> None:
        client: Any = SimpleNamespace(settings=SimpleNamespace(url="s3://b"), call=answer)
        never: Any = None
        stream = S3Upload(client, "k", BINARY, create=never, conditional=True, absent=never)
        for number in range(6):
            await stream.write(bytes([number]) * 4)
        assert (await stream.commit()).done

    asyncio.run(upload())
    assert len(sent) == 6 and len(set(map(id, sent))) < 6
    assert sent[0] == bytes(4)
