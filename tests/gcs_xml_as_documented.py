"""Google Cloud Storage's XML interface as its documentation describes it, beside the JSON one, over the same objects.

Objects are written, read and removed by ``PUT``, ``GET`` and ``DELETE`` of ``/bucket/name``:
https://cloud.google.com/storage/docs/xml-api/reference-headers and …/put-object-upload, …/get-object-download,
…/delete-object. Whatever a client sends beside that (a listing, an upload in parts, a header that is not known here) is
answered with 400, so that no test passes by something that was never described. Faults are those of the JSON server; the
precondition of either interface can be kept badly by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal
from urllib.parse import unquote
from xml.sax.saxutils import escape

from . import gcs_as_documented as documented
from .gcs_as_documented import Google, Handler, Object

CODES = {
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    416: "InvalidRange",
    429: "SlowDown",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}

KNOWN = {
    "PUT": {"content-length", "content-type", "cache-control", "x-goog-if-generation-match", "transfer-encoding"},
    "GET": {"range"},
    "DELETE": set[str](),
}
"""Request headers by method, beside those of every request."""

EVERYWHERE = {"host", "accept", "accept-encoding", "authorization", "user-agent", "x-goog-user-project", "connection"}


@dataclass
class GoogleXML(Google):
    """A running server of both interfaces. `xml_precondition` says what becomes of ``x-goog-if-generation-match``."""

    xml_precondition: Literal["atomic", "racy", "ignored", "refused"] = "atomic"
    payers: list[str] = field(default_factory=list)


class XMLHandler(Handler):
    google: GoogleXML

    def _is_xml(self) -> bool:
        return re.match(r"/(token$|session/|storage/|upload/|download/)", self.path) is None

    def _error(self, status: int, message: str, reason: str = "test") -> None:
        if not self._is_xml():
            return super()._error(status, message, reason)
        code = reason if status == 404 else CODES.get(status, "Error")
        head = '<?xml version="1.0" encoding="UTF-8"?>'
        said = f"<Message>{escape(message)}</Message>"
        if status == 403:
            said = f"<Message>Access denied.</Message><Details>{escape(message)}</Details>"
        body = f"{head}<Error><Code>{code}</Code>{said}</Error>"
        return self._answer(status, body.encode(), {"Content-Type": "application/xml; charset=UTF-8"})

    def _serve(self, path: str) -> None:
        if not self._is_xml():
            return super()._serve(path)
        self.google.payers.append(self.headers.get("x-goog-user-project", ""))
        bucket, _, name = (unquote(part) for part in path[1:].partition("/"))
        sent = {header.lower() for header in self.headers}
        if self.query or not name or "//" in path or not sent <= EVERYWHERE | KNOWN.get(self.command, set()):
            return self._error(400, "Invalid argument.")
        if bucket not in self.google.buckets:
            return self._error(404, "The specified bucket does not exist.", "NoSuchBucket")
        self.objects = self.google.buckets[bucket]
        if self.command == "PUT":
            return self._put(name)
        with self.google.lock:
            there = self.objects.get(name)
            if self.command == "DELETE":
                self.objects.pop(name, None)
        if there is None:
            return self._error(404, "The specified key does not exist.", "NoSuchKey")
        return self._answer(204) if self.command == "DELETE" else self._whole_or_range(there)

    def _put(self, name: str) -> None:
        wanted = self.headers.get("x-goog-if-generation-match")
        if "Content-Length" not in self.headers:
            return self._error(411, "You must provide the Content-Length HTTP header.")
        if wanted is not None:
            if self.google.xml_precondition == "refused":
                return self._error(501, "A header you provided implies functionality that is not implemented.")
            if re.fullmatch(r"0|[1-9]\d{0,18}", wanted) is None:
                return self._error(400, "Invalid argument.")
        if self.google.xml_precondition == "ignored":
            wanted = None
        early = self.google.xml_precondition == "racy"
        if early and not self._holds(name, wanted):
            return self._unmet()
        data = self._body()
        with self.google.lock:
            if not early and not self._holds(name, wanted):
                return self._unmet()
            made = Object(data, self.headers.get("Content-Type", ""), next(self.google.generations))
            self.objects[name] = made
        return self._answer(200, b"", _headers(made))

    def _unmet(self) -> None:
        self._error(412, "At least one of the pre-conditions you specified did not hold.")

    def _whole_or_range(self, there: Object) -> None:
        headers = {
            **_headers(there),
            "Last-Modified": formatdate(there.updated, usegmt=True),
            "Content-Type": there.content_type,
        }
        asked = self.headers.get("Range")
        if asked is None:
            return self._answer(200, there.data, headers)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        if match is None:
            return self._error(400, "Invalid argument.")
        start, end = int(match[1]), int(match[2] or len(there.data)) + 1
        if start >= len(there.data):
            return self._error(416, "The requested range cannot be satisfied.")
        data = there.data[start:end]
        headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{len(there.data)}"
        return self._answer(206, data, headers)


def _headers(there: Object) -> dict[str, str]:
    return {
        "ETag": f'"{hashlib.md5(there.data, usedforsecurity=False).hexdigest()}"',
        "x-goog-generation": str(there.generation),
        "x-goog-metageneration": "1",
        "x-goog-stored-content-length": str(len(there.data)),
    }


@contextlib.contextmanager
def start() -> Iterator[GoogleXML]:
    """Run the server on a free port of 127.0.0.1."""
    with documented.start(GoogleXML(), XMLHandler) as google:
        yield google
