"""The engine of obstore for Google Cloud Storage, against our own server of both of Google's interfaces as documented."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from fsspec.asyn import get_loop, sync
from google.oauth2.credentials import Credentials

from artifactfs import ArtifactStore, AsyncArtifactStore
from artifactfs.backends import open_backend
from artifactfs.backends.base import WHOLE_LIMIT, Abilities, Got, Written
from artifactfs.backends.gcs import GCSBackend
from artifactfs.backends.obstore_gcs import ObstoreGCSBackend
from artifactfs.errors import AccessDenied, BackendError, BackendUnavailable, InvalidConfig, UnsafeBackend
from artifactfs.testing.backend import CUT_OFF, BackendConformance
from artifactfs.testing.store import StoreConformance

from . import gcs_xml_as_documented as documented
from .gcs_as_documented import Drop, Nonsense, Status
from .gcs_xml_as_documented import GoogleXML

T = TypeVar("T")
TEXT = "text/plain"
TOKEN = "a-token-of-the-test"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    result: T = sync(get_loop(), lambda: coroutine)
    return result


def a_backend(google: GoogleXML, url: str | None = None, **settings: Any) -> ObstoreGCSBackend:
    options = {"endpoint_url": google.url, "token": Credentials(TOKEN), **settings.pop("options", {})}  # type: ignore[no-untyped-call]
    return ObstoreGCSBackend(url or google.bucket(), options=options, **settings)


def there(google: GoogleXML, backend: ObstoreGCSBackend, key: str) -> bytes | None:
    """What is stored, looked at behind the backend."""
    bucket, _, prefix = backend.url.removeprefix("gs://").partition("/")
    found = google.buckets[bucket].get(f"{prefix}/{key}")
    return None if found is None else found.data


@pytest.fixture(scope="module")
def _google() -> Iterator[GoogleXML]:
    with documented.start() as running:
        yield running


@pytest.fixture
def google(_google: GoogleXML) -> Iterator[GoogleXML]:
    _google.token = TOKEN
    yield _google
    _google.faults, _google.every = [], None
    _google.precondition = _google.xml_precondition = "atomic"


@pytest.fixture
def backend(google: GoogleXML) -> Iterator[ObstoreGCSBackend]:
    made = a_backend(google)
    yield made
    run(made.close())


class TestAsDocumented(BackendConformance):
    lists_unfinished = False
    many = 120  # listings are the other client's, and proved there
    racers = 16

    @pytest.fixture
    def backend(self, backend: ObstoreGCSBackend) -> ObstoreGCSBackend:
        return backend

    @pytest.fixture
    def another(self, google: GoogleXML, backend: ObstoreGCSBackend) -> Iterator[ObstoreGCSBackend]:
        made = a_backend(google, backend.url)
        yield made
        run(made.close())


@pytest.fixture(scope="module")
def shared(_google: GoogleXML) -> Iterator[ArtifactStore]:
    with a_store(_google) as store:
        yield store


@pytest.mark.nightly  # its backend's own suite runs in CI
class TestStore(StoreConformance):
    @pytest.fixture
    def store(self, google: GoogleXML, shared: ArtifactStore) -> ArtifactStore:
        return shared


def a_store(google: GoogleXML, kind: type[Any] = ArtifactStore, **settings: Any) -> Any:
    credentials = Credentials(TOKEN)  # type: ignore[no-untyped-call]
    return kind(google.bucket(), engine="obstore", endpoint_url=google.url, token=credentials, **settings)


async def _gather(coroutines: list[Coroutine[Any, Any, T]]) -> list[T]:
    return list(await asyncio.gather(*coroutines))


# --- preconditions that are kept badly --------------------------------------------------------------------------------


def test_the_suite_catches_an_interface_that_checks_and_then_writes(
    google: GoogleXML, backend: ObstoreGCSBackend
) -> None:
    google.xml_precondition = "racy"
    suite = TestAsDocumented()
    with pytest.raises(AssertionError, match="racing creators won"):
        suite.test_race_of_creators_has_one_winner(
            backend, backend, "race/", run=lambda jobs: run(_gather([make() for _, make in jobs])), size=3_000_000
        )


@pytest.mark.parametrize("kind", ["racy", "ignored", "refused"])
def test_a_probe_finds_what_the_xml_interface_alone_does_badly(
    google: GoogleXML, backend: ObstoreGCSBackend, kind: Any
) -> None:
    google.xml_precondition = kind
    assert run(backend.probe("@store/probe/")) == Abilities(kind, "atomic", kind)
    assert run(backend.list("", deep=True)).entries == ()


def test_a_probe_finds_what_the_json_interface_alone_does_badly(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    google.precondition = "ignored"
    assert run(backend.probe("@store/probe/")) == Abilities("ignored", "ignored", "ignored")


def test_a_server_that_keeps_both_is_found_atomic(backend: ObstoreGCSBackend) -> None:
    assert run(backend.probe("@store/probe/")) == Abilities("atomic", "atomic", "atomic")


def test_a_store_whose_xml_interface_ignores_the_precondition_is_refused(google: GoogleXML) -> None:
    google.xml_precondition = "ignored"
    with a_store(google) as store, pytest.raises(UnsafeBackend, match="overwrites it"):
        store.scope("shop", "alice", "s1").save("notes.txt", b"first")


# --- what goes where --------------------------------------------------------------------------------------------------


def test_each_operation_is_one_request_and_whole_objects_go_over_xml(
    google: GoogleXML, backend: ObstoreGCSBackend
) -> None:
    made = run(backend.create("a/x", b"0123456789", TEXT))
    at = f"/{backend.url.split('/')[2]}/prefix/a/"
    json = f"GET /storage/v1/b/{backend.url.split('/')[2]}/o"
    operations: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]], Any]] = [
        (f"PUT {at}y", lambda: backend.create("a/y", b"new", TEXT), None),
        (f"PUT {at}x", lambda: backend.create("a/x", b"new", TEXT), Written(False)),
        (f"PUT {at}z", lambda: backend.put("a/z", b"new", TEXT), None),
        (f"PUT {at}x", lambda: backend.replace("a/x", b"0123456789", TEXT, made.tag), None),
        (f"PUT {at}x", lambda: backend.replace("a/x", b"new", TEXT, made.tag), Written(False)),
        (f"GET {at}x", lambda: backend.get("a/x"), None),
        (f"GET {at}x", lambda: backend.get("a/x", 2, 5), None),
        (f"GET {at}missing", lambda: backend.get("a/missing"), None),
        (f"DELETE {at}y", lambda: backend.delete(["a/y"]), None),
        (f"DELETE {at}y", lambda: backend.delete(["a/y"]), None),
        (f"{json}/prefix/a/x", lambda: backend.stat("a/x"), None),
        (json, lambda: backend.list("a/", "x"), None),
        (json, backend.now, None),
    ]
    for request, make, wanted in operations:
        google.log.clear()
        answer = run(make())
        assert google.log == [request]
        assert wanted is None or answer == wanted


def test_an_object_is_taken_piece_by_piece(backend: ObstoreGCSBackend) -> None:
    data = os.urandom(3 * 1024 * 1024)
    run(backend.create("x", data, TEXT))

    async def taken() -> tuple[int, bytes]:
        begun = await backend.flow("x", 7)
        assert begun is not None
        parts = []
        while part := await begun[1].next():
            parts.append(part)
        return begun[0], b"".join(parts)

    assert run(taken()) == (len(data), data[7:])
    assert run(backend.flow("missing", 0)) is None


def test_a_stream_goes_over_an_upload_session(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    data = os.urandom(WHOLE_LIMIT + 1)
    upload = run(backend.upload("x", TEXT))
    run(upload.write(data))
    assert run(upload.commit()).done
    assert there(google, backend, "x") == data
    assert any("/session/" in request for request in google.log)


def test_a_payload_of_multipart_boundaries_is_stored_whole(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    assert run(backend.create("x", CUT_OFF, TEXT)).done
    assert there(google, backend, "x") == CUT_OFF


@pytest.mark.parametrize("mime", ["text/csv; charset=utf-8", "text/plain\r\nX-Evil: 1", "snow/\u2603"])
def test_the_content_type_is_stored_and_cannot_break_the_request(
    google: GoogleXML, backend: ObstoreGCSBackend, mime: str
) -> None:
    assert run(backend.create("x", b"x", mime)).done
    stored = google.buckets[backend.url.split("/")[2]]["prefix/x"].content_type
    assert stored == (mime if mime.startswith("text/csv") else "application/octet-stream")


@pytest.mark.parametrize("key", ["a//b", "a/./b", "../b", "a/\x01b", "a\x7f", "b/", "a/\r\n"])
def test_what_obstores_paths_cannot_hold_is_held_all_the_same(
    google: GoogleXML, backend: ObstoreGCSBackend, key: str
) -> None:
    made = run(backend.create(key, b"0123456789", TEXT))
    assert made.done and there(google, backend, key) == b"0123456789"
    assert not run(backend.create(key, b"other", TEXT)).done
    got = run(backend.get(key, 2, 4))
    assert got is not None and got.data == b"23"
    assert [entry.name for entry in run(backend.list("", deep=True)).entries] == [key]
    assert run(backend.replace(key, b"new", TEXT, made.tag)).done
    assert not run(backend.replace(key, b"newer", TEXT, made.tag)).done
    run(backend.delete([key]))
    assert there(google, backend, key) is None


def test_a_prefix_that_obstores_paths_cannot_hold_is_held_all_the_same(google: GoogleXML) -> None:
    backend = a_backend(google, google.bucket("a//b"))
    assert run(backend.create("x", b"x", TEXT)).done
    assert there(google, backend, "x") == b"x"
    run(backend.close())


def test_what_both_clients_tell_of_an_object_is_the_same(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    made = run(backend.create("x", b"0123456789", TEXT))
    got, stat = run(backend.get("x")), run(backend.stat("x"))
    other = run(backend._gcs.get("x"))
    assert isinstance(got, Got) and got == other and got[1:] == stat and got.tag == made.tag
    (entry,) = run(backend.list("")).entries
    assert (entry.size, entry.modified) == (10, got.modified)


# --- lost and broken --------------------------------------------------------------------------------------------------


def test_a_create_whose_answer_was_lost_says_that_it_was_sent_twice(
    google: GoogleXML, backend: ObstoreGCSBackend
) -> None:
    run(backend.stat("x"))
    google.log.clear()
    google.faults = [Drop()]
    assert run(backend.create("x", b"mine", TEXT)) == Written(False, 2)
    assert len(google.log) == 2
    assert there(google, backend, "x") == b"mine"


@pytest.mark.parametrize("operation", ["put", "get", "delete"])
def test_nobody_else_sends_a_request_again(google: GoogleXML, operation: str) -> None:
    once = a_backend(google, tries=1)
    run(once.put("x", b"x", TEXT))
    google.log.clear()
    google.every = Drop()
    work = {"put": once.put("x", b"y", TEXT), "get": once.get("x"), "delete": once.delete(["x"])}
    with pytest.raises(BackendUnavailable, match="broke") as caught:
        run(work.pop(operation))
    assert len(google.log) == 1
    assert caught.value.landed == (operation != "get")
    for unused in work.values():
        unused.close()
    run(once.close())


def test_a_put_that_is_to_be_sent_once_is_sent_once(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    google.faults = [Drop()]
    with pytest.raises(BackendUnavailable, match=r"cannot write 'x'.*broke") as caught:
        run(backend.put("x", b"mine", TEXT, once=True))
    assert caught.value.landed
    assert there(google, backend, "x") == b"mine"


def test_a_refusal_after_a_lost_answer_says_that_the_write_may_have_landed(
    google: GoogleXML, backend: ObstoreGCSBackend
) -> None:
    google.faults = [Drop(), Status(403, "no longer")]
    with pytest.raises(
        BackendUnavailable, match=r"lacks the permission.*an earlier try may have taken effect"
    ) as caught:
        run(backend.create("x", b"x", TEXT))
    assert caught.value.landed
    assert there(google, backend, "x") == b"x"


@pytest.mark.parametrize("status", [409, 429, 503])
def test_what_passes_is_tried_again(google: GoogleXML, backend: ObstoreGCSBackend, status: int) -> None:
    google.faults = [Status(status)]
    written = run(backend.create("x", b"x", TEXT))
    assert written.done and written.tries == 2


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_process_and_its_parent_both_go_on(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    run(backend.create("parent", b"1", TEXT))
    child = multiprocessing.get_context("fork").Process(target=_in_the_child, args=(backend,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert run(backend.create("parent/2", b"2", TEXT)).done
    assert there(google, backend, "child") == b"from the child"


def _in_the_child(backend: ObstoreGCSBackend) -> None:
    got = run(backend.get("parent"))
    assert got is not None and got.data == b"1"
    assert run(backend.create("child", b"from the child", TEXT)).done
    run(backend.close())


def test_loops_of_their_own_share_one_backend(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    async def create() -> bool:
        return (await backend.create("x", b"x", TEXT)).done

    assert [asyncio.run(create()), asyncio.run(create()), run(create())] == [True, False, False]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_missing_bucket_is_named_by_every_operation(google: GoogleXML) -> None:
    backend = a_backend(google, "gs://no-such-bucket/p")
    for operation in (
        backend.create("x", b"", TEXT),
        backend.get("x"),
        backend.stat("x"),
        backend.list(""),
        backend.delete(["x"]),
        backend.probe("p/"),
    ):
        with pytest.raises(BackendError, match="there is no bucket 'no-such-bucket' at http") as caught:
            run(operation)
        assert caught.value.store == "gs://no-such-bucket/p"
        assert not isinstance(caught.value, BackendUnavailable)
    run(backend.close())


def test_a_closed_port_is_named_and_nothing_landed(google: GoogleXML) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        backend = a_backend(google, "gs://bucket/p", options={"endpoint_url": url}, tries=2)
        with pytest.raises(
            BackendUnavailable, match=rf"cannot write 'x' \(tried 2 times\): no connection to {url}"
        ) as caught:
            run(backend.create("x", b"", TEXT))
    assert not caught.value.landed
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.store == "gs://bucket/p"
    run(backend.close())


def test_a_host_without_an_address_is_named(google: GoogleXML, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    backend = a_backend(google, "gs://bucket/p", options={"endpoint_url": "http://nowhere.invalid"}, tries=1)
    with pytest.raises(BackendUnavailable, match=r"the host of http://nowhere.invalid has no address"):
        run(backend.get("x"))
    run(backend.close())


def test_a_connection_that_is_not_secure_is_named_and_not_tried_again(google: GoogleXML) -> None:
    backend = a_backend(google, options={"endpoint_url": google.url.replace("http:", "https:")})
    with pytest.raises(BackendError, match=r"cannot write 'x': no trusted TLS connection") as caught:
        run(backend.create("x", b"", TEXT))
    assert not isinstance(caught.value, BackendUnavailable)
    run(backend.close())


def test_a_server_that_does_not_answer_may_have_done_it(google: GoogleXML) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = {"endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        backend = a_backend(google, "gs://bucket/p", options=options, tries=1, deadline=0.2)
        with pytest.raises(BackendUnavailable, match="did not answer in time") as caught:
            run(backend.create("x", b"", TEXT))
    assert caught.value.landed
    run(backend.close())


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (Status(401, "Anonymous caller"), AccessDenied, "credentials are missing.*GOOGLE_APPLICATION_CREDENTIALS"),
        (Status(403, "me@x lacks storage.objects.get"), AccessDenied, "permission on bucket.*me@x lacks"),
        (Status(429), BackendUnavailable, r"\(tried 2 times\): Google is throttling"),
        (Status(503), BackendUnavailable, "the service is failing.*HTTP 503"),
        (Status(400, "Bucket is a requester pays bucket"), BackendError, "requester_pays=True"),
        (Status(501, "no such thing"), BackendError, "refused the request .HTTP 501"),
    ],
)
def test_each_refusal_says_what_to_do(google: GoogleXML, answer: Status, kind: type, says: str) -> None:
    backend = a_backend(google, tries=2)
    google.every = answer
    for operation in (backend.create("x", b"data", TEXT), backend.get("x"), backend.list("f/")):
        with pytest.raises(kind, match=says) as caught:
            run(operation)
        assert type(caught.value) is kind
        if isinstance(caught.value, BackendUnavailable):
            assert caught.value.landed == (answer.status == 503 and "write" in str(caught.value))
    run(backend.close())


def test_an_answer_of_something_else_is_an_error_of_the_endpoint(google: GoogleXML, backend: ObstoreGCSBackend) -> None:
    google.every = Nonsense(b"<html>Please sign in to this network</html>")
    for operation in (backend.create("x", b"x", TEXT), backend.get("x")):
        with pytest.raises(BackendError, match="does not answer as Google Cloud Storage does"):
            run(operation)


# --- credentials ------------------------------------------------------------------------------------------------------


def renewable(google: GoogleXML) -> Credentials:
    """Credentials of a user, whose tokens our server gives."""
    secrets = {"refresh_token": "r", "client_id": "c", "client_secret": "s", "token_uri": f"{google.url}/token"}
    return Credentials(None, **secrets)  # type: ignore[no-untyped-call]


def test_many_requests_share_one_renewal(google: GoogleXML) -> None:
    google.token = "not given yet"
    backend, given = a_backend(google, options={"token": renewable(google)}), google.tokens_given
    run(_gather([backend.put(str(n), b"x", TEXT) for n in range(16)]))
    assert google.tokens_given == given + 1
    google.token = "revoked the old ones"
    run(_gather([backend.get(str(n)) for n in range(16)]))
    assert google.tokens_given == given + 2
    run(backend.close())


def test_a_token_that_ended_early_is_renewed_and_that_does_not_count_as_a_try(google: GoogleXML) -> None:
    backend = a_backend(google, options={"token": renewable(google)})
    run(backend.create("x", b"x", TEXT))
    google.token, given = "revoked the old ones", google.tokens_given
    assert run(backend.create("y", b"y", TEXT)).tries == 1
    assert google.tokens_given == given + 1
    run(backend.close())


def test_credentials_that_are_not_renewed_any_more_are_an_error_that_shows_none(google: GoogleXML) -> None:
    backend = a_backend(google, options={"token": renewable(google)})
    google.every = Status(400)
    with pytest.raises(AccessDenied, match=r"could not be renewed.*gcloud auth") as caught:
        run(backend.create("x", b"x", TEXT))
    google.every = None
    run(backend.create("x", b"x", TEXT))
    google.every = Status(401)
    with pytest.raises(AccessDenied, match="credentials are missing, wrong or expired") as again:
        run(backend.get("x"))
    shown = f"{caught.value!r} {again.value!r} {again.value.__dict__} {backend!r} {backend._client!r}"
    assert "secret-token" not in shown
    run(backend.close())


def test_a_requester_pays_project_reaches_every_request(google: GoogleXML) -> None:
    backend = a_backend(google, options={"requester_pays": "the-payer"})
    run(backend.create("x", b"x", TEXT))
    run(backend.get("x"))
    run(backend.delete(["x"]))
    assert google.payers[-3:] == ["the-payer"] * 3
    run(backend.close())


def test_without_credentials_everything_goes_over_gcsfs(google: GoogleXML) -> None:
    """As where gcsfs was given no token, looked for credentials, and goes on without."""
    google.token = ""
    backend = a_backend(google, options={"token": "anon"})
    google.log.clear()
    assert run(backend.create("x", b"x", TEXT)).done
    assert all("/storage/v1/" in request for request in google.log)
    run(backend.close())


# --- which engine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, ObstoreGCSBackend),
        ({"token": "google_default", "project": "p", "requester_pays": True}, ObstoreGCSBackend),
        ({"engine": "gcsfs"}, GCSBackend),
        ({"token": "anon"}, GCSBackend),
        ({"session_kwargs": {"trust_env": True}}, GCSBackend),
        ({"endpoint_url": "https://storage.example"}, GCSBackend),
        ({"endpoint_url": "https://storage.example", "engine": "obstore"}, ObstoreGCSBackend),
    ],
)
def test_the_engine_is_chosen_by_what_the_options_allow(options: dict[str, Any], kind: type) -> None:
    assert type(open_backend("gs://bucket/p", options)) is kind


def test_an_emulator_of_the_environment_is_reached_over_gcsfs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:4443")
    assert type(open_backend("gs://bucket/p", {})) is GCSBackend


def test_a_proxy_that_gcsfs_does_not_know_is_not_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert type(open_backend("gs://bucket/p", {})) is GCSBackend
    assert type(open_backend("gs://bucket/p", {"engine": "obstore"})) is ObstoreGCSBackend
    for name in ("NO_PROXY", "no_proxy"):  # of which the second counts
        monkeypatch.setenv(name, ".googleapis.com")
    assert type(open_backend("gs://bucket/p", {})) is ObstoreGCSBackend


def test_variables_of_obstores_own_decide_nothing(google: GoogleXML, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("GOOGLE_BASE_URL", "http://127.0.0.1:9"),
        ("GOOGLE_BUCKET", "another"),
        ("GOOGLE_BEARER_TOKEN", "another"),
        ("GOOGLE_SKIP_SIGNATURE", "true"),
        ("GOOGLE_ALLOW_HTTP", "false"),
    ):
        monkeypatch.setenv(name, value)
    backend = a_backend(google)
    assert run(backend.create("x", b"x", TEXT)).done
    run(backend.close())
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", "/nowhere.json")
    assert type(open_backend("gs://bucket/p", {})) is GCSBackend


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token": "anon"}, "token='anon'"),
        ({"endpoint_url": "http://127.0.0.1:4443"}, "token='anon'"),
        ({"session_kwargs": {"trust_env": True}}, "option session_kwargs"),
    ],
)
def test_what_obstore_cannot_honour_is_refused_where_it_is_asked_for(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidConfig, match=f'engine="obstore" cannot serve.*{says}.*engine="gcsfs"'):
        open_backend("gs://bucket/p", {**options, "engine": "obstore"})


# --- a store ----------------------------------------------------------------------------------------------------------


def test_a_store_saves_in_two_requests_and_loads_a_known_version_in_two(google: GoogleXML) -> None:
    with a_store(google) as store:
        scope = store.scope("shop", "alice", "s1")
        scope.save("notes.txt", b"first")
        google.log.clear()
        assert scope.save("notes.txt", b"second").version == 1
        assert [request.split()[0] for request in google.log] == ["PUT", "PUT"]
        google.log.clear()
        assert scope.load("notes.txt", 1).data == b"second"
        assert [request.split()[0] for request in google.log] == ["GET", "GET"]
        assert not any("/storage/v1/" in request for request in google.log)


def test_a_store_tags_and_compares_and_sets(google: GoogleXML) -> None:
    with a_store(google) as store:
        scope = store.scope("shop", "alice", "s1")
        for data in (b"first", b"second"):
            scope.save("notes.txt", data)
        scope.tag("notes.txt", "prod", 0)
        scope.tag("notes.txt", "prod", 1)
        assert scope.load("notes.txt", "prod").data == b"second"
        assert scope.save("notes.txt", b"third", expect=1).version == 2


def test_an_asynchronous_store_on_a_loop_of_its_own_loses_no_save(google: GoogleXML) -> None:
    async def saves() -> list[int]:
        async with a_store(google, AsyncArtifactStore) as store:
            scope = store.scope("shop", "alice", "s1")
            await asyncio.gather(*(scope.save("notes.txt", b"%d" % n) for n in range(16)))
            return list(await scope.versions("notes.txt"))

    assert asyncio.run(saves()) == list(range(16))


@pytest.mark.parametrize("fault", [Drop(), Status(503)], ids=["lost answer", "503"])
def test_a_save_of_which_a_request_fails_makes_one_version(google: GoogleXML, fault: Any) -> None:
    with a_store(google) as store:
        scope = store.scope("shop", "alice", "s1")
        scope.save("notes.txt", b"0")
        for version, before in ((1, []), (2, [None])):
            google.faults = [*before, fault]
            assert scope.save("notes.txt", b"%d" % version).version == version
            assert google.faults == []
        assert [scope.load("notes.txt", version).data for version in scope.versions("notes.txt")] == [b"0", b"1", b"2"]
