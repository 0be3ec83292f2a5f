"""What obstore's exceptions say: the server's answer, or how the connection failed.

Their types tell what a guarantee rests on, an object that is not there or one that is; their text holds the status, S3's
or Google's error code and the kind of a connection's failure, from which our errors are worded. Of an answer only its
code and message are shown, of a connection's failure only its kind: neither holds credentials.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from obstore import exceptions

_ANSWERED = re.compile(r"Server returned non-2xx status code: (\d{3})[^:\n]*:? ?(.*)", re.DOTALL)
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_REDIRECTED = "Received redirect without LOCATION"

_BY_TYPE: tuple[tuple[type[BaseException], int], ...] = (
    (FileNotFoundError, 404),
    (exceptions.PreconditionError, 412),
    (exceptions.PermissionDeniedError, 403),
    (exceptions.UnauthenticatedError, 401),
)


class Failure(NamedTuple):
    """Why a request did not succeed.

    Attributes:
        status: the server's, 0 where it did not answer, or where only `exists` is known of its answer.
        code: the store's own (``SlowDown``), or the status as text where the answer held none.
        message: what the answer says, at most 300 characters.
        region: where the answer says that the bucket is; else empty.
        broken: how the connection failed, in obstore's words (``Connect``, ``Timeout``, …); empty where it did not.
        exists: obstore took it for "already exists", and did not say by which status: 409 and 412 both come so.
        detail: obstore's own words, for what nothing above tells.
        debug: the rest of obstore's text: to look things up in, never to be shown.
    """

    status: int
    code: str = ""
    message: str = ""
    region: str = ""
    broken: str = ""
    exists: bool = False
    detail: str = ""
    debug: str = ""


class Failed(Exception):
    """A `Failure`, as the layer of retries wants it: raised."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code or failure.broken or failure.detail)
        self.failure = failure


def failure_of(error: BaseException) -> Failure:
    """What *error*, of obstore or of this side, says."""
    said, _, debug = str(error).partition("\n\nDebug source:\n")
    if answered := _ANSWERED.search(said):
        status, body = int(answered[1]), answered[2]
        code = _element("Code", body)
        # Details: where Google says who lacks what.
        message = " ".join(filter(None, (_element("Message", body), _element("Details", body))))
        return Failure(status, code or str(status), message[:300], _element("Region", body))
    if _REDIRECTED in said:
        return Failure(301, "301")
    if broken := _KIND.search(debug):
        return Failure(0, broken=broken[1], debug=debug)
    for kind, status in _BY_TYPE:
        if isinstance(error, kind):
            return Failure(status, str(status))
    exists = isinstance(error, exceptions.AlreadyExistsError)
    return Failure(0, exists=exists, detail=f"{type(error).__name__}: {said[:300]}", debug=debug)


def _element(name: str, body: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", body)
    return html.unescape(found[1]) if found else ""


def unsent(failure: Failure) -> bool:
    """Did this happen before any byte of the request was on its way, so that it cannot have taken effect?"""
    return failure.broken == "Connect"


def unclear(failure: Failure) -> bool:
    """Did obstore fail over something else than a refusal or a connection: an answer that lacks what it needs, a bug?"""
    panicked = failure.detail.startswith("RustPanic:")
    return (bool(failure.debug) or panicked) and not (failure.status or failure.broken)


def breaks(failure: Failure) -> bool:
    """Did the connection fail in a way that another try may overcome?"""
    return bool(failure.broken) and not insecure(failure)


def insecure(failure: Failure) -> bool:
    """Could no secure connection be made: an unknown certificate, or a server that speaks plain HTTP?"""
    return failure.broken == "Connect" and any(
        sign in failure.debug
        for sign in ("InvalidCertificate", "InvalidMessage", "InvalidContentType", "AlertReceived")
    )


def how_it_broke(failure: Failure, endpoint: str) -> str:
    """How a connection failed, for a person."""
    if failure.broken == "Connect":
        if "dns error" in failure.debug:
            return f"the name of {endpoint} is not known: check endpoint_url and the network"
        if "TimedOut" in failure.debug:
            return f"{endpoint} does not accept a connection in time: check endpoint_url and the network"
        refused = "refused the connection" if "ConnectionRefused" in failure.debug else "cannot be reached"
        return f"{endpoint} {refused}: check that the server runs, endpoint_url and the network"
    if failure.broken == "Timeout":
        return f"{endpoint} did not answer in time"
    return f"the connection to {endpoint} broke ({failure.broken})"
