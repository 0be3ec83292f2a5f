"""Keys in AWS KMS, against the KMS of moto and of ministack; what neither of them answers, a server of our own does."""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from artifactfs import ArtifactStore
from artifactfs.backends import memory
from artifactfs.errors import (
    AccessDenied,
    ArtifactError,
    BackendError,
    BackendUnavailable,
    IntegrityError,
    InvalidConfig,
    KeyUnavailable,
)
from artifactfs.keys.aws_kms import CONTEXT, MAX_BLOB, MOST_USES, AwsKms
from artifactfs.keys.base import MAX_WRAPPED

from .servers import KEY, PIP, SECRET, answers, free_port, group, program
from .test_keys import DATA_KEY, WHOSE, Clock, ProviderTests, shown

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"
ON_EACH = pytest.mark.parametrize("server", ["moto", "ministack"], indirect=True)


@dataclass
class Kms:
    """A server of KMS, and what was asked of it by the clients that are counted."""

    name: str
    url: str
    calls: list[str] = field(default_factory=list)

    def client(self) -> Any:
        """A client whose calls are counted. It tries once."""
        client = _client(self.url)
        client.meta.events.register("before-call.kms", lambda model, **_: self.calls.append(model.name))
        return client

    def provider(self, *ids: str, **arguments: Any) -> AwsKms:
        return AwsKms(*ids, client=self.client(), **arguments)

    def key(self) -> str:
        made: str = _client(self.url).create_key()["KeyMetadata"]["KeyId"]
        return made


@functools.cache
def _session() -> Any:
    import boto3

    return boto3.session.Session()


def _client(url: str) -> Any:
    from botocore.config import Config

    return _session().client(
        "kms",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
    )


@pytest.fixture(scope="module")
def ministack_kms() -> Iterator[str]:
    """ministack with KMS alone: it knows the states of keys, which moto does not."""
    binary, port = program("ministack", PIP), free_port()
    with group("ministack-kms") as running:
        running.start([binary], BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port), SERVICES="kms")
        running.wait_for(lambda: answers(f"http://127.0.0.1:{port}"), "answering")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["moto"])
def server(request: pytest.FixtureRequest) -> Kms:
    """moto, where a test names no other: the parameter also tells which tests need which server."""
    if request.param == "ministack":
        return Kms("ministack", request.getfixturevalue("ministack_kms"))
    return Kms("moto", request.getfixturevalue("moto").url)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


class TestAwsKms(ProviderTests):
    """On moto: ministack opens by any key, and does not notice every change."""

    @pytest.fixture
    def provider(self, server: Kms, key_id: str, another_key_id: str) -> AwsKms:
        return server.provider(key_id, another_key_id)

    @pytest.fixture
    def key_id(self, server: Kms) -> str:
        return server.key()

    @pytest.fixture
    def another_key_id(self, server: Kms) -> str:
        return server.key()


# --- what is asked of KMS ---------------------------------------------------------------------------------------------


@ON_EACH
def test_a_thousand_wraps_ask_kms_once_and_so_do_a_thousand_unwraps_elsewhere(server: Kms) -> None:
    key_id = server.key()
    provider = server.provider(key_id)
    whose = [WHOSE._replace(write_id=str(number)) for number in range(1000)]
    wrapped = [provider.wrap(key_id, DATA_KEY, one) for one in whose]
    assert server.calls == ["GenerateDataKey"]
    assert all(provider.unwrap(key_id, text, one) == DATA_KEY for text, one in zip(wrapped, whose, strict=True))
    assert server.calls == ["GenerateDataKey"]
    elsewhere = server.provider(key_id)
    assert all(elsewhere.unwrap(key_id, text, one) == DATA_KEY for text, one in zip(wrapped, whose, strict=True))
    assert server.calls == ["GenerateDataKey", "Decrypt"]


def test_an_intermediate_key_is_used_for_so_many_seconds(server: Kms) -> None:
    key_id, clock = server.key(), Clock()
    provider = server.provider(key_id, seconds=60, clock=clock)
    first = provider.wrap(key_id, DATA_KEY, WHOSE)
    clock.now = 59.9
    provider.wrap(key_id, DATA_KEY, WHOSE)
    assert server.calls == ["GenerateDataKey"]
    clock.now = 60
    provider.wrap(key_id, DATA_KEY, WHOSE)
    assert server.calls == ["GenerateDataKey"] * 2
    assert provider.unwrap(key_id, first, WHOSE) == DATA_KEY
    assert server.calls == ["GenerateDataKey"] * 2 + ["Decrypt"]


def test_an_intermediate_key_is_used_so_many_times(server: Kms) -> None:
    key_id = server.key()
    provider = server.provider(key_id)
    for _ in range(MOST_USES):
        provider.wrap(key_id, DATA_KEY, WHOSE)
    assert server.calls == ["GenerateDataKey"]
    provider.wrap(key_id, DATA_KEY, WHOSE)
    assert server.calls == ["GenerateDataKey"] * 2


def test_each_key_has_an_intermediate_key_of_its_own(server: Kms) -> None:
    keys = [server.key() for _ in range(3)]
    provider = server.provider(*keys)
    blobs = {provider.wrap(key_id, DATA_KEY, WHOSE)[: -12 - 48] for key_id in keys for _ in range(10)}
    assert len(blobs) == 3 and server.calls == ["GenerateDataKey"] * 3


@ON_EACH
def test_threads_that_need_the_same_key_at_once_ask_once(server: Kms) -> None:
    key_id, meet = server.key(), threading.Barrier(16)
    provider = server.provider(key_id)

    def at_once(work: Callable[[], bytes]) -> list[bytes]:
        def one(_: int) -> bytes:
            meet.wait()
            return work()

        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(one, range(16)))

    wrapped = at_once(lambda: provider.wrap(key_id, DATA_KEY, WHOSE))
    assert len(set(wrapped)) == 16 and server.calls == ["GenerateDataKey"]
    elsewhere = server.provider(key_id)
    assert set(at_once(lambda: elsewhere.unwrap(key_id, wrapped[0], WHOSE))) == {DATA_KEY}
    assert server.calls == ["GenerateDataKey", "Decrypt"]


@ON_EACH
def test_the_stored_form_is_kms_ciphertext_in_its_context_then_a_locally_wrapped_key(server: Kms) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

    key_id = server.key()
    wrapped = server.provider(key_id).wrap(key_id, DATA_KEY, WHOSE)
    size = int.from_bytes(wrapped[:2], "big")
    assert len(wrapped) == 2 + size + 12 + 48 <= MAX_WRAPPED
    blob, nonce, rest = wrapped[2 : 2 + size], wrapped[2 + size : 14 + size], wrapped[14 + size :]
    key = _client(server.url).decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"]
    assert AESGCMSIV(key).decrypt(nonce, rest, WHOSE.encode()) == DATA_KEY
    with pytest.raises(Exception, match="InvalidCiphertext"):
        _client(server.url).decrypt(CiphertextBlob=blob)


@ON_EACH
def test_a_key_may_be_named_by_arn_or_alias_and_an_alias_that_moved_opens_nothing(server: Kms) -> None:
    admin, first, second = _client(server.url), server.key(), server.key()
    alias = f"alias/{server.name}-{first}"
    admin.create_alias(AliasName=alias, TargetKeyId=first)
    arn = admin.describe_key(KeyId=first)["KeyMetadata"]["Arn"]
    wrapped = {named: server.provider(named).wrap(named, DATA_KEY, WHOSE) for named in (arn, alias)}
    for named, text in wrapped.items():
        assert server.provider(named).unwrap(named, text, WHOSE) == DATA_KEY
    admin.update_alias(AliasName=alias, TargetKeyId=second)
    with pytest.raises((KeyUnavailable, IntegrityError)):
        server.provider(alias).unwrap(alias, wrapped[alias], WHOSE)
    assert server.provider(first).unwrap(first, wrapped[alias], WHOSE) == DATA_KEY


# --- keys that are not named ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "control"])
def test_a_forged_record_that_names_another_key_of_kms_is_not_believed_and_kms_never_hears_of_it(
    server: Kms, checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forger can write to the store, and has a key that the reader's credentials may decrypt by as well."""
    monkeypatch.setattr(memory, "_roots", {})
    key_id, forgers = server.key(), server.key()
    reader = ArtifactStore("memory://forged", keys=server.provider(key_id)).scope("shop", "alice", "s1")
    reader.save("report.txt", b"mine")
    forger = ArtifactStore("memory://forged", keys=server.provider(key_id, forgers), active_key_id=forgers)
    forger.scope("shop", "alice", "s1").save("report.txt", b"forged")
    server.calls.clear()
    if not checked:
        monkeypatch.setattr(AwsKms, "_check", lambda *_: None)
        assert bytes(reader.load("report.txt").data) == b"forged" and server.calls == ["Decrypt"]
        return
    with pytest.raises(
        KeyUnavailable, match=f"'{forgers}' is not named here .there are '{key_id}'.*give its id"
    ) as refused:
        reader.load("report.txt")
    assert refused.value.key_id == forgers
    assert bytes(reader.load("report.txt", 0).data) == b"mine"
    assert server.calls == []


@pytest.mark.parametrize("another", ["alias/b", "alias/a ", "ALIAS/A", "alias", "", "arn:aws:kms:us-east-1:0:alias/a"])
def test_neither_wrap_nor_unwrap_asks_for_a_key_that_is_spelled_otherwise(scripted: Scripted, another: str) -> None:
    scripted.answer = lambda _: _made()
    wrapped = scripted.provider().wrap("alias/a", DATA_KEY, WHOSE)
    scripted.asked.clear()
    provider = scripted.provider()
    uses: list[Callable[[], bytes]] = [
        lambda: provider.wrap(another, DATA_KEY, WHOSE),
        lambda: provider.unwrap(another, wrapped, WHOSE),
        lambda: provider.unwrap(another, b"of no form", WHOSE),
    ]
    for use in uses:
        with pytest.raises(KeyUnavailable, match=r"is not named here \(there are 'alias/a'\)") as refused:
            use()
        assert refused.value.key_id == another
    assert scripted.asked == []


def test_a_store_takes_a_single_key_as_active_and_no_key_that_is_not_named(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_roots", {})
    scripted.answer = lambda _: _made()
    store = ArtifactStore("memory://single", keys=scripted.provider())  # no active_key_id
    store.scope("shop", "alice", "s1").save("report.txt", b"mine")
    assert scripted.asked == ["GenerateDataKey"]
    two = AwsKms("alias/b", "alias/a", "alias/b", region_name=REGION)
    assert two.ids == ("alias/b", "alias/a")
    for active, told in (
        (None, "which of the keys alias/b, alias/a is active is not said"),
        ("alias/c", "active_key_id is 'alias/c', and the keys are alias/b, alias/a"),
    ):
        with pytest.raises(InvalidConfig, match=told):
            ArtifactStore("memory://single", keys=two, active_key_id=active)
    with pytest.raises(KeyUnavailable, match="no key 'alias/b' is configured here"):
        store.rotate(to="alias/b")


# --- keys that cannot be used -----------------------------------------------------------------------------------------


def _disable(admin: Any, key_id: str) -> None:
    admin.disable_key(KeyId=key_id)


def _schedule_deletion(admin: Any, key_id: str) -> None:
    admin.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)


@pytest.mark.parametrize("server", ["ministack"], indirect=True)
@pytest.mark.parametrize(
    ("end", "told"), [(_disable, "it is disabled: enable it"), (_schedule_deletion, "cancel its deletion")]
)
def test_a_key_that_was_ended_in_kms_is_unavailable_once_nothing_is_remembered(
    server: Kms, end: Callable[[Any, str], None], told: str
) -> None:
    key_id, another, clock = server.key(), server.key(), Clock()
    provider = server.provider(key_id, another, seconds=60, clock=clock)
    lost, kept = (provider.wrap(used, DATA_KEY, WHOSE) for used in (key_id, another))
    end(_client(server.url), key_id)
    assert provider.unwrap(key_id, lost, WHOSE) == DATA_KEY
    clock.now = 60
    for use in (lambda: provider.wrap(key_id, DATA_KEY, WHOSE), lambda: provider.unwrap(key_id, lost, WHOSE)):
        with pytest.raises(KeyUnavailable, match=told) as refused:
            use()
        assert refused.value.key_id == key_id
    assert provider.unwrap(another, kept, WHOSE) == DATA_KEY


@ON_EACH
@pytest.mark.parametrize("unknown", ["v1", "alias/none", "11111111-2222-3333-4444-555555555555"])
def test_nothing_is_wrapped_by_a_key_that_kms_does_not_know(server: Kms, unknown: str) -> None:
    with pytest.raises(KeyUnavailable, match=repr(unknown)) as refused:
        server.provider(unknown).wrap(unknown, DATA_KEY, WHOSE)
    assert refused.value.key_id == unknown


# --- answers that neither server gives --------------------------------------------------------------------------------


class Scripted:
    """A KMS that answers what it is told to; `answer` gets the operation and makes a status and a body."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.answer: Callable[[str], tuple[int, dict[str, Any]]] = lambda _: (200, {})

    def provider(self, **arguments: Any) -> AwsKms:
        return AwsKms("alias/a", client=_client(self.url), **arguments)


@contextmanager
def _scripted() -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            kms.asked.append(operation)
            status, body = kms.answer(operation)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        kms = Scripted(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield kms
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with _scripted() as kms:
        yield kms


def _made(blob: bytes = b"b" * 184, key: bytes = b"k" * 32) -> tuple[int, dict[str, Any]]:
    return 200, {
        "CiphertextBlob": base64.b64encode(blob).decode(),
        "Plaintext": base64.b64encode(key).decode(),
        "KeyId": "arn:aws:kms:us-east-1:000000000000:key/1",
    }


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (400, "NotFoundException", KeyUnavailable, "correct its id or the region"),
        (400, "DisabledException", KeyUnavailable, "enable it"),
        (400, "KMSInvalidStateException", KeyUnavailable, "cancel its deletion"),
        (400, "AccessDeniedException", KeyUnavailable, "kms:GenerateDataKey and kms:Decrypt"),
        (400, "IncorrectKeyException", KeyUnavailable, "point it back"),
        (400, "InvalidKeyUsageException", KeyUnavailable, "a symmetric key"),
        (400, "ValidationException", KeyUnavailable, "give a key id"),
        (400, "InvalidCiphertextException", IntegrityError, "the record was altered, or 'alias/a' is another key now"),
        (400, "ThrottlingException", BackendUnavailable, "try again later"),
        (400, "LimitExceededException", BackendUnavailable, "try again later"),
        (500, "KeyUnavailableException", BackendUnavailable, "try again later"),
        (500, "KMSInternalException", BackendUnavailable, "try again later"),
        (503, "DependencyTimeoutException", BackendUnavailable, "try again later"),
        (502, "", BackendUnavailable, "try again later"),
        (400, "UnrecognizedClientException", AccessDenied, "does not accept these credentials"),
        (400, "ExpiredTokenException", AccessDenied, "does not accept these credentials"),
        (403, "", AccessDenied, "does not accept these credentials"),
        (400, "DryRunOperationException", BackendError, "refused the request"),
    ],
)
def test_what_kms_refuses_is_an_error_of_ours_that_says_what_to_do(
    scripted: Scripted, status: int, code: str, kind: type[ArtifactError], told: str
) -> None:
    scripted.answer = lambda _: _made()
    wrapped = scripted.provider().wrap("alias/a", DATA_KEY, WHOSE)
    scripted.answer = lambda _: (status, {"__type": code, "message": "as KMS tells it"} if code else {})
    provider = scripted.provider()
    for use in (
        lambda: provider.wrap("alias/a", DATA_KEY, WHOSE),
        lambda: provider.unwrap("alias/a", wrapped, WHOSE),
    ):
        with pytest.raises(kind, match=told) as refused:
            use()
        assert type(refused.value) is kind
        assert not code or f"{code}: as KMS tells it" in str(refused.value)
        assert getattr(refused.value, "key_id", "alias/a") == "alias/a"
        assert type(refused.value.__cause__).__module__.startswith("botocore")


def test_a_refusal_is_not_remembered(scripted: Scripted) -> None:
    provider = scripted.provider()
    scripted.answer = lambda _: (500, {"__type": "KMSInternalException"})
    with pytest.raises(BackendUnavailable):
        provider.wrap("alias/a", DATA_KEY, WHOSE)
    scripted.answer = lambda _: _made()
    assert provider.unwrap("alias/a", provider.wrap("alias/a", DATA_KEY, WHOSE), WHOSE) == DATA_KEY


@pytest.mark.parametrize(
    "answer", [(_made(blob=b"b" * (MAX_BLOB + 1))), (_made(blob=b"")), (_made(key=b"k" * 16))], ids=range(3)
)
def test_an_intermediate_key_that_no_record_holds_is_refused(
    scripted: Scripted, answer: tuple[int, dict[str, Any]]
) -> None:
    scripted.answer = lambda _: answer
    with pytest.raises(BackendError, match="this server cannot be used"):
        scripted.provider().wrap("alias/a", DATA_KEY, WHOSE)


def test_the_largest_intermediate_key_fits_into_a_record(scripted: Scripted) -> None:
    scripted.answer = lambda _: _made(blob=b"b" * MAX_BLOB)
    wrapped = scripted.provider().wrap("alias/a", DATA_KEY, WHOSE)
    assert len(wrapped) == MAX_WRAPPED
    assert scripted.provider().unwrap("alias/a", wrapped, WHOSE) == DATA_KEY


def test_what_decrypts_to_no_key_is_an_integrity_error(scripted: Scripted) -> None:
    scripted.answer = lambda _: _made(key=b"k" * 32 if _ == "GenerateDataKey" else b"short")
    wrapped = scripted.provider().wrap("alias/a", DATA_KEY, WHOSE)
    with pytest.raises(IntegrityError, match="no key of artifactfs"):
        scripted.provider().unwrap("alias/a", wrapped, WHOSE)


def test_threads_that_wait_for_a_call_that_fails_each_raise_an_error_of_their_own(scripted: Scripted) -> None:
    provider, meet = scripted.provider(), threading.Barrier(8)

    def refuse(_: str) -> tuple[int, dict[str, Any]]:
        return 400, {"__type": "DisabledException", "message": "no"}

    def work(_: int) -> KeyUnavailable:
        meet.wait()
        with pytest.raises(KeyUnavailable, match="enable it") as refused:
            provider.wrap("alias/a", DATA_KEY, WHOSE)
        return refused.value

    scripted.answer = refuse
    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(work, range(8)))
    assert len({id(error) for error in errors}) == 8
    assert {error.key_id for error in errors} == {"alias/a"}
    assert all(error.__cause__ is not None for error in errors)


def test_an_interrupted_request_leaves_nothing_waiting(scripted: Scripted) -> None:
    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    client = _client(scripted.url)
    provider = AwsKms("alias/a", client=client)
    scripted.answer = lambda _: _made()
    client.meta.events.register("after-call.kms", interrupt)
    with pytest.raises(KeyboardInterrupt):
        provider.wrap("alias/a", DATA_KEY, WHOSE)
    client.meta.events.unregister("after-call.kms", interrupt)
    assert provider.unwrap("alias/a", provider.wrap("alias/a", DATA_KEY, WHOSE), WHOSE) == DATA_KEY


def test_a_server_that_is_not_there_or_hangs_up_is_unavailable(scripted: Scripted) -> None:
    def hang_up(_: str) -> tuple[int, dict[str, Any]]:
        raise ConnectionAbortedError

    for url, cause in ((f"http://127.0.0.1:{free_port()}", "EndpointConnectionError"), (scripted.url, "Closed")):
        scripted.answer = hang_up
        with pytest.raises(BackendUnavailable, match=f"does not answer .*{cause}"):
            AwsKms("alias/a", client=_client(url)).wrap("alias/a", DATA_KEY, WHOSE)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_missing_credentials_are_an_error_that_says_so(scripted: Scripted) -> None:
    with pytest.raises(AccessDenied, match="no credentials were found: set AWS_ACCESS_KEY_ID"):
        AwsKms("alias/a", region_name=REGION, endpoint_url=scripted.url).wrap("alias/a", DATA_KEY, WHOSE)
    assert scripted.asked == []


def test_a_client_is_made_of_the_environment(server: Kms, credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", server.url)
    key_id = server.key()
    provider = AwsKms(key_id)
    assert provider.unwrap(key_id, provider.wrap(key_id, DATA_KEY, WHOSE), WHOSE) == DATA_KEY


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "no region is known: give region_name="),
        ({"region_name": "not a region"}, "a setting cannot be used"),
        ({"region_name": REGION, "endpoint_url": "nowhere"}, "a setting cannot be used"),
        ({"region_name": REGION, "seconds": 0}, "seconds=0: it has to be above 0"),
        ({"region_name": REGION, "seconds": -1}, "seconds=-1: it has to be above 0"),
        ({"region_name": REGION, "seconds": float("nan")}, "seconds=nan"),
        ({"region_name": REGION, "seconds": float("inf")}, "at most 86400"),
        ({"client": object(), "region_name": REGION}, "not both"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        AwsKms("alias/a", **arguments)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ((), 'no key of AWS KMS is named: give the ids of those to use, such as "alias/artifacts"'),
        (("alias/a", ""), "id 2 is empty"),
        ((["alias/a"],), "id 1 is a list: the id of a key is text"),
        ((object(),), "a client is given as client="),
    ],
)
def test_it_needs_the_ids_of_keys(ids: tuple[Any, ...], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        AwsKms(*ids, region_name=REGION)


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(InvalidConfig, match=r'pip install "artifactfs\[kms\]"'):
        AwsKms("alias/a", region_name=REGION)


# --- what is not shown ------------------------------------------------------------------------------------------------


def test_it_is_pickled_by_its_settings_alone(server: Kms, credentials: None) -> None:
    key_id = server.key()
    provider = AwsKms(key_id, "alias/a", region_name=REGION, endpoint_url=server.url, seconds=60)
    wrapped = provider.wrap(key_id, DATA_KEY, WHOSE)
    pickled = pickle.dumps(provider)
    assert SECRET.encode() not in pickled and wrapped[2:60] not in pickled
    copy = pickle.loads(pickled)
    assert copy.ids == provider.ids == (key_id, "alias/a")
    assert copy.unwrap(key_id, wrapped, WHOSE) == DATA_KEY


def test_with_a_client_it_is_not_pickled(server: Kms) -> None:
    with pytest.raises(TypeError, match="make it with region_name= instead"):
        pickle.dumps(server.provider("alias/a"))


@pytest.mark.parametrize("filtered", [True, False], ids=["filtered", "control"])
def test_no_key_is_in_a_repr_or_in_what_botocore_logs(
    scripted: Scripted, filtered: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = b"secret-secret-secret-secret-secr"
    encoded = base64.b64encode(key).decode()
    if not filtered:
        monkeypatch.setattr(logging.getLogger("botocore.parsers"), "filters", [])
    scripted.answer = lambda _: _made(key=key)
    with caplog.at_level(logging.DEBUG):
        wrapped = scripted.provider().wrap("alias/a", DATA_KEY, WHOSE)
        provider = scripted.provider()
        provider.unwrap("alias/a", wrapped, WHOSE)
    assert (encoded in caplog.text) is not filtered
    assert "Making request for OperationModel(name=Decrypt)" in caplog.text
    assert repr(provider) == "<AwsKms us-east-1>"
    with pytest.raises(IntegrityError) as refused:
        provider.unwrap("alias/a", wrapped[:-1] + b"x", WHOSE)
    for text in (repr(provider), repr(vars(provider)), shown(refused.value)):
        assert encoded not in text and "secret-" not in text.replace(SECRET, "")


def test_what_else_a_client_asks_is_logged_as_ever(server: Kms, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert server.key() in caplog.text


def test_importing_it_brings_in_no_boto3() -> None:
    code = "import sys, artifactfs.keys.aws_kms; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"boto3", "botocore", "s3fs"}.isdisjoint(told.stdout.split())


# --- a fork -----------------------------------------------------------------------------------------------------------

FORKED = """
import os, signal, sys, threading
from artifactfs.keys.aws_kms import AwsKms
from artifactfs.keys.base import Identity
from tests.test_aws_kms import REGION, _client, _made, _scripted

whose = Identity("shop", "alice", "s1", "report.csv", "5f0c")
arrived, leave = threading.Event(), threading.Event()
def held(_):
    if not arrived.is_set():
        arrived.set()
        leave.wait(60)
    return _made()

with _scripted() as kms:
    kms.answer = held
    given = sys.argv[1] == "given"
    settings = {"client": _client(kms.url)} if given else {"region_name": REGION, "endpoint_url": kms.url}
    provider = AwsKms("alias/a", **settings)
    thread = threading.Thread(target=provider.wrap, args=("alias/a", b"k" * 32, whose))
    thread.start()
    arrived.wait(60)  # the thread waits for its answer
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        wrapped = provider.wrap("alias/a", b"k" * 32, whose)
        os._exit(provider.unwrap("alias/a", wrapped, whose) != b"k" * 32)
    status = os.waitpid(child, 0)[1]
    leave.set()
    thread.join()
    wrapped = provider.wrap("alias/a", b"k" * 32, whose)
    sys.exit(status != 0 or kms.asked != ["GenerateDataKey"] * 2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("client", ["given", "made"])
@pytest.mark.usefixtures("credentials")
def test_a_child_forked_while_a_thread_waits_for_kms_asks_by_itself(client: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED, client], cwd=ROOT, timeout=120)
    assert done.returncode == 0
