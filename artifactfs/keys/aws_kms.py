"""Keys that AWS KMS keeps: a save does not wait for it, since what wraps data keys is had once for many of them.

A data key is wrapped here, by an intermediate key that KMS made and wrapped. The stored form holds both:
length of KMS's ciphertext as 2 bytes, big-endian; that ciphertext; nonce, ciphertext and tag of the data key.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from artifactfs.errors import (
    AccessDenied,
    ArtifactError,
    BackendError,
    BackendUnavailable,
    IntegrityError,
    InvalidConfig,
    KeyUnavailable,
)
from artifactfs.keys.base import KEY_BYTES, MAX_WRAPPED, Identity, told_id
from artifactfs.keys.keyring import WRAPPED_BYTES, aead, unwrap_by, wrap_by
from artifactfs.keys.remembered import Remembered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

CONTEXT = {"artifactfs": "1"}
"""KMS's encryption context of every intermediate key; a policy may ask for it, and CloudTrail shows it."""

LENGTH_BYTES = 2
MAX_BLOB = MAX_WRAPPED - LENGTH_BYTES - WRAPPED_BYTES
"""Bytes that KMS's ciphertext of an intermediate key may have: 226. AWS's has 184."""

MOST_USES = 10_000
"""Data keys that one intermediate key wraps before the next is had, give or take one for each thread."""

MOST_REMEMBERED = 1_000
"""Key ids, and intermediate keys to unwrap by, that are remembered at once."""

LONGEST = 86_400.0
"""Seconds that an intermediate key may be told to be remembered for."""

T = TypeVar("T")


class AwsKms:
    """Wraps data keys by keys in AWS KMS, which never leave it, and by no others than those that are named here.

    Otherwise whoever can write records could name a key of their own in them, and be believed wherever these credentials
    may use it. An alias that is pointed at another key opens nothing that was wrapped before.

    KMS is asked for an intermediate key at most once in *seconds* for each key id and 10,000 saves, and once in *seconds*
    for each intermediate key that is read by; so a key that is disabled or destroyed in KMS still wraps and unwraps for
    so long in a process that used it just before.

    It may be used from any thread and after a fork. It can be pickled where it was made without *client*.

    Args:
        ids: the keys, spelled as records spell them: each a key id, an ARN or an alias.
        client: boto3's client of KMS; without one, boto3 makes it of what its environment says, and of what follows.
        region_name: the AWS region.
        endpoint_url: another server than AWS's.
        seconds: how long an intermediate key is remembered, above 0 and at most a day.
        clock: what tells seconds.

    Raises:
        InvalidConfig: no key is named, boto3 is not installed, no region is known, or another argument cannot be used.
    """

    def __init__(
        self,
        *ids: str,
        client: Any = None,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        seconds: float = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not ids:
            raise InvalidConfig('no key of AWS KMS is named: give the ids of those to use, such as "alias/artifacts"')
        for place, key_id in enumerate(ids, 1):
            if not isinstance(key_id, str) or not key_id:
                what = "empty" if key_id == "" else f"a {type(key_id).__name__}"
                raise InvalidConfig(f"id {place} is {what}: the id of a key is text; a client is given as client=")
        if not 0 < seconds <= LONGEST:
            raise InvalidConfig(f"seconds={seconds!r}: it has to be above 0, and at most {LONGEST:.0f}")
        if client is not None and (region_name is not None or endpoint_url is not None):
            raise InvalidConfig("give a client, or region_name= and endpoint_url= to make one of, not both")
        self._ids = tuple(dict.fromkeys(ids))
        self._given = client
        self._region_name = region_name
        self._endpoint_url = endpoint_url
        self._seconds = seconds
        self._clock = clock
        self._held = self._begin(client if client is not None else self._new_client())

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys that may wrap and unwrap, in the order in which they were given."""
        return self._ids

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        """*data_key* (32 bytes), wrapped for that *identity* alone: at most 288 bytes, some 246 with AWS.

        Raises:
            KeyUnavailable: the key is not named here, and KMS was not asked; or KMS knows no such key, it is disabled or
                being destroyed, or these credentials may not use it.
            BackendUnavailable: KMS does not answer, or asks for fewer requests.
            AccessDenied: there are no credentials, or KMS does not accept them.
            BackendError: KMS refused for another reason.
        """
        self._check(key_id)
        here = self._here()
        found = here.take(key_id)
        if found is None:
            found = here.calls.run(key_id, lambda: here.take(key_id) or self._generate(here, key_id))
        return len(found.blob).to_bytes(LENGTH_BYTES, "big") + found.blob + wrap_by(found.key, data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        """The data key in *wrapped*.

        Raises:
            KeyUnavailable: as `wrap`; also where *wrapped* was made by another key than *key_id* is.
            IntegrityError: *wrapped* was altered, or is of another identity.
            BackendUnavailable, AccessDenied, BackendError: as `wrap`.
        """
        self._check(key_id)
        start = LENGTH_BYTES + int.from_bytes(wrapped[:LENGTH_BYTES], "big")
        blob, rest = wrapped[LENGTH_BYTES:start], wrapped[start:]
        if not 0 < len(blob) <= MAX_BLOB or len(rest) != WRAPPED_BYTES:
            raise IntegrityError(f"a wrapped key is not of the form that AWS KMS's have: {_ALTERED.format(key_id)}")
        here = self._here()
        at = (key_id, blob)
        found = here.unwrapping.get(at)
        if found is None:
            found = here.calls.run(at, lambda: here.unwrapping.get(at) or self._decrypt(here, key_id, blob))
        data_key = unwrap_by(found, rest, identity)
        if data_key is None:
            raise IntegrityError(f"a wrapped key does not open: {_ALTERED.format(key_id)}")
        return data_key

    def _check(self, key_id: str) -> None:
        """Refuse a key that is not named here. It stands in a record that nothing has authenticated yet."""
        if key_id not in self._ids:
            raise KeyUnavailable(
                f"the key {told_id(key_id)} is not named here (there are {', '.join(map(told_id, self._ids))}), so AWS KMS "
                "is not asked: if it is yours, give its id to AwsKms too, spelled like that; if not, the record was altered",
                key_id=key_id,
            )

    def _generate(self, here: _Here, key_id: str) -> _Intermediate:
        answer = _ask(
            here.client.generate_data_key, key_id, KeyId=key_id, NumberOfBytes=KEY_BYTES, EncryptionContext=CONTEXT
        )
        blob, key = answer["CiphertextBlob"], answer["Plaintext"]
        if not 0 < len(blob) <= MAX_BLOB or len(key) != KEY_BYTES:
            raise BackendError(
                f"AWS KMS: the ciphertext of a key by {key_id!r} has {len(blob)} bytes, and a record holds at most "
                f"{MAX_BLOB}: this server cannot be used"
            )
        made = _Intermediate(blob, aead(key, "AWS KMS's answer"))
        here.wrapping.put(key_id, made)
        here.unwrapping.put((key_id, blob), made.key)
        return made

    def _decrypt(self, here: _Here, key_id: str, blob: bytes) -> AESGCMSIV:
        answer = _ask(here.client.decrypt, key_id, KeyId=key_id, CiphertextBlob=blob, EncryptionContext=CONTEXT)
        if len(answer["Plaintext"]) != KEY_BYTES:
            raise IntegrityError(f"what AWS KMS decrypts is no key of artifactfs: {_ALTERED.format(key_id)}")
        key = aead(answer["Plaintext"], "AWS KMS's answer")
        here.unwrapping.put((key_id, blob), key)
        return key

    def _new_client(self) -> Any:
        try:
            from boto3.session import Session
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, NoRegionError
        except ImportError as error:
            raise InvalidConfig('keys in AWS KMS need boto3: pip install "artifactfs[kms]"') from error
        # A session of its own: boto3's common one may not be shared by threads that make clients.
        config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
        try:
            return Session().client(
                "kms", region_name=self._region_name, endpoint_url=self._endpoint_url, config=config
            )
        except NoRegionError as error:
            raise InvalidConfig("AWS KMS: no region is known: give region_name=, or set AWS_DEFAULT_REGION") from error
        except (BotoCoreError, ValueError) as error:
            raise InvalidConfig(f"AWS KMS: a setting cannot be used: {str(error)[:300]}") from error

    def _begin(self, client: Any) -> _Here:
        return _Here(
            os.getpid(),
            client,
            Remembered(MOST_REMEMBERED, self._seconds, self._clock),
            Remembered(MOST_REMEMBERED, self._seconds, self._clock),
        )

    def _here(self) -> _Here:
        """What this process holds. Two threads of a new child may each begin anew: one asks KMS once more, no harm."""
        held = self._held
        if held.process != os.getpid():
            if self._given is not None:
                self._given.close()  # the kept connections are the parent's; new ones are made when needed
            held = self._held = self._begin(self._given if self._given is not None else self._new_client())
        return held

    def __repr__(self) -> str:
        return f"<AwsKms {self._held.client.meta.region_name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._given is not None:
            raise TypeError("an AwsKms with a client of yours is not pickled: make it with region_name= instead")
        settings = {"region_name": self._region_name, "endpoint_url": self._endpoint_url}
        return partial(AwsKms, *self._ids, **settings, seconds=self._seconds, clock=self._clock), ()


# --- what one process holds -------------------------------------------------------------------------------------------


@dataclass(eq=False, repr=False)
class _Intermediate:
    blob: bytes
    key: AESGCMSIV
    uses: int = 1


class _Calls:
    """One call at a time for each key: whoever needs the same meanwhile gets that call's result, or its error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[Any]] = {}

    def run(self, key: Hashable, work: Callable[[], T]) -> T:
        with self._lock:
            running = self._running.get(key)
            if running is None:
                mine: Future[T] = Future()
                self._running[key] = mine
        if running is not None:
            try:
                found: T = running.result()
            except ArtifactError as error:
                raise copy(error) from error.__cause__  # each thread raises an error of its own
            return found
        try:
            result = work()
        except ArtifactError as error:
            mine.set_exception(error)
            raise
        except BaseException:
            # An interrupt is for this thread alone.
            mine.set_exception(BackendUnavailable("AWS KMS: the request was interrupted in another thread: try again"))
            raise
        else:
            mine.set_result(result)
            return result
        finally:
            with self._lock:
                del self._running[key]


@dataclass(eq=False, repr=False)
class _Here:
    process: int
    client: Any
    wrapping: Remembered[str, _Intermediate]
    unwrapping: Remembered[tuple[str, bytes], AESGCMSIV]
    calls: _Calls = field(default_factory=_Calls)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key_id: str) -> _Intermediate | None:
        """The intermediate key that wraps for *key_id*, one use counted, or None where a new one is needed."""
        with self.lock:
            found = self.wrapping.get(key_id)
            if found is None or found.uses >= MOST_USES:
                return None
            found.uses += 1
            return found


# --- requests and their errors ----------------------------------------------------------------------------------------

_ALTERED = "the record was altered, or {!r} is another key now than the one that it was wrapped by"

_UNUSABLE = {
    "NotFoundException": "AWS KMS has no such key there: correct its id or the region; if it was deleted, what it wraps "
    "cannot be read any more",
    "DisabledException": "it is disabled: enable it in AWS KMS",
    "KMSInvalidStateException": "it is to be deleted, or not ready: cancel its deletion and enable it",
    "AccessDeniedException": "these credentials may not use it: a policy has to allow kms:GenerateDataKey and kms:Decrypt",
    "IncorrectKeyException": "another key made what is to be unwrapped: if this is an alias, point it back at that key",
    "InvalidKeyUsageException": "it does not encrypt: a symmetric key for encryption is needed",
    "UnsupportedOperationException": "it does not encrypt so: a symmetric key for encryption is needed",
    "InvalidArnException": "AWS KMS takes that for no key's id: give a key id, an ARN or an alias",
    "ValidationException": "AWS KMS takes that for no key's id: give a key id, an ARN or an alias",
}
"""Answers that say that the key cannot be used, and what to do."""

_PASSING = frozenset(
    {
        *("ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"),
        *("LimitExceededException", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"),
    }
)

_NOT_ACCEPTED = frozenset(
    {
        *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch"),
        *("IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException"),
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "OptInRequired", "NotAuthorized"),
    }
)

_asking = contextvars.ContextVar("_asking", default=False)


def _ask(method: Callable[..., Any], key_id: str, **arguments: Any) -> Any:
    """KMS's answer, or one of our errors."""
    asking = _asking.set(True)
    try:
        return method(**arguments)
    except Exception as error:
        raise _explained(error, key_id) from error
    finally:
        _asking.reset(asking)


def _holds_no_key(_: logging.LogRecord) -> bool:
    """botocore logs the bodies of answers for debugging: KMS's hold keys."""
    return not _asking.get()


logging.getLogger("botocore.parsers").addFilter(_holds_no_key)


def _explained(error: Exception, key_id: str) -> ArtifactError:
    import botocore.exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, boto.ClientError):
        return _refused(error, key_id)
    if isinstance(error, boto.ParamValidationError):
        return KeyUnavailable(f"the key {key_id!r}: {_UNUSABLE['ValidationException']}", key_id=key_id)
    if isinstance(error, (boto.NoCredentialsError, boto.NoAuthTokenError)):
        return AccessDenied(
            "AWS KMS: no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or give a "
            "client of your own"
        )
    kind = type(error).__name__
    if isinstance(error, (boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.UnknownCredentialError)):
        return AccessDenied(f"AWS KMS: the credentials could not be had ({kind}): check the profile or the environment")
    if isinstance(error, (boto.TokenRetrievalError, boto.SSOError)):
        return AccessDenied(f"AWS KMS: the login has expired or is missing ({kind}): log in again (aws sso login)")
    if isinstance(error, boto.SSLError):
        return BackendError(
            f"AWS KMS: no secure connection ({kind}): if its certificate is your own, set AWS_CA_BUNDLE"
        )
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError, ResponseParserError, OSError)):
        return BackendUnavailable(
            f"AWS KMS cannot be reached or does not answer ({kind}): check the network and its endpoint"
        )
    return BackendError(f"AWS KMS: the request failed ({kind}: {str(error)[:300]})")


def _refused(error: Any, key_id: str) -> ArtifactError:
    """Our error for what KMS answered (the errors of GenerateDataKey and Decrypt in its API reference)."""
    about = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 400
    code = str(about.get("Code", ""))
    said = f"{code}: {str(about.get('Message') or '')[:300]}".rstrip(": ")
    if code == "InvalidCiphertextException":
        return IntegrityError(f"AWS KMS cannot decrypt a wrapped key: {_ALTERED.format(key_id)} ({said})")
    if code in _UNUSABLE:
        return KeyUnavailable(f"the key {key_id!r}: {_UNUSABLE[code]} ({said})", key_id=key_id)
    if code in _PASSING or status == 429 or status >= 500:
        return BackendUnavailable(f"AWS KMS fails, or asks for fewer requests: try again later ({status}, {said})")
    if code in _NOT_ACCEPTED or status in (401, 403):
        return AccessDenied(f"AWS KMS does not accept these credentials: check them, or get new ones ({said})")
    return BackendError(f"AWS KMS refused the request ({status}, {said})")
