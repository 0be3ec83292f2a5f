"""What went wrong on the way to an S3 store: which of our errors it is, whether trying again may help, what to do.

Everything that s3fs, botocore, aiobotocore, aiohttp and the sockets below raise comes through here. Of a server's answer
only its code and message are shown, of a connection's error only its kind: neither holds credentials.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
import botocore.exceptions as boto
from botocore.parsers import ResponseParserError

from artifactfs.errors import AccessDenied, ArtifactError, BackendError, BackendUnavailable, InvalidConfig, InvalidName


class Refusal(NamedTuple):
    """A server's answer that is an error. `code` is S3's, or the status as text where the answer had no body."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str]


def refusal(error: BaseException) -> Refusal | None:
    """The server's answer behind *error*, or None where the server did not answer.

    s3fs hides it behind whatever builtin it finds fitting, differently for each server: only the cause tells.
    """
    for found in (error, error.__cause__):
        if isinstance(found, boto.ClientError):
            about = found.response.get("Error", {})
            meta = found.response.get("ResponseMetadata", {})
            code = str(about.get("Code", ""))
            status = meta.get("HTTPStatusCode") or (int(code) if code.isdigit() else 400)
            return Refusal(status, code, str(about.get("Message") or "")[:300], meta.get("HTTPHeaders", {}))
    return None


PASSING = frozenset(
    {
        *("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded"),
        *("TooManyRequests", "BandwidthLimitExceeded", "InternalError", "RequestTimeout", "RequestTimeoutException"),
        *("ConditionalRequestConflict", "OperationAborted"),
    }
)
"""Codes that pass, whatever status they come with."""

LASTING = frozenset({"NotImplemented", "XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"})
"""Codes that do not, though their status may be a 5xx."""


def _connection_error(error: BaseException) -> BaseException:
    """aiobotocore wraps what aiohttp raised; that one says what it was."""
    inner = getattr(error, "kwargs", {}).get("error") if isinstance(error, boto.BotoCoreError) else None
    return inner if isinstance(inner, BaseException) else error


BROKEN = (
    *(boto.ConnectionClosedError, boto.ConnectTimeoutError, boto.ReadTimeoutError, boto.EndpointConnectionError),
    *(boto.ProxyConnectionError, boto.ResponseStreamingError, boto.IncompleteReadError, ResponseParserError),
    *(aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError, TimeoutError),
)


def transient(error: BaseException) -> bool:
    """May the same request succeed if it is sent again: throttling, a server's own failure, a broken connection."""
    answered = refusal(error)
    if answered is not None:
        return passes(answered)
    if isinstance(error, (boto.SSLError, aiohttp.ClientSSLError)):
        return False
    return isinstance(error, BROKEN) or (
        isinstance(error, boto.HTTPClientError) and isinstance(_connection_error(error), BROKEN)
    )


def passes(answered: Refusal) -> bool:
    """May the same request succeed after this answer to it?"""
    if answered.code in LASTING or answered.status in (501, 507):
        return False
    return answered.code in PASSING or answered.status == 429 or answered.status >= 500


def unsent(error: BaseException) -> bool:
    """Did this happen before any byte of the request was on its way, so that it cannot have taken effect?"""
    if refusal(error) is not None:
        return False
    # EndpointConnectionError alone says nothing: connections that broke in mid-request come as that, too.
    known = (boto.ConnectTimeoutError, boto.ProxyConnectionError, boto.SSLError, aiohttp.ClientConnectorError)
    if isinstance(error, known) or isinstance(
        _connection_error(error), (aiohttp.ClientConnectorError, socket.gaierror)
    ):
        return True
    return isinstance(error, boto.BotoCoreError) and not isinstance(error, (*BROKEN, boto.HTTPClientError))


DENIED = {
    "InvalidAccessKeyId": "the store does not know this access key id: check key=, AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret access key does not belong to the key id: check secret= or "
    "AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired: get new ones",
    "ExpiredTokenException": "the credentials have expired: get new ones",
    "TokenRefreshRequired": "the credentials have expired: get new ones",
    "RequestExpired": "the credentials have expired: get new ones",
    "InvalidToken": "the session token is not valid: check token= or AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "the clock of this machine and the store's differ by too much: set it right",
}
"""Answers that refuse who asks, and what to do."""

NOT_ALLOWED = (
    "these credentials may not do that: the policy has to allow s3:GetObject, s3:PutObject, s3:DeleteObject, "
    "s3:AbortMultipartUpload, s3:ListBucketMultipartUploads and s3:ListBucket there"
)

UNFIT_KEYS = frozenset(
    {
        *("KeyTooLongError", "KeyTooLong", "XMinioInvalidObjectName", "InvalidObjectName"),
        *("XMinioInvalidResourceName", "InvalidURI", "XMinioParentIsObject", "XMinioObjectExistsAsDirectory"),
    }
)
"""Answers that say that this store cannot hold such a key, though another could."""

FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"})

ELSEWHERE = frozenset(
    {
        *("PermanentRedirect", "TemporaryRedirect", "Redirect", "301", "307", "AuthorizationHeaderMalformed"),
        *("IllegalLocationConstraintException",),
    }
)


class Place(NamedTuple):
    """Where a request went, for its error's message."""

    store: str
    bucket: str
    endpoint: str
    operation: str
    key: str | None

    def says(self, what: str) -> str:
        there = f" of {self.key!r}" if self.key is not None else ""
        return f"{self.store}: {what} ({self.operation}{there})"


def explained(error: BaseException, place: Place) -> ArtifactError:
    """Our error for one that trying again would not help."""
    answered = refusal(error)
    return _unanswered(error, place) if answered is None else refused(answered, place)


def refused(answered: Refusal, place: Place) -> ArtifactError:
    """Our error for an answer that trying again would not change."""
    status, code, message, headers = answered
    said = f"{code}: {message}" if message else code
    if code == "NoSuchBucket":
        return BackendError(
            place.says(f"there is no bucket {place.bucket!r} at {place.endpoint}: create it, or correct the URL"),
            store=place.store,
        )
    if code in UNFIT_KEYS:
        return InvalidName(
            place.says(f"this store cannot hold a key of that length or form ({said})"), store=place.store
        )
    if code in ELSEWHERE or status in (301, 307):
        region = headers.get("x-amz-bucket-region")
        right = f"it is in region {region!r}: give region={region!r}" if region else "give its region= or endpoint_url="
        return BackendError(
            place.says(f"the bucket {place.bucket!r} is elsewhere, {right} ({said})"), store=place.store
        )
    if code in DENIED:
        return AccessDenied(place.says(f"{DENIED[code]} ({said})"), store=place.store)
    if status in (401, 403):
        return AccessDenied(place.says(f"{NOT_ALLOWED} ({said})"), store=place.store)
    if code in FULL or status == 507:
        return BackendError(place.says(f"the store is full ({said})"), store=place.store)
    if code == "400":
        said = "400 without an explanation: often expired credentials, or a wrong region"
    return BackendError(place.says(f"the store refused the request ({status}, {said})"), store=place.store)


def _unanswered(error: BaseException, place: Place) -> ArtifactError:
    """Our error for one that happened on this side, with no answer to blame."""
    if isinstance(error, (boto.NoCredentialsError, boto.NoAuthTokenError)):
        what = (
            "no credentials were found: give key= and secret=, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "give profile=, or anon=True for a public bucket"
        )
        return AccessDenied(place.says(what), store=place.store)
    if isinstance(error, (boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.UnknownCredentialError)):
        what = f"the credentials could not be had ({type(error).__name__}): check the profile or the environment"
        return AccessDenied(place.says(what), store=place.store)
    if isinstance(error, (boto.TokenRetrievalError, boto.SSOError)):
        what = f"the login has expired or is missing ({type(error).__name__}): log in again (aws sso login)"
        return AccessDenied(place.says(what), store=place.store)
    if isinstance(error, (boto.SSLError, aiohttp.ClientSSLError)):
        return no_secure_connection(place)
    if isinstance(
        error, (boto.ProfileNotFound, boto.ConfigParseError, boto.ParamValidationError, TypeError, ValueError)
    ):
        return InvalidConfig(
            place.says(f"a setting of the store cannot be used: {str(error)[:300]}"), store=place.store
        )
    return BackendError(
        place.says(f"the request failed ({type(error).__name__}: {str(error)[:300]})"), store=place.store
    )


def no_secure_connection(place: Place) -> BackendError:
    what = (
        f"no secure connection to {place.endpoint}: if its certificate is your own, name it with AWS_CA_BUNDLE or "
        "client_kwargs={'verify': path}; if the server speaks plain HTTP, write http:// in endpoint_url"
    )
    return BackendError(place.says(what), store=place.store)


def unavailable(error: BaseException, place: Place, *, tries: int, landed: bool) -> BackendUnavailable:
    """Our error for one that more tries or time might have overcome."""
    return gave_up(_kind(error, place), place, tries=tries, landed=landed)


def gave_up(what: str, place: Place, *, tries: int, landed: bool) -> BackendUnavailable:
    """Our error after so many tries, the last of which failed as *what* says."""
    lost = "; it may have taken effect all the same" if landed else ""
    times = f"{tries} tries" if tries > 1 else "one try"
    return BackendUnavailable(place.says(f"{what}, after {times}{lost}"), store=place.store, landed=landed)


def _kind(error: BaseException, place: Place) -> str:
    answered = refusal(error)
    if answered is not None:
        return kept_failing(answered)
    inner = _connection_error(error)
    if isinstance(inner, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return f"the name of {place.endpoint} is not known: check endpoint_url and the network"
    if isinstance(inner, aiohttp.ClientConnectorError):
        refused = "refused the connection" if inner.errno == errno.ECONNREFUSED else "cannot be reached"
        return f"{place.endpoint} {refused}: check that the server runs, endpoint_url and the network"
    if isinstance(error, boto.ConnectTimeoutError):
        return f"{place.endpoint} does not accept a connection in time: check endpoint_url and the network"
    if isinstance(error, boto.ProxyConnectionError):
        return "the HTTP proxy cannot be reached: check HTTPS_PROXY and HTTP_PROXY"
    if isinstance(error, (boto.ReadTimeoutError, TimeoutError)):
        return f"{place.endpoint} did not answer in time"
    if isinstance(error, ResponseParserError):
        return f"what {place.endpoint} answers is not S3's XML: check endpoint_url"
    return f"the connection to {place.endpoint} broke ({type(inner).__name__})"


def kept_failing(answered: Refusal) -> str:
    """An answer that another try might have changed, for a person."""
    if answered.code in ("SlowDown", "TooManyRequests", "Throttling") or answered.status == 429:
        return f"the store asks for fewer requests ({answered.code})"
    return f"the store kept failing ({answered.status}, {answered.code})"
