"""The backend for Google Cloud Storage: against fake-gcs-server, and against a server that misbehaves when told to."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pickle
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fsspec.asyn import get_loop, sync
from fsspec.config import conf

from artifactfs.backends.base import WHOLE_LIMIT, Abilities, Written
from artifactfs.backends.gcs import GCSBackend
from artifactfs.errors import AccessDenied, BackendError, BackendUnavailable, InvalidConfig
from artifactfs.testing.backend import CUT_OFF, BackendConformance

from . import gcs_as_documented as documented
from .gcs_as_documented import Cut, Drop, Google, Nonsense, Short, Status
from .proxy import DROP, REFUSE, SLOW_DOWN, Proxy, in_front_of
from .servers import Server

T = TypeVar("T")
TEXT = "text/plain"
MIB = 1024 * 1024


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    result: T = sync(get_loop(), lambda: coroutine)
    return result


def a_backend(google: Google, url: str | None = None, **settings: Any) -> GCSBackend:
    options = {"endpoint_url": google.url, **settings.pop("options", {})}
    return GCSBackend(url or google.bucket(), options=options, **settings)


def there(google: Google, backend: GCSBackend, key: str) -> bytes | None:
    """What is stored, looked at behind the backend."""
    bucket, _, prefix = backend.url.removeprefix("gs://").partition("/")
    found = google.buckets[bucket].get(f"{prefix}/{key}")
    return None if found is None else found.data


@pytest.fixture(scope="module")
def _google() -> Iterator[Google]:
    with documented.start(Google()) as running:
        yield running


@pytest.fixture
def google(_google: Google) -> Iterator[Google]:
    yield _google
    _google.faults, _google.every, _google.token = [], None, ""
    _google.precondition, _google.empty_pages = "atomic", False


@pytest.fixture
def backend(google: Google) -> Iterator[GCSBackend]:
    made = a_backend(google)
    yield made
    run(made.close())


class Promises(BackendConformance):
    lists_unfinished = False
    many = 1200
    racers = 16

    @pytest.fixture
    def another(self, backend: GCSBackend) -> Iterator[GCSBackend]:
        made = GCSBackend(backend.url, options=backend.wire.options)
        yield made
        run(made.close())


@pytest.mark.server("fake_gcs")
class TestFakeGCS(Promises):
    @pytest.fixture
    def backend(self, fake_gcs: Server) -> Iterator[GCSBackend]:
        made = GCSBackend(fake_gcs.bucket(), options=fake_gcs.own_options)
        yield made
        run(made.close())


class TestAsDocumented(Promises):
    @pytest.fixture
    def backend(self, backend: GCSBackend) -> GCSBackend:
        return backend


class ChecksThenWrites(GCSBackend):
    """A planted fault: what the suite must catch."""

    async def create(self, key: str, data: bytes, content_type: str) -> Written:
        if await self.stat(key) is not None:
            return Written(False)
        return await self.put(key, data, content_type)


def test_the_suite_catches_a_create_that_checks_and_then_writes(google: Google) -> None:
    planted = ChecksThenWrites(google.bucket(), options={"endpoint_url": google.url})
    suite = TestAsDocumented()
    with pytest.raises(AssertionError, match="racing creators won"):
        suite.test_race_of_creators_has_one_winner(
            planted, planted, "race/", run=lambda jobs: run(_gather([make() for _, make in jobs])), size=300
        )
    run(planted.close())


async def _gather(coroutines: list[Coroutine[Any, Any, T]]) -> list[T]:
    return list(await asyncio.gather(*coroutines))


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.fixture
def front(fake_gcs: Server) -> Iterator[Proxy]:
    with in_front_of(fake_gcs.url) as proxy:
        yield proxy


@pytest.fixture
def through(fake_gcs: Server, front: Proxy) -> Iterator[GCSBackend]:
    """A backend that reaches fake-gcs-server through the proxy."""
    made = GCSBackend(fake_gcs.bucket(), options=fake_gcs.at(front.url).own_options)
    yield made
    run(made.close())


@pytest.mark.server("fake_gcs")
def test_each_operation_is_one_request(through: GCSBackend, front: Proxy) -> None:
    made = run(through.create("a/x", b"0123456789", TEXT))
    operations: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "create": lambda: through.create("a/y", b"new", TEXT),
        "create over": lambda: through.create("a/x", b"new", TEXT),
        "put": lambda: through.put("a/z", b"new", TEXT),
        "replace": lambda: through.replace("a/x", b"0123456789", TEXT, made.tag),
        "replace of another": lambda: through.replace("a/x", b"new", TEXT, made.tag),
        "get": lambda: through.get("a/x"),
        "get a range": lambda: through.get("a/x", 2, 5),
        "get past the end": lambda: through.get("a/x", 20, 30),
        "get nothing": lambda: through.get("a/x", 3, 3),
        "get a missing one": lambda: through.get("a/missing"),
        "stat": lambda: through.stat("a/x"),
        "list": lambda: through.list("a/"),
        "list after": lambda: through.list("a/", "x"),
        "list deep": lambda: through.list("", deep=True),
        "delete": lambda: through.delete(["a/y"]),
        "now": through.now,
    }
    for name, make in operations.items():
        with front.counted() as seen:
            run(make())
        assert len(seen) == 1, f"{name}: {[str(request) for request in seen]}"


@pytest.mark.server("fake_gcs")
def test_a_stream_is_one_request_more_than_its_chunks(through: GCSBackend, front: Proxy) -> None:
    with front.counted() as seen:
        upload = run(through.upload("x", TEXT))
        run(upload.write(b"x" * (2 * WHOLE_LIMIT + 1)))
        assert run(upload.commit()).done
    assert [request.method for request in seen] == ["POST", "PUT", "PUT", "PUT"]
    assert seen[0].query["ifGenerationMatch"] == "0"


def test_a_payload_that_ends_the_fixed_boundary_is_stored_whole_where_the_server_looks_for_boundaries(
    google: Google, backend: GCSBackend
) -> None:
    assert run(backend.create("x", CUT_OFF, TEXT)).done
    assert there(google, backend, "x") == CUT_OFF


@pytest.mark.parametrize("size", [10, WHOLE_LIMIT + 1])
@pytest.mark.parametrize("mime", ["text/csv; charset=utf-8", "text/plain\r\nX-Evil: 1", "snow/\u2603"])
def test_the_content_type_is_stored_and_cannot_break_the_request(
    google: Google, backend: GCSBackend, size: int, mime: str
) -> None:
    upload = run(backend.upload("x", mime))
    run(upload.write(b"x" * size))
    assert run(upload.commit()).done
    bucket = backend.url.split("/")[2]
    wanted = mime if mime.startswith("text/csv") else "application/octet-stream"
    assert google.buckets[bucket]["prefix/x"].content_type == wanted


def test_an_empty_page_in_the_middle_is_not_the_end(google: Google, backend: GCSBackend) -> None:
    run(backend.create("a", b"", TEXT))
    google.empty_pages = True
    assert [entry.name for entry in run(backend.list("")).entries] == ["a"]


def test_a_requester_pays_project_reaches_every_request(fake_gcs: Server, front: Proxy) -> None:
    options = {**fake_gcs.at(front.url).own_options, "requester_pays": "the-payer"}
    backend = GCSBackend(fake_gcs.bucket(), options=options)
    run(backend.create("x", b"x", TEXT))
    run(backend.get("x"))
    run(backend.list(""))
    assert [request.query["userProject"] for request in front.requests] == ["the-payer"] * 3
    run(backend.close())


# --- lost and broken --------------------------------------------------------------------------------------------------


def test_a_create_whose_answer_was_lost_says_that_it_was_sent_twice(google: Google, backend: GCSBackend) -> None:
    google.faults = [Drop()]
    assert run(backend.create("x", b"mine", TEXT)) == Written(False, 2)
    assert there(google, backend, "x") == b"mine"


def test_a_put_that_is_to_be_sent_once_is_sent_once(google: Google, backend: GCSBackend) -> None:
    google.faults = [Drop()]
    with pytest.raises(BackendUnavailable, match=r"cannot write 'x'.*broke") as caught:
        run(backend.put("x", b"mine", TEXT, once=True))
    assert caught.value.landed
    assert there(google, backend, "x") == b"mine"


def test_an_idle_connection_that_was_closed_is_tried_again_and_counted(through: GCSBackend, front: Proxy) -> None:
    run(through.stat("x"))
    front.once(REFUSE, method="POST")
    assert run(through.create("x", b"x", TEXT)).tries == 2


@pytest.mark.parametrize("method", ["DELETE", "GET", "POST"])
def test_nobody_else_sends_a_request_again(through: GCSBackend, front: Proxy, method: str) -> None:
    """The HTTP library itself repeats what it holds for harmless, unless it is told not to."""
    run(through.stat("x"))
    once = GCSBackend(through.url, options=through.wire.options, tries=1)
    run(once.stat("x"))
    front.when(REFUSE, lambda request: request.method == method)
    operation = {"DELETE": once.delete(["x"]), "GET": once.get("x"), "POST": once.create("x", b"", TEXT)}
    with front.counted() as seen, pytest.raises(BackendUnavailable):
        run(operation.pop(method))
    assert len(seen) == 1
    for unused in operation.values():
        unused.close()
    run(once.close())


def test_a_throttled_request_is_tried_again(through: GCSBackend, front: Proxy) -> None:
    slowed = front.once(SLOW_DOWN, method="POST")
    assert run(through.create("x", b"x", TEXT)) == Written(True, 2, run(through.stat("x")).tag)  # type: ignore[union-attr]
    assert slowed.hits == 1


@pytest.mark.parametrize(
    "faults",
    [
        [None, None, Cut(3 * MIB + 7)],
        [None, None, Drop()],
        [None, Cut(0), Cut(MIB), Cut(MIB)],
        [None, None, Short(MIB), Short(GRAIN := 256 * 1024)],
        [None, Status(503), Status(429)],
        [Status(503), None, None],
        [None, None, None, Cut(2 * MIB)],
        [None, None, None, Short(MIB)],
    ],
    ids=lambda faults: "-".join(type(fault).__name__ for fault in faults),
)
def test_a_broken_stream_goes_on_where_the_session_stands(
    google: Google, backend: GCSBackend, faults: list[Any]
) -> None:
    data = os.urandom(2 * WHOLE_LIMIT + 5 * MIB + 17)
    google.faults, google.received = list(faults), 0
    upload = run(backend.upload("x", TEXT))
    run(upload.write(data))
    assert there(google, backend, "x") is None
    assert run(upload.commit()).done
    assert google.faults == []
    assert there(google, backend, "x") == data
    assert google.received < len(data) + 3 * WHOLE_LIMIT, "more was sent again than the chunks that broke"


def test_a_completion_whose_answer_was_lost_is_found_to_be_done(google: Google, backend: GCSBackend) -> None:
    data = os.urandom(WHOLE_LIMIT + 17)
    upload = run(backend.upload("x", TEXT))
    run(upload.write(data))
    google.faults = [Drop()]
    written = run(upload.commit())
    assert google.faults == []
    assert there(google, backend, "x") == data
    assert written.done and written.tries == 2


def test_a_completion_that_was_lost_for_good_may_be_asked_for_again(google: Google) -> None:
    backend = a_backend(google, tries=1)
    data = os.urandom(WHOLE_LIMIT + 17)
    upload = run(backend.upload("x", TEXT))
    run(upload.write(data))
    google.faults = [Drop()]
    with pytest.raises(BackendUnavailable, match="cannot complete the upload of 'x'") as caught:
        run(upload.commit())
    assert caught.value.landed
    assert run(upload.commit()).done
    assert there(google, backend, "x") == data
    run(backend.close())


def test_a_session_that_is_gone_is_an_error_that_says_to_save_again(google: Google, backend: GCSBackend) -> None:
    upload = run(backend.upload("x", TEXT))
    run(upload.write(b"x" * (WHOLE_LIMIT + 1)))
    google.sessions.clear()
    with pytest.raises(BackendUnavailable, match="save it again"):
        run(upload.commit())
    run(upload.abort())
    assert there(google, backend, "x") is None


def test_a_stream_after_a_failed_chunk_cannot_be_committed(google: Google) -> None:
    backend = a_backend(google, tries=1)
    upload = run(backend.upload("x", TEXT))
    google.faults = [None, Cut(MIB)]
    with pytest.raises(BackendUnavailable, match="cannot upload 'x'"):
        run(upload.write(b"x" * (WHOLE_LIMIT + 1)))
    with pytest.raises(BackendUnavailable, match="save it again"):
        run(upload.commit())
    assert there(google, backend, "x") is None
    run(backend.close())


def test_an_upload_that_lost_stays_lost(google: Google, backend: GCSBackend) -> None:
    upload = run(backend.upload("x", TEXT))
    run(upload.write(b"x" * (WHOLE_LIMIT + 1)))
    run(backend.create("x", b"first", TEXT))
    assert not run(upload.commit()).done
    assert not run(upload.commit()).done
    run(upload.abort())
    assert there(google, backend, "x") == b"first"


def test_abort_ends_the_session_at_the_server(google: Google, backend: GCSBackend) -> None:
    upload = run(backend.upload("x", TEXT))
    run(upload.write(b"x" * (WHOLE_LIMIT + 1)))
    before = len(google.sessions)
    run(upload.abort())
    assert len(google.sessions) == before - 1


def test_an_emulator_that_would_publish_a_part_is_not_asked_how_far_it_got(through: GCSBackend, front: Proxy) -> None:
    upload = run(through.upload("x", TEXT))
    front.once(DROP, method="PUT")
    with pytest.raises(BackendUnavailable, match="cannot upload 'x'"):
        run(upload.write(b"x" * (WHOLE_LIMIT + 1)))
    run(upload.abort())
    assert run(through.stat("x")) is None


def test_an_emulator_that_lost_the_last_answer_is_looked_at(through: GCSBackend, front: Proxy) -> None:
    upload = run(through.upload("x", TEXT))
    front.once(DROP, method="PUT", nth=1)
    data = os.urandom(WHOLE_LIMIT + 1)
    run(upload.write(data))
    written = run(upload.commit())
    assert not written.done and written.tries == 2
    got = run(through.get("x"))
    assert got is not None and got.data == data


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_process_and_its_parent_both_go_on(google: Google, backend: GCSBackend) -> None:
    run(backend.create("parent", b"1", TEXT))
    child = multiprocessing.get_context("fork").Process(target=_in_the_child, args=(backend,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert run(backend.create("parent/2", b"2", TEXT)).done
    assert there(google, backend, "child") == b"from the child"


def _in_the_child(backend: GCSBackend) -> None:
    got = run(backend.get("parent"))
    assert got is not None and got.data == b"1"
    assert run(backend.create("child", b"from the child", TEXT)).done


def test_threads_and_loops_share_one_backend(google: Google, backend: GCSBackend) -> None:
    answers: list[Written] = []

    def create() -> None:
        async def on_a_loop_of_its_own() -> Written:
            work = asyncio.run_coroutine_threadsafe(backend.create("x", b"x", TEXT), get_loop())
            return await asyncio.wrap_future(work)

        answers.append(asyncio.run(on_a_loop_of_its_own()))

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written.done for written in answers) == [False] * 15 + [True]


# --- what a store guarantees ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["atomic", "racy", "ignored", "refused"])
def test_a_probe_tells_what_the_precondition_does(google: Google, backend: GCSBackend, kind: Any) -> None:
    google.precondition = kind
    assert run(backend.probe("@store/probe/")) == Abilities(kind, kind, kind)
    assert run(backend.list("", deep=True)).entries == ()


def test_only_googles_own_endpoint_is_trusted(google: Google) -> None:
    atomic = Abilities("atomic", "atomic", "atomic")
    assert GCSBackend("gs://bucket/p", options={}).abilities == atomic
    assert GCSBackend("gs://bucket/p", options={"endpoint_url": "https://storage.googleapis.com/"}).abilities == atomic
    for other in (google.url, "http://storage.googleapis.com", "https://storage.googleapis.com.example"):
        assert GCSBackend("gs://bucket/p", options={"endpoint_url": other}).abilities is None


def test_an_endpoint_of_fsspecs_configuration_is_not_taken_for_googles(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conf, "gs", {"endpoint_url": google.url})
    backend = GCSBackend(google.bucket(), options={})
    assert backend.abilities is None
    assert run(backend.create("x", b"x", TEXT)).done
    run(backend.close())


def test_identity_is_endpoint_and_bucket(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    assert GCSBackend("gcs://bucket/a", options={}).identity == "https://storage.googleapis.com/bucket"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url.removeprefix("http://"))
    there = GCSBackend("gs://bucket/b/c/", options={})
    assert (there.identity, there.url, there.max_key) == (f"{google.url}/bucket", "gs://bucket/b/c", 1020)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["gs://", "gs:///prefix", "s3://bucket/p", "gs://me:secret@bucket/p", "gs://Bucket"])
def test_a_url_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfig, match="gs://bucket/prefix"):
        GCSBackend(url, options={})


def test_an_option_that_gcsfs_would_pass_over_is_refused(google: Google) -> None:
    backend = GCSBackend("gs://bucket/p", options={"endpoint": google.url, "token": "anon"})
    with pytest.raises(InvalidConfig, match=r"gcsfs has no such option: endpoint$"):
        run(backend.get("x"))


def test_a_missing_bucket_is_named_by_every_operation(google: Google) -> None:
    backend = a_backend(google, "gs://no-such-bucket/p")
    for operation in (
        backend.create("x", b"", TEXT),
        backend.get("x"),
        backend.stat("x"),
        backend.list(""),
        backend.delete(["x"]),
        backend.now(),
        backend.probe("p/"),
    ):
        with pytest.raises(BackendError, match="there is no bucket 'no-such-bucket' at http") as caught:
            run(operation)
        assert caught.value.store == "gs://no-such-bucket/p"
        assert not isinstance(caught.value, BackendUnavailable)
    run(backend.close())


def test_a_missing_bucket_of_an_emulator_is_named(fake_gcs: Server) -> None:
    backend = GCSBackend("gs://no-such-bucket", options=fake_gcs.own_options)
    for operation in (backend.create("x", b"", TEXT), backend.list("")):
        with pytest.raises(BackendError, match="there is no bucket 'no-such-bucket'"):
            run(operation)
    run(backend.close())


def test_a_closed_port_is_named_and_nothing_landed(google: Google) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        backend = GCSBackend("gs://bucket/p", options={"endpoint_url": url}, tries=2)
        with pytest.raises(
            BackendUnavailable, match=rf"cannot write 'x' \(tried 2 times\): no connection to {url}"
        ) as caught:
            run(backend.create("x", b"", TEXT))
    assert not caught.value.landed
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.store == "gs://bucket/p"
    run(backend.close())


def test_a_host_without_an_address_is_named() -> None:
    backend = GCSBackend("gs://bucket/p", options={"endpoint_url": "http://nowhere.invalid"}, tries=1)
    with pytest.raises(BackendUnavailable, match=r"the host of http://nowhere.invalid has no address"):
        run(backend.get("x"))
    run(backend.close())


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (Status(401, "Anonymous caller"), AccessDenied, "credentials are missing.*GOOGLE_APPLICATION_CREDENTIALS"),
        (Status(403, "me@x lacks storage.objects.get"), AccessDenied, "permission on bucket.*me@x lacks"),
        (Status(403, "slow", "rateLimitExceeded"), BackendUnavailable, "throttling"),
        (Status(429), BackendUnavailable, r"\(tried 2 times\): Google is throttling"),
        (Status(503), BackendUnavailable, "the service is failing.*HTTP 503"),
        (Status(400, "Bucket is a requester pays bucket"), BackendError, "requester_pays=True"),
        (Status(501, "no such thing"), BackendError, "refused the request .HTTP 501"),
        (Status(413, "too large"), BackendError, "refused the request .HTTP 413, 'too large'"),
    ],
)
def test_each_refusal_says_what_to_do(google: Google, answer: Status, kind: type, says: str) -> None:
    backend = a_backend(google, tries=2)
    google.every = answer
    for operation in (backend.create("x", b"data", TEXT), backend.get("x"), backend.list("f/")):
        with pytest.raises(kind, match=says) as caught:
            run(operation)
        assert type(caught.value) is kind
        assert caught.value.__cause__ is not None
        if kind is BackendUnavailable:
            assert caught.value.landed == (answer.status == 503 and "write" in str(caught.value))
    run(backend.close())


@pytest.mark.parametrize("answer", [b"<html>Please sign in to this network</html>", b"[]", b'{"items": [{}]}'])
def test_an_answer_of_something_else_is_an_error_of_the_endpoint(
    google: Google, backend: GCSBackend, answer: bytes
) -> None:
    google.every = Nonsense(answer)
    for operation in (backend.stat("x"), backend.list("")):
        with pytest.raises(BackendError, match="does not answer as Google Cloud Storage does; check endpoint_url"):
            run(operation)


def test_a_refusal_after_a_lost_answer_says_that_the_write_may_have_landed(google: Google, backend: GCSBackend) -> None:
    google.faults = [Drop(), Status(403, "no longer")]
    with pytest.raises(
        BackendUnavailable, match=r"lacks the permission.*an earlier try may have taken effect"
    ) as caught:
        run(backend.create("x", b"x", TEXT))
    assert caught.value.landed
    assert there(google, backend, "x") == b"x"


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def account(google: Google, private_key: str) -> dict[str, str]:
    """A service account whose tokens our server gives."""
    return {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "saver@test.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{google.url}/token",
    }


def test_a_service_account_signs_requests_and_urls(google: Google, account: dict[str, str]) -> None:
    google.token = "not given yet"
    backend = a_backend(google, options={"token": account})
    assert run(backend.create("x", b"x", TEXT)).done
    url = run(backend.sign("a b/%75ser", 60))
    assert url.startswith(google.url) and "/prefix/a%20b/%2575ser?" in url and "X-Goog-Signature=" in url
    with pytest.raises(BackendError, match="at most 604800 seconds"):
        run(backend.sign("x", 10**9))
    run(backend.close())


def test_without_credentials_nothing_is_signed(backend: GCSBackend) -> None:
    with pytest.raises(BackendError, match="service account"):
        run(backend.sign("x", 60))


def test_a_token_that_ended_early_is_renewed_once(google: Google, account: dict[str, str]) -> None:
    backend = a_backend(google, options={"token": account})
    run(backend.create("x", b"x", TEXT))
    google.token, given = "revoked the old ones", google.tokens_given
    assert run(backend.create("y", b"y", TEXT)) == Written(True, 1, run(backend.stat("y")).tag)  # type: ignore[union-attr]
    assert google.tokens_given == given + 1
    run(backend.close())


def test_credentials_that_are_not_renewed_any_more_are_an_error_that_shows_none(
    google: Google, account: dict[str, str]
) -> None:
    backend = a_backend(google, options={"token": account})
    google.every = Status(400)
    with pytest.raises(AccessDenied, match=r"could not be renewed.*gcloud auth") as caught:
        run(backend.create("x", b"x", TEXT))
    shown = f"{caught.value!r} {caught.value.__dict__} {backend!r} {backend.wire!r}"
    assert "PRIVATE KEY" not in shown and "secret-token" not in shown
    run(backend.close())


def test_many_requests_share_one_renewal(google: Google, account: dict[str, str]) -> None:
    backend, given = a_backend(google, options={"token": account}), google.tokens_given
    run(_gather([backend.put(str(n), b"x", TEXT) for n in range(16)]))
    assert google.tokens_given == given + 1
    google.token = "revoked the old ones"
    run(_gather([backend.get(str(n)) for n in range(16)]))
    assert google.tokens_given == given + 2
    run(backend.close())


def test_google_application_credentials_are_used(
    google: Google, account: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    backend = GCSBackend("gs://bucket/p", options={})
    assert "saver%40test.iam.gserviceaccount.com" in run(backend.sign("x", 60))
    run(backend.close())


def test_google_application_credentials_that_are_missing_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    backend = GCSBackend("gs://bucket/p", options={})
    with pytest.raises(AccessDenied, match=r"no usable credentials.*GOOGLE_APPLICATION_CREDENTIALS"):
        run(backend.get("x"))
