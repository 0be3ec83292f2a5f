"""What went wrong with a request to Google Cloud Storage: whether to try it again, and how to say it to a person."""

from __future__ import annotations

import json
import re
from typing import NoReturn

import aiohttp

from artifactfs.backends.retry import GaveUp
from artifactfs.errors import AccessDenied, ArtifactError, BackendError, BackendUnavailable, InvalidConfig

SIGN_IN = (
    "set GOOGLE_APPLICATION_CREDENTIALS to a key file, run `gcloud auth application-default login`, "
    "or give gcsfs's option `token`"
)


class Unanswered(Exception):
    """A request that got no answer, as a client other than aiohttp tells it.

    Attributes:
        why: ``host`` (it has no address), ``trust`` (of its certificate), ``connect``, ``timeout``, ``broken``, or
            ``answer`` for one that is not as Google's.
    """

    def __init__(self, why: str, message: str) -> None:
        self.why = why
        super().__init__(message)


class Refused(Exception):
    """An answer other than those that the request was sent for.

    Attributes:
        status: of HTTP.
        message: what the server said, on one line.
        reason: Google's own word for it (``rateLimitExceeded``), or "".
    """

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.message, self.reason = _said(body)
        super().__init__(f"HTTP {status}: {self.message}")


def _said(body: bytes) -> tuple[str, str]:
    text, reason = body.decode("utf-8", "replace"), ""
    try:
        error = json.loads(text)["error"]
        text = error if isinstance(error, str) else str(error["message"])
        reason = str(error["errors"][0]["reason"])
    except (ValueError, LookupError, TypeError):
        text = re.sub(r"<[^>]*>", " ", text)  # XML or HTML, from a proxy or for a download
    return " ".join(text.split())[:300], reason


def no_bucket(message: str) -> bool:
    """Whether the text of a 404 says that the bucket, not the object, is missing."""
    return "bucket" in message and "does not exist" in message


def _failing(status: int) -> bool:
    return status >= 500 and status not in {501, 505}  # those: it never will


def transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, Refused):
        throttled = error.status == 403 and error.reason in {"rateLimitExceeded", "userRateLimitExceeded"}
        return throttled or error.status in {408, 409, 429} or _failing(error.status)
    if isinstance(error, Unanswered):
        return error.why not in {"trust", "answer"}
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL):
        return False
    if isinstance(error, aiohttp.ClientError | TimeoutError | ConnectionError):
        return True
    return bool(getattr(error, "retryable", False)) or type(error).__name__ == "TransportError"  # of google.auth


def unsent(error: BaseException) -> bool:
    """Whether it is certain that a request which ended so had no effect."""
    if isinstance(error, Refused):
        return not _failing(error.status) and error.status != 408
    if isinstance(error, Unanswered):
        return error.why in {"host", "trust", "connect"}
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return True
    return not isinstance(error, aiohttp.ClientError | OSError)  # credentials, which come first


def explain(gave_up: GaveUp, *, store: str, endpoint: str, bucket: str, doing: str, writes: bool) -> ArtifactError:
    """The error to raise for a request that failed: `BackendUnavailable` wherever any of its tries may have landed.

    Args:
        store: the store's URL.
        doing: what was tried, as in "write 'a/b'".
        writes: whether the request changes anything, so that a lost answer matters.
    """
    landed = writes and not all(unsent(each) for each in gave_up.failures)
    tries = len(gave_up.failures)
    return meaning(gave_up.last, store=store, endpoint=endpoint, bucket=bucket, doing=doing, tries=tries, landed=landed)


def meaning(
    error: BaseException, *, store: str, endpoint: str, bucket: str, doing: str, tries: int, landed: bool
) -> ArtifactError:
    """The error to raise for a request that ended with *error*, after so many tries of which one may have *landed*."""
    tried = "" if tries == 1 else f" (tried {tries} times)"
    what = f"{store}: cannot {doing}{tried}: "
    if isinstance(error, Refused):
        meant = _refused(error, what, store, endpoint, bucket, landed)
    else:
        meant = _unanswered(error, what, store, endpoint, landed)
    if landed and not isinstance(meant, BackendUnavailable):
        return BackendUnavailable(f"{meant}; an earlier try may have taken effect", store=store, landed=True)
    return meant


def _refused(error: Refused, what: str, store: str, endpoint: str, bucket: str, landed: bool) -> ArtifactError:
    said = f"HTTP {error.status}, {error.message!r}" if error.message else f"HTTP {error.status}"
    if transient(error):
        if error.status in {403, 429}:
            advice = (
                "Google is throttling; send fewer requests at a time, or give the store more tries or a longer deadline"
            )
        else:
            advice = "the service is failing; try again later"
        return BackendUnavailable(f"{what}{advice} ({said})", store=store, landed=landed)
    if error.status == 401:
        return AccessDenied(f"{what}the credentials are missing, wrong or expired ({said}); {SIGN_IN}", store=store)
    if error.status == 403:
        advice = f"this identity lacks the permission on bucket {bucket!r}; grant it Storage Object Admin there"
        return AccessDenied(f"{what}{advice} ({said})", store=store)
    if error.status == 404:
        return BackendError(
            f"{what}there is no bucket {bucket!r} at {endpoint}; create it, or correct the URL", store=store
        )
    if error.status == 400 and "requester pays" in error.message.lower():
        return BackendError(
            f"{what}the bucket is requester pays; give gcsfs's option `requester_pays=True`", store=store
        )
    return BackendError(f"{what}the service refused the request ({said})", store=store)


def _unanswered(error: BaseException, what: str, store: str, endpoint: str, landed: bool) -> ArtifactError:
    kind = str(error) if isinstance(error, Unanswered) else type(error).__name__
    why = _why(error)
    if why == "trust":
        return BackendError(
            f"{what}no trusted TLS connection to {endpoint} ({kind}); check its certificate", store=store
        )
    if why == "answer":
        return BackendError(
            f"{what}{endpoint} does not answer as Google Cloud Storage does ({error}); check endpoint_url", store=store
        )
    if why == "host":
        advice = f"the host of {endpoint} has no address; check endpoint_url and the network"
    elif why == "connect":
        said = getattr(error, "strerror", None) or kind
        advice = f"no connection to {endpoint} ({said}); check endpoint_url, and that the service runs"
    elif why == "timeout":
        advice = f"{endpoint} did not answer in time; try again, or give the store a longer deadline"
    elif isinstance(error, aiohttp.InvalidURL):
        return InvalidConfig(f"{what}{endpoint!r} is no URL; correct endpoint_url", store=store)
    elif why == "broken" or isinstance(error, aiohttp.ClientError | OSError) or transient(error):
        advice = f"the connection to {endpoint} broke ({kind}); try again"
    elif type(error).__module__.startswith("google.auth."):
        return AccessDenied(f"{what}the credentials could not be renewed ({kind}); {SIGN_IN}", store=store)
    else:
        return BackendError(f"{what}the request could not be made ({kind})", store=store)
    return BackendUnavailable(what + advice, store=store, landed=landed)


def _why(error: BaseException) -> str:
    """As `Unanswered.why`, or "" for what none of those fits."""
    if isinstance(error, Unanswered):
        return error.why
    if isinstance(error, aiohttp.ClientSSLError):
        return "trust"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "host"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    return "timeout" if isinstance(error, TimeoutError) else ""


def refuse_options(error: Exception, store: str, token: object) -> NoReturn:
    """Raise what a failed construction of gcsfs's filesystem means.

    gcsfs checks a raw token by putting it into a URL, which the errors of the HTTP library quote: then the cause is
    left out, so that no traceback shows the token.
    """
    cause = None if isinstance(token, str) and token in str(error) else error
    if isinstance(error, ImportError):
        raise InvalidConfig(f"{store}: needs gcsfs; pip install 'artifactfs[gcs]'", store=store) from cause
    if isinstance(error, OSError) and ("Connection" in type(error).__name__ or "Timeout" in type(error).__name__):
        raise BackendUnavailable(
            f"{store}: no credentials, Google could not be reached; try again", store=store
        ) from cause
    raise AccessDenied(f"{store}: no usable credentials ({type(error).__name__}); {SIGN_IN}", store=store) from cause
