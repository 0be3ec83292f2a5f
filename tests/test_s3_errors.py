"""What goes wrong on the way to an S3 store is told as our own errors, tried again where that helps, and counted."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from artifactfs.backends import open_backend
from artifactfs.backends.base import WHOLE_LIMIT, Written
from artifactfs.backends.s3 import S3Backend
from artifactfs.backends.s3_errors import Place, explained, transient
from artifactfs.errors import AccessDenied, ArtifactError, BackendError, BackendUnavailable, InvalidConfig, InvalidName
from artifactfs.testing.backend import BINARY, _run

from .proxy import CUT, DROP, REFUSE, SLOW_DOWN, Proxy, in_front_of
from .servers import KEY, SECRET, Server, free_port

CALLS: dict[str, Callable[[S3Backend], Coroutine[Any, Any, Any]]] = {
    "create": lambda backend: backend.create("a/0", b"data", BINARY),
    "put": lambda backend: backend.put("a/0", b"data", BINARY),
    "replace": lambda backend: backend.replace("a/0", b"data", BINARY, "0" * 32),
    "get": lambda backend: backend.get("a/0"),
    "list": lambda backend: backend.list("a/"),
    "delete": lambda backend: backend.delete(["a/0", "a/1"]),
    "unfinished": lambda backend: backend.unfinished("a/"),
}
WRITES = ("create", "put", "replace", "delete")


@pytest.fixture(
    params=["moto", "ministack", "rclone", *(pytest.param(n, marks=pytest.mark.server(n)) for n in ("ceph", "minio"))]
)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["rclone", *(pytest.param(n, marks=pytest.mark.server(n)) for n in ("ceph", "minio"))])
def strict_server(request: pytest.FixtureRequest) -> Server:
    """Each server that checks signatures."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["s3fs", pytest.param("obstore", marks=pytest.mark.nightly)])
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[..., S3Backend]]:
    """Opens backends that are closed in the end. Where obstore cannot serve the options, s3fs does."""
    made: list[Any] = []
    engine: dict[str, str] = {"engine": "s3fs"} if request.param == "s3fs" else {}

    def make(url: str, *, tries: int = 3, deadline: float = 60, **options: Any) -> Any:
        made.append(open_backend(url, {**options, **engine}, tries=tries, deadline=deadline))
        return made[-1]

    yield make
    for backend in made:
        _run(backend, backend.close())


@pytest.fixture(scope="module")
def front(moto: Server) -> Iterator[Proxy]:
    with in_front_of(moto.url) as proxy:
        yield proxy


@pytest.fixture
def spoilt(moto: Server, front: Proxy, opened: Callable[..., S3Backend]) -> S3Backend:
    """A backend behind the proxy, with a connection that is open already: an idle one is what SDKs try again on."""
    front.clear()
    backend = opened(moto.bucket(), **moto.at(front.url).own_options)
    assert _run(backend, backend.create("warm", b"", BINARY)).done
    front.clear()
    return backend


# what a user did wrong


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_bucket_is_named(server: Server, opened: Callable[..., S3Backend], call: str) -> None:
    if server.name == "rclone" and call == "unfinished":
        return  # answers an empty list for any bucket
    backend = opened("s3://no-such-bucket/prefix", **server.own_options)
    with pytest.raises(BackendError, match=r"s3://no-such-bucket/prefix: there is no bucket 'no-such-bucket' at http"):
        _run(backend, CALLS[call](backend))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_wrong_credentials_are_told_and_never_shown(
    strict_server: Server, opened: Callable[..., S3Backend], call: str, wrong: str
) -> None:
    options = {**strict_server.own_options, wrong: "NOT-THE-RIGHT-ONE"}
    backend = opened("s3://bucket/prefix", **options)
    with pytest.raises(AccessDenied, match="key") as caught:
        _run(backend, CALLS[call](backend))
    assert isinstance(caught.value, PermissionError)
    seen = f"{caught.value} {caught.value!r} {caught.value.__dict__} {backend!r} {vars(backend)}"
    assert SECRET not in seen
    assert "NOT-THE-RIGHT-ONE" not in seen


def test_missing_credentials_are_told(moto: Server, opened: Callable[..., S3Backend]) -> None:
    backend = opened("s3://bucket", endpoint_url=moto.url)
    with pytest.raises(AccessDenied, match="no credentials were found: give key= and secret="):
        _run(backend, backend.get("x"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "nobody"}, "nobody"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"config_kwargs": {"no_such_setting": 1}}, "no_such_setting"),
        ({"endpoint_url": "127.0.0.1:9000"}, r"http\(s\)://host"),
        ({"endpoint_url": "http://user:hidden@127.0.0.1"}, r"http\(s\)://host"),
    ],
)
def test_a_wrong_setting_is_told(opened: Callable[..., S3Backend], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as caught:
        _run(backend := opened("s3://bucket", **{"endpoint_url": "http://127.0.0.1:1", **options}), backend.get("x"))
    assert "hidden" not in str(caught.value)


@pytest.mark.server("minio")
def test_a_key_that_a_server_cannot_hold_is_an_invalid_name(minio: Server, opened: Callable[..., S3Backend]) -> None:
    backend = opened(minio.bucket(), **minio.own_options)
    for key in ("x" * 300, "a/../b"):
        with pytest.raises(InvalidName, match="cannot hold a key of that length or form"):
            _run(backend, backend.create(key, b"data", BINARY))


# what cannot be reached


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_port_is_unavailable_and_nothing_landed(opened: Callable[..., S3Backend], call: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    backend = opened("s3://bucket", endpoint_url=endpoint, key=KEY, secret=SECRET, tries=2)
    with pytest.raises(BackendUnavailable, match=f"{endpoint} refused the connection: .*, after 2 tries") as caught:
        _run(backend, CALLS[call](backend))
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.landed is False
    assert caught.value.store == "s3://bucket"
    assert caught.value.__cause__ is not None
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.landed is False


def test_an_unknown_host_is_told(opened: Callable[..., S3Backend]) -> None:
    backend = opened("s3://bucket", endpoint_url="http://nowhere.invalid", key=KEY, secret=SECRET, tries=1)
    with pytest.raises(BackendUnavailable, match=r"the name of http://nowhere.invalid is not known"):
        _run(backend, backend.get("x"))


def test_https_to_a_plain_server_is_told_and_not_tried_again(moto: Server, opened: Callable[..., S3Backend]) -> None:
    backend = opened("s3://bucket", endpoint_url=moto.url.replace("http:", "https:"), key=KEY, secret=SECRET)
    with pytest.raises(
        BackendError, match=r"no secure connection to https://.*write http:// in endpoint_url"
    ) as caught:
        _run(backend, backend.create("x", b"", BINARY))
    assert not isinstance(caught.value, BackendUnavailable)


# what passes


@pytest.mark.parametrize("call", CALLS)
def test_throttling_is_tried_again_up_to_the_tries(spoilt: S3Backend, front: Proxy, call: str) -> None:
    rule = front.when(SLOW_DOWN, lambda request: True)
    with pytest.raises(BackendUnavailable, match=r"asks for fewer requests \(SlowDown\), after 3 tries") as caught:
        _run(spoilt, CALLS[call](spoilt))
    assert rule.hits == 3
    assert caught.value.landed is (call in WRITES)


def test_no_try_starts_after_the_deadline(moto: Server, front: Proxy, opened: Callable[..., S3Backend]) -> None:
    front.clear()
    backend = opened(moto.bucket(), tries=1000, deadline=0.01, **moto.at(front.url).own_options)
    front.when(SLOW_DOWN, lambda request: True)
    with pytest.raises(BackendUnavailable):
        _run(backend, backend.get("x"))
    assert len(front.requests) < 5


@pytest.mark.parametrize("fault", [SLOW_DOWN, REFUSE], ids=["throttled", "hung up"])
def test_a_create_that_failed_at_first_counts_both_tries(spoilt: S3Backend, front: Proxy, fault: Any) -> None:
    front.once(fault, method="PUT")
    written = _run(spoilt, spoilt.create("x", b"data", BINARY))
    assert (written.done, written.tries) == (True, 2)


@pytest.mark.parametrize("data", [b"", b"data", bytes(2_000_000)], ids=["empty", "small", "large"])
def test_a_create_whose_answer_was_lost_is_known_to_have_been_sent_twice(
    spoilt: S3Backend, front: Proxy, data: bytes
) -> None:
    lost = front.once(DROP, method="PUT")
    assert _run(spoilt, spoilt.create("x", data, BINARY)) == Written(False, 2)
    assert lost.hits == 1
    assert [request.method for request in front.requests] == ["PUT", "PUT"]
    assert (got := _run(spoilt, spoilt.get("x"))) is not None and got.data == data


def test_a_replace_whose_answer_was_lost_is_known_to_have_been_sent_twice(spoilt: S3Backend, front: Proxy) -> None:
    tag = _run(spoilt, spoilt.put("x", b"first", BINARY)).tag
    front.once(DROP, method="PUT")
    assert _run(spoilt, spoilt.replace("x", b"second", BINARY, tag)) == Written(False, 2)


def test_a_put_once_is_sent_once(spoilt: S3Backend, front: Proxy) -> None:
    front.once(DROP, method="PUT")
    with pytest.raises(BackendUnavailable, match="after one try; it may have taken effect all the same") as caught:
        _run(spoilt, spoilt.put("x", b"data", BINARY, once=True))
    assert caught.value.landed is True
    assert [request.method for request in front.requests] == ["PUT"]


def test_a_completion_whose_answer_was_lost_is_ambiguous_and_not_an_error(
    server: Server, opened: Callable[..., S3Backend]
) -> None:
    with in_front_of(server.url) as front:
        backend = opened(server.bucket(), **server.at(front.url).own_options)
        upload = _run(backend, backend.upload("x", BINARY))
        _run(backend, upload.write(bytes(WHOLE_LIMIT + 1)))
        lost = front.when(DROP, _first(lambda request: request.method == "POST" and "uploadId" in request.query))
        written = _run(backend, upload.commit())
        assert lost.hits == 1
        assert written.tries == 2
        # These no longer know the upload; the others complete once more what is complete.
        assert written.done is (server.name not in ("minio", "rclone"))
        _run(backend, upload.abort())
        assert (there := _run(backend, backend.stat("x"))) is not None and there.size == WHOLE_LIMIT + 1
        _run(backend, backend.close())


def _first(applies: Callable[[Any], bool]) -> Callable[[Any], bool]:
    seen: list[Any] = []

    def once(request: Any) -> bool:
        if seen or not applies(request):
            return False
        seen.append(request)
        return True

    return once


def test_an_answer_that_was_cut_off_is_read_again(spoilt: S3Backend, front: Proxy) -> None:
    data = bytes(range(256)) * 1000
    _run(spoilt, spoilt.put("x", data, BINARY))
    cut = front.once(CUT, method="GET")
    got = _run(spoilt, spoilt.get("x"))
    assert got is not None and got.data == data
    assert cut.hits == 1


def test_a_part_that_was_lost_is_sent_again(spoilt: S3Backend, front: Proxy) -> None:
    upload = _run(spoilt, spoilt.upload("x", BINARY))
    lost = front.when(DROP, _first(lambda request: "partNumber" in request.query))
    data = bytes(range(256)) * (WHOLE_LIMIT // 128)
    _run(spoilt, upload.write(data))
    assert _run(spoilt, upload.commit()).done
    assert lost.hits == 1
    assert (got := _run(spoilt, spoilt.get("x"))) is not None and got.data == data


# each of S3's codes


def answered(status: int, code: str, message: str = "said so", **headers: str) -> ClientError:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": meta}, "PutObject")


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AccessDenied", AccessDenied, "the policy has to allow"),
        (403, "403", AccessDenied, "the policy has to allow"),
        (403, "InvalidAccessKeyId", AccessDenied, "does not know this access key id"),
        (403, "SignatureDoesNotMatch", AccessDenied, "the secret access key does not belong"),
        (400, "ExpiredToken", AccessDenied, "have expired: get new ones"),
        (400, "InvalidToken", AccessDenied, "session token is not valid"),
        (403, "RequestTimeTooSkewed", AccessDenied, "clock of this machine"),
        (404, "NoSuchBucket", BackendError, "there is no bucket 'b' at http://e"),
        (301, "PermanentRedirect", BackendError, "it is in region 'eu-west-1': give region='eu-west-1'"),
        (400, "KeyTooLongError", InvalidName, "cannot hold a key"),
        (400, "XMinioInvalidObjectName", InvalidName, "cannot hold a key"),
        (507, "XMinioStorageFull", BackendError, "the store is full"),
        (400, "400", BackendError, "expired credentials, or a wrong region"),
        (400, "InvalidArgument", BackendError, r"refused the request \(400, InvalidArgument: said so\)"),
    ],
)
def test_each_answer_is_told_with_what_to_do(status: int, code: str, kind: type[ArtifactError], message: str) -> None:
    error = answered(status, code, **{"x-amz-bucket-region": "eu-west-1"})
    assert not transient(error)
    told = explained(error, Place("s3://b/p", "b", "http://e", "put_object", "a/0"))
    assert type(told) is kind
    with pytest.raises(kind, match=f"^s3://b/p: .*{message}.*put_object of 'a/0'"):
        raise told


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (502, "502"),
        (503, "503"),
        (504, "504"),
        (400, "RequestTimeout"),
        (409, "ConditionalRequestConflict"),
        (409, "OperationAborted"),
        (200, "InternalError"),
    ],
)
def test_what_passes_is_tried_again(status: int, code: str) -> None:
    assert transient(answered(status, code))


def test_what_does_not_pass_is_not_tried_again() -> None:
    for status, code in (
        (501, "NotImplemented"),
        (507, "XMinioStorageFull"),
        (412, "PreconditionFailed"),
        (409, "Other"),
    ):
        assert not transient(answered(status, code)), code
