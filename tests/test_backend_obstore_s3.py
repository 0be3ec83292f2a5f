"""S3 over obstore keeps every promise that it keeps over s3fs, and is chosen where it can be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec.config
import pytest
from obstore import exceptions

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.backends import obstore_client, obstore_errors, open_backend
from artifactfs.backends.base import WHOLE_LIMIT, Backend, Written
from artifactfs.backends.obstore_s3 import ObstoreS3Backend
from artifactfs.backends.s3 import S3Backend
from artifactfs.drivers import acall
from artifactfs.errors import (
    AccessDenied,
    BackendError,
    BackendUnavailable,
    InvalidConfig,
    InvalidName,
    UnsafeBackend,
)
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.testing.backend import BINARY, BackendConformance, _all, _run
from artifactfs.testing.store import StoreConformance

from .proxy import CONFLICT, CUT, DROP, REFUSE, SLOW_DOWN, Proxy, in_front_of
from .racy_server import serving
from .servers import KEY, SECRET, Server, free_port
from .test_s3_errors import CALLS, WRITES

pytestmark = pytest.mark.server("minio")


def fast(server: Server) -> dict[str, Any]:
    return {**server.own_options, "engine": "obstore"}


def opened(server: Server, url: str | None = None, **arguments: Any) -> ObstoreS3Backend:
    return ObstoreS3Backend(url or server.bucket("some/prefix"), options=server.own_options, **arguments)


@pytest.fixture
def backend(minio: Server) -> Iterator[ObstoreS3Backend]:
    made = opened(minio)
    yield made
    _run(made, made.close())


@pytest.fixture(scope="module")
def front(minio: Server) -> Iterator[Proxy]:
    with in_front_of(minio.url) as proxy:
        yield proxy


@pytest.fixture
def spoilt(minio: Server, front: Proxy) -> Iterator[ObstoreS3Backend]:
    """A backend behind the proxy, with a connection that is open already."""
    front.clear()
    made = opened(minio.at(front.url), minio.bucket(), tries=3)
    assert _run(made, made.create("warm", b"", BINARY)).done
    front.clear()
    yield made
    _run(made, made.close())


# the suites (on other servers: `test_backend_s3`, with the engine as a parameter, nightly)


@pytest.fixture(scope="module")
def pair(minio: Server) -> Iterator[tuple[ObstoreS3Backend, ObstoreS3Backend]]:
    """Two clients of one bucket."""
    url = minio.bucket("some/prefix")
    made = opened(minio, url), opened(minio, url)
    yield made
    for one in made:
        _run(one, one.close())


class TestConformance(BackendConformance):
    many = 300  # pages are s3fs's part
    lists_unfinished = False  # MinIO lists only those of a key that one knows

    @pytest.fixture
    def backend(self, pair: tuple[ObstoreS3Backend, ObstoreS3Backend]) -> ObstoreS3Backend:
        return pair[0]

    @pytest.fixture
    def another(self, pair: tuple[ObstoreS3Backend, ObstoreS3Backend]) -> ObstoreS3Backend:
        return pair[1]


@pytest.fixture(scope="module")
def made(minio: Server) -> Iterator[ArtifactStore]:
    with ArtifactStore(minio.bucket(), **fast(minio)) as store:
        assert isinstance(store._core.backend, ObstoreS3Backend)
        yield store


class TestStore(StoreConformance):
    longest_segment = 255

    @pytest.fixture
    def store(self, made: ArtifactStore) -> ArtifactStore:
        return made


# races


def test_eight_savers_on_loops_and_in_threads_lose_nothing(minio: Server) -> None:
    where, runners, saves = minio.bucket(), 8, 50
    numbers: list[dict[int, bytes]] = [{} for _ in range(runners)]

    def in_thread(who: int) -> None:
        with ArtifactStore(where, **fast(minio)) as store:
            scope = store.scope("shop", "alice", "s1")
            for turn in range(saves):
                data = b"%d %d" % (who, turn)
                numbers[who][scope.save("raced", data).version] = data

    async def on_loop(who: int) -> None:
        async with AsyncArtifactStore(where, **fast(minio)) as store:
            scope = store.scope("shop", "alice", "s1")

            async def one(turn: int) -> None:
                data = b"%d %d" % (who, turn)
                numbers[who][(await scope.save("raced", data)).version] = data

            for turn in range(0, saves, 10):
                await asyncio.gather(*map(one, range(turn, turn + 10)))

    threads = [threading.Thread(target=in_thread, args=(who,)) for who in range(runners // 2)]
    threads += [threading.Thread(target=lambda who=who: asyncio.run(on_loop(who))) for who in range(4, runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saved = {number: data for one in numbers for number, data in one.items()}
    assert sorted(saved) == list(range(runners * saves)) and sum(map(len, numbers)) == runners * saves
    with ArtifactStore(where, **fast(minio)) as store:
        scope = store.scope("shop", "alice", "s1")
        assert scope.versions("raced") == sorted(saved)
        assert all(scope.load("raced", version=number).data == saved[number] for number in range(0, len(saved), 7))


# requests


def test_each_operation_is_one_request(spoilt: ObstoreS3Backend, front: Proxy) -> None:
    tag = _run(spoilt, spoilt.put("x", b"0123456789", BINARY)).tag
    for call, method in (
        (lambda: spoilt.create("y", b"data", BINARY), "PUT"),
        (lambda: spoilt.create("y", b"", BINARY), "PUT"),
        (lambda: spoilt.create("long", bytes(WHOLE_LIMIT), BINARY), "PUT"),
        (lambda: spoilt.put("z", b"data", BINARY), "PUT"),
        (lambda: spoilt.replace("x", b"0123456789", BINARY, tag), "PUT"),
        (lambda: spoilt.replace("x", b"0123456789", BINARY, "0" * 32), "PUT"),
        (lambda: spoilt.get("x"), "GET"),
        (lambda: spoilt.get("x", 3), "GET"),
        (lambda: spoilt.get("x", 3, 5), "GET"),
        (lambda: spoilt.get("missing"), "GET"),
        (lambda: spoilt.stat("x"), "HEAD"),
        (lambda: spoilt.stat("missing"), "HEAD"),
    ):
        with front.counted() as seen:
            _run(spoilt, call())
        assert [request.method for request in seen] == [method], [str(request) for request in seen]


def test_a_range_beyond_the_end_tells_the_whole_size(backend: ObstoreS3Backend) -> None:
    _run(backend, backend.put("x", b"0123456789", BINARY))
    whole = _run(backend, backend.get("x"))
    assert whole is not None
    for start, end in ((10, None), (99, 100), (3, 3), (5, 2)):
        assert _run(backend, backend.get("x", start, end)) == whole._replace(data=b"")


def test_a_server_that_ignores_ranges_is_read_right() -> None:
    with serving("racy") as server:
        backend = opened(server, server.bucket())
        _run(backend, backend.put("x", b"0123456789", BINARY))
        for start, end in ((3, None), (3, 5), (0, 4)):
            got = _run(backend, backend.get("x", start, end))
            assert got is not None and (got.data, got.size) == (b"0123456789"[start:end], 10)
        _run(backend, backend.close())


# names


HARD = ("a b/ü+%25", "a%2Fb", "!3", "a~b#?&=;,$@()", "x/Größe 💾", "a\u202eb", "..a/b..", ".a", "a.")
UNHELD = ("a//b", "a/./b", "a/../b", "a\tb", "a\x7fb", "/a", "a/", ".", "..")


def test_a_key_is_the_same_object_whatever_is_in_it(minio: Server, backend: ObstoreS3Backend) -> None:
    through_s3fs = S3Backend(backend.url, options=minio.own_options)
    for key in HARD:
        assert _run(backend, backend.create(key, key.encode(), BINARY)).done
        assert (got := _run(through_s3fs, through_s3fs.get(key))) is not None and got.data == key.encode()
        assert (got := _run(backend, backend.get(key, 1))) is not None and got.data == key.encode()[1:]
        assert (seen := _run(backend, backend.stat(key))) is not None and seen.size == len(key.encode())
    assert sorted(_all(backend, "", deep=True)) == sorted(HARD)
    _run(backend, backend.delete(HARD))
    assert _all(backend, "", deep=True) == []
    _run(through_s3fs, through_s3fs.close())


def test_keys_that_obstore_cannot_hold_are_never_taken_for_others(moto: Server) -> None:
    backend = opened(moto)
    boto = moto.client()
    bucket = backend.url.split("/")[2]
    for key in UNHELD:
        assert not backend._holds(key)
        assert _run(backend, backend.create(key, key.encode(), BINARY)).done, key
        assert not _run(backend, backend.create(key, b"second", BINARY)).done, key
        assert (got := _run(backend, backend.get(key))) is not None and got.data == key.encode(), key
        assert boto.get_object(Bucket=bucket, Key=f"some/prefix/{key}")["Body"].read() == key.encode()
    assert len(boto.list_objects_v2(Bucket=bucket)["Contents"]) == len(UNHELD)
    odd = opened(moto, f"s3://{bucket}/odd//prefix")
    assert _run(odd, odd.create("x", b"data", BINARY)).done
    assert boto.get_object(Bucket=bucket, Key="odd//prefix/x")["Body"].read() == b"data"
    for one in (backend, odd):
        _run(one, one.close())


# what goes wrong


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_bucket_is_named(minio: Server, call: str) -> None:
    backend: Any = opened(minio, "s3://no-such-bucket/prefix")
    with pytest.raises(BackendError, match=r"s3://no-such-bucket/prefix: there is no bucket 'no-such-bucket' at http"):
        _run(backend, CALLS[call](backend))
    _run(backend, backend.close())


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials_are_told_and_never_shown(minio: Server, wrong: str) -> None:
    backend = ObstoreS3Backend("s3://bucket/p", options={**minio.own_options, wrong: "NOT-THE-RIGHT-ONE"}, tries=2)
    for call in (lambda: backend.create("a", b"", BINARY), lambda: backend.get("a"), lambda: backend.stat("a")):
        with pytest.raises(AccessDenied, match=r"key|policy") as caught:
            _run(backend, call())
        shown = f"{caught.value} {caught.value!r} {caught.value.__dict__} {backend!r} {vars(backend)}"
        shown += f"{caught.value.__cause__!r} {vars(caught.value.__cause__)} {vars(backend._client)}"
        assert SECRET not in shown and "NOT-THE-RIGHT-ONE" not in shown
        assert type(caught.value.__cause__).__module__.startswith("artifactfs.")


def test_credentials_that_no_header_can_hold_are_told_and_not_shown() -> None:
    backend = ObstoreS3Backend("s3://bucket", options={**REACHED, "token": "a-token-read-from-a-file\n"})
    with pytest.raises(InvalidConfig, match="hold a line break") as caught:
        _run(backend, backend.create("x", b"", BINARY))
    assert "a-token" not in f"{caught.value!r} {caught.value.__cause__!r} {vars(caught.value.__cause__)}"


def test_without_certificates_of_the_system_everything_goes_over_s3fs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "/nowhere")
    with serving("racy") as server:
        backend = opened(server, server.bucket())
        assert not backend._holds("x")
        assert _run(backend, backend.create("x", b"data", BINARY)).done
        assert (got := _run(backend, backend.get("x"))) is not None and got.data == b"data"
        _run(backend, backend.close())


def test_a_key_that_a_server_cannot_hold_is_an_invalid_name(backend: ObstoreS3Backend) -> None:
    for key in ("x" * 300, "a/../b"):
        with pytest.raises(InvalidName, match="cannot hold a key of that length or form"):
            _run(backend, backend.create(key, b"data", BINARY))


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_port_is_unavailable_and_nothing_landed(call: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    backend: Any = ObstoreS3Backend("s3://b", options={"endpoint_url": endpoint, "key": KEY, "secret": SECRET}, tries=2)
    with pytest.raises(BackendUnavailable, match=f"{endpoint} refused the connection: .*, after 2 tries") as caught:
        _run(backend, CALLS[call](backend))
    assert caught.value.landed is False
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_host_a_certificate_and_a_server_that_hangs_are_told(minio: Server, spoilt: ObstoreS3Backend) -> None:
    def told(endpoint: str, **config: Any) -> str:
        options = {**minio.own_options, "endpoint_url": endpoint, "config_kwargs": config}
        with pytest.raises(BackendError) as caught:
            _run(spoilt, ObstoreS3Backend("s3://b", options=options, tries=1).get("x"))
        return str(caught.value)

    assert "the name of http://nowhere.invalid is not known" in told("http://nowhere.invalid")
    assert "write http:// in endpoint_url" in told(minio.url.replace("http:", "https:"))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert "did not answer in time" in told(f"http://127.0.0.1:{deaf.getsockname()[1]}", read_timeout=0.2)


@pytest.mark.parametrize("call", CALLS)
def test_throttling_is_tried_again_up_to_the_tries(spoilt: ObstoreS3Backend, front: Proxy, call: str) -> None:
    rule = front.when(SLOW_DOWN, lambda request: True)
    with pytest.raises(BackendUnavailable, match=r"asks for fewer requests|kept failing") as caught:
        _run(spoilt, CALLS[call](spoilt))  # type: ignore[arg-type]
    assert rule.hits == 3
    assert caught.value.landed is (call in WRITES)


@pytest.mark.parametrize("fault", [SLOW_DOWN, REFUSE], ids=["throttled", "hung up"])
def test_a_create_that_failed_at_first_counts_both_tries(spoilt: ObstoreS3Backend, front: Proxy, fault: Any) -> None:
    front.once(fault, method="PUT")
    written = _run(spoilt, spoilt.create("x", b"data", BINARY))
    assert (written.done, written.tries) == (True, 2)


@pytest.mark.parametrize("data", [b"", b"data", bytes(2_000_000)], ids=["empty", "small", "large"])
def test_a_lost_answer_is_known_to_have_been_sent_twice(spoilt: ObstoreS3Backend, front: Proxy, data: bytes) -> None:
    front.once(DROP, method="PUT")
    assert _run(spoilt, spoilt.create("x", data, BINARY)) == Written(False, 2)
    assert [request.method for request in front.requests] == ["PUT", "PUT"]
    tag = _run(spoilt, spoilt.put("x", b"first", BINARY)).tag
    front.once(DROP, method="PUT")
    assert _run(spoilt, spoilt.replace("x", b"second", BINARY, tag)) == Written(False, 2)
    front.clear()
    front.once(DROP, method="PUT")
    with pytest.raises(BackendUnavailable, match="after one try; it may have taken effect all the same") as caught:
        _run(spoilt, spoilt.put("x", b"data", BINARY, once=True))
    assert caught.value.landed is True
    assert [request.method for request in front.requests] == ["PUT"]


def test_an_answer_that_was_cut_off_is_read_again(spoilt: ObstoreS3Backend, front: Proxy) -> None:
    data = bytes(range(256)) * 1000
    _run(spoilt, spoilt.put("x", data, BINARY))
    cut = front.once(CUT, method="GET")
    got = _run(spoilt, spoilt.get("x"))
    assert got is not None and got.data == data and cut.hits == 1


class Quiet(BaseHTTPRequestHandler):
    """A server for a single purpose."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def quiet(kind: type[Quiet]) -> Iterator[dict[str, Any]]:
    """Options of a store at such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "key": KEY, "secret": SECRET}
        server.shutdown()


@pytest.mark.parametrize("said", ["nothing", "region"])
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
def test_a_bucket_in_another_region_is_found_as_s3fs_finds_it(said: str, method: str) -> None:
    seen: list[str] = []

    class Regional(Quiet):
        def serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.command)
            of_the_bucket = {"x_amz_bucket_region": "eu-west-1"} if self.path == "/bucket" else {}
            if "/eu-west-1/s3/" in self.headers["Authorization"]:
                self.answer(200, b"data", ETag='"0"', Last_Modified="Sat, 21 Nov 2026 12:00:00 GMT", **of_the_bucket)
            elif self.command == "HEAD":
                self.answer(400, b"", **of_the_bucket)
            elif said == "region":
                code = "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>"
                self.answer(400, f"<Error>{code}</Error>".encode())
            else:
                self.answer(301, b"<Error><Code>PermanentRedirect</Code></Error>")

        do_PUT = do_GET = do_HEAD = serve

    with quiet(Regional) as options:
        backend = ObstoreS3Backend("s3://bucket", options={**options, "region": "us-east-1"})
        calls: dict[str, Any] = {
            "PUT": lambda: backend.create("x", b"data", BINARY),
            "GET": lambda: backend.get("x"),
            "HEAD": lambda: backend.stat("x"),
        }
        first = _run(backend, calls[method]())
        assert first is not None and (method != "PUT" or first == Written(True, 1, "0"))
        seen.clear()
        for call in calls.values():
            _run(backend, call())
        assert seen == ["PUT", "GET", "HEAD"]
        _run(backend, backend.close())


def test_a_region_that_nobody_tells_is_asked_for() -> None:
    class Elsewhere(Quiet):
        def serve(self) -> None:
            self.answer(301 if self.command == "GET" else 403)

        do_GET = do_HEAD = serve

    with quiet(Elsewhere) as options:
        backend = ObstoreS3Backend("s3://bucket", options={**options, "region": "us-east-1"})
        with pytest.raises(BackendError, match="is elsewhere, give its region="):
            _run(backend, backend.get("x"))
        _run(backend, backend.close())


def test_an_answer_that_obstore_cannot_read_may_mean_that_a_write_landed() -> None:
    class Terse(Quiet):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200)  # without the tag that every write is answered with

    with quiet(Terse) as options:
        backend = ObstoreS3Backend("s3://bucket", options=options)
        with pytest.raises(BackendUnavailable, match="it may have taken effect all the same") as caught:
            _run(backend, backend.create("x", b"data", BINARY))
        assert caught.value.landed is True
        _run(backend, backend.close())
    assert obstore_errors.unclear(obstore_errors.Failure(0, detail="RustPanic: rust future panicked"))


# 409 and 412, which obstore calls by one name


def conflicts_are_told_apart(backend: ObstoreS3Backend, front: Proxy) -> None:
    assert _run(backend, backend.create("there", b"first", BINARY)).done
    assert _run(backend, backend.create("there", b"second", BINARY)) == Written(False)
    front.once(CONFLICT, method="PUT")
    written = _run(backend, backend.create("absent", b"data", BINARY))
    assert (written.done, written.tries) == (True, 2)
    assert (got := _run(backend, backend.get("absent"))) is not None and got.data == b"data"
    tag = _run(backend, backend.put("there", b"first", BINARY)).tag
    front.once(CONFLICT, method="PUT")
    written = _run(backend, backend.replace("there", b"third", BINARY, tag))
    assert (written.done, written.tries) == (True, 2)
    front.when(CONFLICT, lambda request: request.method == "PUT")
    with pytest.raises(BackendUnavailable, match="after 3 tries"):
        _run(backend, backend.create("never", b"data", BINARY))


def test_a_conflict_is_no_lost_race(spoilt: ObstoreS3Backend, front: Proxy) -> None:
    conflicts_are_told_apart(spoilt, front)


def test_the_store_is_asked_where_obstore_does_not_tell_the_status(
    spoilt: ObstoreS3Backend, front: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = obstore_errors.failure_of

    def mute(error: BaseException) -> obstore_errors.Failure:
        return real(type(error)("in other words") if isinstance(error, exceptions.BaseError) else error)

    monkeypatch.setattr(obstore_client, "failure_of", mute)
    assert _run(spoilt, spoilt.create("there", b"first", BINARY)).done
    assert _run(spoilt, spoilt.create("there", b"second", BINARY)) == Written(False)
    front.once(CONFLICT, method="PUT")
    written = _run(spoilt, spoilt.create("absent", b"data", BINARY))
    assert (written.done, written.tries) == (True, 2)
    tag = "0" * 32
    assert _run(spoilt, spoilt.replace("there", b"third", BINARY, tag)) == Written(False)
    assert _run(spoilt, spoilt.get("missing")) is None


def test_the_suite_sees_a_client_that_takes_every_conflict_for_a_lost_race(
    spoilt: ObstoreS3Backend, front: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = obstore_errors.failure_of

    def hasty(error: BaseException) -> obstore_errors.Failure:
        exists = isinstance(error, exceptions.AlreadyExistsError)
        return real(error)._replace(status=412) if exists else real(error)

    monkeypatch.setattr(obstore_client, "failure_of", hasty)
    with pytest.raises(AssertionError):
        conflicts_are_told_apart(spoilt, front)


def test_a_store_that_ignores_or_refuses_the_precondition_is_unsafe(rclone: Server) -> None:
    with (
        ArtifactStore(rclone.bucket(), **fast(rclone)) as store,
        pytest.raises(UnsafeBackend, match="single_writer=True"),
    ):
        store.scope("shop", "alice", "s1").save("x", b"data")
    with serving("refused") as server:
        backend = opened(server, server.bucket())
        for writing in (backend.create("x", b"data", BINARY), backend.replace("x", b"data", BINARY, "0" * 32)):
            with pytest.raises(UnsafeBackend, match="single_writer=True"):
                _run(backend, writing)
        alone = opened(server, server.bucket(), single_writer=True)
        assert _run(alone, alone.create("x", b"first", BINARY)).done
        assert not _run(alone, alone.create("x", b"second", BINARY)).done
        for one in (backend, alone):
            _run(one, one.close())


# where it runs


def test_async_callers_are_served_on_their_own_loops_and_a_cancelled_one_waits(minio: Server, front: Proxy) -> None:
    front.clear()
    where = minio.bucket()

    async def work() -> None:
        async with AsyncArtifactStore(where, **fast(minio.at(front.url))) as store:
            scope = store.scope("shop", "alice", "s1")
            await scope.save("x", b"0")
            saving = asyncio.create_task(scope.save("x", b"1"))
            while not any(request.path.endswith("/x/1.metadata") for request in front.requests):
                await asyncio.sleep(0)
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
            assert all(request.status for request in front.requests)
            large = os.urandom(WHOLE_LIMIT + 1)
            record = await scope.save("large", large)
            assert (await scope.load("large", version=record.version)).data == large

    asyncio.run(work())
    asyncio.run(work())


def test_a_loop_that_stops_leaves_no_write_under_way() -> None:
    arrived, go = threading.Event(), threading.Event()
    states: list[bool] = []

    class Slow(Quiet):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            arrived.set()
            go.wait(10)
            self.answer(200, ETag='"0"')

    with quiet(Slow) as options:
        backend = ObstoreS3Backend("s3://bucket", options=options)

        async def work() -> None:
            writing = asyncio.create_task(acall(backend, lambda: backend.create("x", b"data", BINARY)))

            async def until_all_are_cancelled() -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    for _ in range(20):
                        await asyncio.sleep(0)
                    states.append(writing.done())
                    go.set()

            other = asyncio.create_task(until_all_are_cancelled())
            await asyncio.to_thread(arrived.wait, 10)
            assert not (writing.done() or other.done())

        asyncio.run(work())
        assert states == [False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_and_its_parent_go_on_side_by_side(backend: ObstoreS3Backend) -> None:
    assert _run(backend, backend.create("before", b"", BINARY)).done
    child = os.fork()
    if child == 0:
        done = 1
        try:
            made = _run(backend, backend.create("child", b"", BINARY)).done
            done = 0 if made and _run(backend, backend.get("before")) is not None else 1
        finally:
            os._exit(done)
    assert _run(backend, backend.create("parent", b"", BINARY)).done
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(_all(backend, "")) == ["before", "child", "parent"]


# who asks


def test_credentials_come_from_where_s3fs_has_them(
    minio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, options = minio.bucket(), {"endpoint_url": minio.url}
    refused: list[str] = []

    def works(**more: Any) -> bool:
        backend = ObstoreS3Backend(url, options={**options, **more}, tries=1)
        try:
            return _run(backend, backend.put("x", b"", BINARY)).done
        except AccessDenied as error:
            refused.append(str(error))
            return False
        finally:
            _run(backend, backend.close())

    assert not works()
    assert "no credentials were found: give key= and secret=" in refused[0]
    (tmp_path / "credentials").write_text(f"[me]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert works(profile="me") and not works()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert works()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of somebody else")
    assert works(key=KEY, secret=SECRET)
    # What obstore itself would read.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    assert works(key=KEY, secret=SECRET)
    assert not works(anon=True)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    script = tmp_path / "login"
    script.write_text(
        f'#!/bin/sh\necho \'{{"Version": 1, "AccessKeyId": "{KEY}", "SecretAccessKey": "{SECRET}", '
        '"Expiration": "2999-01-01T00:00:00Z"}\'\n'
    )
    script.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile login]\ncredential_process = {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert works(profile="login")


# which engine


REACHED = {"endpoint_url": "http://127.0.0.1:1", "key": "k", "secret": "s"}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "options", "kind"),
    [
        ("s3://bucket/prefix", REACHED, ObstoreS3Backend),
        ("s3a://bucket/prefix", {**REACHED, "engine": "obstore"}, ObstoreS3Backend),
        ("s3://bucket", {**REACHED, "engine": "s3fs"}, S3Backend),
        ("r2://bucket", {"account_id": "a", "key": "k", "secret": "s"}, ObstoreS3Backend),
        ("s3://bucket", {"region": "eu-west-1"}, ObstoreS3Backend),
        ("s3://bucket", {}, S3Backend),
        ("s3://bucket", {"region": "cn-north-1"}, S3Backend),
        ("s3://bucket", {**REACHED, "s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}, S3Backend),
        ("s3://bucket", {**REACHED, "s3_additional_kwargs": None}, ObstoreS3Backend),
        ("s3://bucket", {**REACHED, "client_kwargs": {"verify": "ca.pem"}}, S3Backend),
        ("s3://bucket", {**REACHED, "config_kwargs": {"s3": {"addressing_style": "virtual"}}}, S3Backend),
        ("s3://bucket", {**REACHED, "config_kwargs": {"read_timeout": 5}}, ObstoreS3Backend),
        ("s3://bucket--use1-az4--x-s3", {"region": "us-east-1"}, S3Backend),
        ("s3://bucket", {"endpoint_url": "http://127.0.0.1:1", "key": "k"}, S3Backend),
    ],
)
@pytest.mark.usefixtures("plain")
def test_the_engine_is_chosen_by_what_the_options_need(url: str, options: dict[str, Any], kind: type[Backend]) -> None:
    assert type(open_backend(url, options)) is kind


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}, "s3_additional_kwargs"),
        ({"client_kwargs": {"verify": False}}, r"client_kwargs\['verify'\]"),
        ({"config_kwargs": {"proxies": {"http": "p"}}}, r"config_kwargs\['proxies'\]"),
        ({"config_kwargs": {"request_checksum_calculation": "when_supported"}}, "request_checksum_calculation"),
        ({"session": object()}, "session"),
        ({"endpoint_url": None}, "region="),
        ({"profile": "nobody"}, "profile"),
    ],
)
def test_an_option_that_obstore_cannot_honour_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidConfig, match=f'engine="obstore" cannot serve .*{named}.*engine="s3fs"'):
        open_backend("s3://bucket", {**REACHED, "engine": "obstore", **options})


@pytest.mark.parametrize(
    ("url", "engine", "told"),
    [
        ("s3://bucket", "gcsfs", "engine is \"s3fs\" or \"obstore\" for 's3://bucket', not 'gcsfs'"),
        ("s3://bucket", 1, "not 1"),
        ("memory://x", "obstore", "takes no such option: engine"),
        ("/tmp/x", "obstore", "takes no such option: engine"),
        ("dir:///tmp", "obstore", "takes no such option: engine"),
    ],
)
def test_an_engine_that_there_is_none_of_is_refused(url: str, engine: Any, told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        open_backend(url, {"engine": engine}, single_writer=True)
    assert told in str(caught.value)


def test_without_obstore_the_other_engine_is_chosen_and_the_extra_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifactfs.backends.importlib.util.find_spec", lambda name: None)
    assert type(open_backend("s3://bucket", REACHED)) is S3Backend
    with pytest.raises(InvalidConfig, match=r'pip install "artifactfs\[fast\]"'):
        open_backend("s3://bucket", {**REACHED, "engine": "obstore"})


@pytest.mark.parametrize("release", ["0.11.0", "0.12.0", "0.13.1", "1.0.0"])
def test_another_release_of_obstore_is_as_none(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: release)
    assert type(open_backend("s3://bucket", REACHED)) is S3Backend
    with pytest.raises(InvalidConfig, match=rf"not {release}; pip install"):
        open_backend("s3://bucket", {**REACHED, "engine": "obstore"})


def test_what_s3fs_alone_finds_around_it_keeps_obstore_off(plain: pytest.MonkeyPatch) -> None:
    secure = {"region": "eu-west-1"}
    assert type(open_backend("s3://bucket", secure)) is ObstoreS3Backend
    with plain.context() as around:
        around.setenv("REQUESTS_CA_BUNDLE", "/ca.pem")
        assert type(open_backend("s3://bucket", secure)) is S3Backend
        assert type(open_backend("s3://bucket", REACHED)) is ObstoreS3Backend  # over plain HTTP
    with plain.context() as around:
        around.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
        assert type(open_backend("s3://bucket", secure)) is S3Backend
        assert type(open_backend("s3://bucket", REACHED)) is ObstoreS3Backend
        around.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # which s3fs takes, too
        assert type(open_backend("s3://bucket", secure)) is ObstoreS3Backend
        around.setenv("no_proxy", "s3.amazonaws.com:443,minio:9000")
        around.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        assert type(open_backend("s3://bucket", {**REACHED, "endpoint_url": "http://minio:9000"})) is S3Backend
    plain.setitem(fsspec.config.conf, "s3", {"key": "k", "secret": "s"})
    assert type(open_backend("s3://bucket", secure)) is S3Backend
    assert type(open_backend("s3://bucket", REACHED)) is ObstoreS3Backend  # which says its own


def test_the_engine_travels_with_a_store(minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine, kind in (("obstore", ObstoreS3Backend), ("s3fs", S3Backend)):
        options = {**minio.own_options, "engine": engine}
        store = ArtifactStore("s3://bucket/p", **options)
        assert type(pickle.loads(pickle.dumps(store))._core.backend) is kind
        fs = ArtifactFileSystem("s3://bucket/p", skip_instance_cache=True, **options)
        assert type(fs.store._core.backend) is kind
        assert SECRET not in repr(store) + repr(store._core.backend)
