"""A small server of Google Cloud Storage's JSON API as its documentation describes it, in memory, that can misbehave.

It does what fake-gcs-server does not: upload sessions tell how far they got, keep a part of a chunk whose connection
broke, and take bytes again that they have; pages count folders, and may be empty in the middle of a listing; credentials
are asked for. And it breaks connections, loses answers, and keeps preconditions badly, as a test tells it to.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

GRAIN = 256 * 1024


@dataclass
class Object:
    data: bytes
    content_type: str
    generation: int
    updated: float = field(default_factory=time.time)

    def resource(self, name: str) -> dict[str, str]:
        updated = datetime.fromtimestamp(self.updated, UTC).isoformat().replace("+00:00", "Z")
        return {"name": name, "size": str(len(self.data)), "updated": updated, "generation": str(self.generation)}


@dataclass
class Session:
    name: str
    content_type: str
    wanted: str | None
    data: bytearray = field(default_factory=bytearray)
    finished: dict[str, str] | None = None


@dataclass
class Cut:
    """Take so many bytes of a chunk, then close the connection."""

    after: int


@dataclass
class Drop:
    """Do it all, and close the connection instead of answering."""


@dataclass
class Short:
    """Take so many bytes of a chunk, and say so."""

    taken: int


@dataclass
class Status:
    """Answer this without doing anything."""

    status: int
    message: str = "as the test wants it"
    reason: str = "test"


@dataclass
class Nonsense:
    """Answer 200 with this body."""

    body: bytes


@dataclass
class Google:
    """A running server. *faults* strike the requests with a body, or all where *every*, one each; None is no fault."""

    url: str = ""
    buckets: dict[str, dict[str, Object]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    faults: list[Any] = field(default_factory=list)
    every: Any = None
    precondition: Literal["atomic", "racy", "ignored", "refused"] = "atomic"
    empty_pages: bool = False
    token: str = ""
    tokens_given: int = 0
    log: list[str] = field(default_factory=list)
    received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time() * 1e6)))

    def bucket(self, prefix: str = "prefix") -> str:
        name = f"bucket-{len(self.buckets)}"
        self.buckets[name] = {}
        return f"gs://{name}/{prefix}"


class Hang(Exception):
    """Close the connection now."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # else a burst of connections waits a second for its second try
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    google: Google

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.left = int(self.headers.get("Content-Length", 0))
        self.google.log.append(f"{self.command} {unquote(parts.path)}")
        try:
            self._route(parts.path)
            self.rfile.read(self.left)
        except Hang:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _body(self, most: int | None = None) -> bytes:
        data = self.rfile.read(self.left if most is None else min(most, self.left))
        self.left -= len(data)
        self.google.received += len(data)
        return data

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self._body()
        if isinstance(self.fault, Drop):
            raise Hang
        self.send_response(status)
        for name, value in {"X-GUploader-UploadID": "ABg5-U", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json; charset=UTF-8"})

    def _error(self, status: int, message: str, reason: str = "test") -> None:
        errors = [{"message": message, "domain": "global", "reason": reason}]
        self._answer(status, json.dumps({"error": {"code": status, "message": message, "errors": errors}}).encode())

    def _route(self, path: str) -> None:
        google = self.google
        self.fault = google.every
        if path == "/token":
            google.tokens_given += 1
            if isinstance(self.fault, Status):
                return self._answer(400, b'{"error": "invalid_grant"}')
            google.token = f"secret-token-{google.tokens_given}"
            return self._json({"access_token": google.token, "expires_in": 3600, "token_type": "Bearer"})
        if self.left and google.faults:
            self.fault = google.faults.pop(0)
        if isinstance(self.fault, Status):
            return self._error(self.fault.status, self.fault.message, self.fault.reason)
        if isinstance(self.fault, Nonsense):
            return self._answer(200, self.fault.body)
        if google.token and self.headers.get("Authorization") != f"Bearer {google.token}":
            return self._error(401, "Invalid Credentials", "authError")
        if path.startswith("/session/"):
            return self._session(path)
        return self._serve(path)

    def _serve(self, path: str) -> None:
        google = self.google
        match = re.fullmatch(r"(/upload|/download|)/storage/v1/b/([^/]+)/o(?:/([^/]+))?", path)
        assert match is not None, path
        kind, bucket, name = match[1], unquote(match[2]), unquote(match[3] or "")
        if bucket not in google.buckets:
            return self._error(404, "The specified bucket does not exist.", "notFound")
        self.objects = google.buckets[bucket]
        if kind == "/upload":
            return self._upload(bucket)
        if not name:
            return self._list()
        with google.lock:
            there = self.objects.get(name)
            if self.command == "DELETE":
                self.objects.pop(name, None)
        if there is None:
            return self._error(404, f"No such object: {bucket}/{name}", "notFound")
        if self.command == "DELETE":
            return self._answer(204)
        return self._download(there) if kind else self._json(there.resource(name))

    # writes

    def _holds(self, name: str, wanted: str | None) -> bool:
        there = self.objects.get(name)
        return wanted is None or wanted == str(0 if there is None else there.generation)

    def _store(
        self, name: str, data: bytes, content_type: str, wanted: str | None, checked: bool
    ) -> dict[str, str] | None:
        with self.google.lock:
            if not checked and not self._holds(name, wanted):
                return None
            self.objects[name] = Object(data, content_type, next(self.google.generations))
            return self.objects[name].resource(name)

    def _stored(self, resource: dict[str, str] | None) -> None:
        if resource is None:
            return self._error(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")
        return self._json(resource)

    def _checked(self, name: str, wanted: str | None) -> bool | None:
        """Whether the precondition needs no look any more; None where it failed already."""
        if self.google.precondition == "ignored":
            return True
        if self.google.precondition == "racy":
            return True if self._holds(name, wanted) else None
        return False

    def _upload(self, bucket: str) -> None:
        wanted = self.query.get("ifGenerationMatch")
        if wanted is not None and self.google.precondition == "refused":
            return self._error(501, "A header you provided implies functionality that is not implemented")
        if self.query["uploadType"] == "resumable":
            resource = json.loads(self._body())
            number = f"/session/{bucket}/{next(self.google.generations)}"  # never one that was another's
            self.google.sessions[number] = Session(resource["name"], resource["contentType"], wanted)
            return self._answer(200, b"", {"Location": self.google.url + number})
        boundary = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
        head = b""
        while not re.search(rb'"name": "[^\n]*\n', head):  # the resource comes first
            head += self.rfile.readline()
        self.left -= len(head)
        name = json.loads(head[head.index(b"{") :])["name"]
        checked = self._checked(name, wanted)
        if checked is None:
            return self._error(412, "conditionNotMet")
        body = head + self._body()
        # As RFC 2046 says: a line that begins with the boundary ends a part, and after its "--" there is nothing more.
        _, resource_part, media = body.split(b"--" + boundary)[:3]
        inside = media.partition(b"\r\n\r\n")
        content_type = inside[0].decode().partition("Content-Type: ")[2].strip()
        assert json.loads(resource_part.partition(b"\r\n\r\n")[2])["contentType"] == content_type
        return self._stored(self._store(name, inside[2][:-2], content_type, wanted, checked))

    def _session(self, path: str) -> None:
        session = self.google.sessions.get(path)
        if session is None:
            return self._error(410, "Gone", "gone")
        if session.finished is not None:
            return self._json(session.finished)
        self.objects = self.google.buckets[path.split("/")[2]]
        if self.command == "DELETE":
            del self.google.sessions[path]
            return self._answer(499)
        span, total = re.fullmatch(r"bytes (\*|\d+-\d+)/(\*|\d+)", self.headers["Content-Range"]).groups()  # type: ignore[union-attr]
        checked = self._checked(session.name, session.wanted) if total != "*" else False
        if span != "*":
            start = int(span.split("-")[0])
            if start > len(session.data):
                return self._error(503, "Invalid request: there is a gap")
            most = getattr(self.fault, "after", getattr(self.fault, "taken", None))
            chunk = self._body(most)
            kept = len(session.data) - start
            session.data += chunk[kept:]
            if total == "*" or most is not None:
                del session.data[len(session.data) // GRAIN * GRAIN :]
            if isinstance(self.fault, Cut):
                raise Hang
        if total == "*" or len(session.data) < int(total):
            taken = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            return self._answer(308, b"", taken)
        if checked is None:
            del self.google.sessions[path]
            return self._error(412, "conditionNotMet")
        session.finished = self._store(session.name, bytes(session.data), session.content_type, session.wanted, checked)
        if session.finished is None:
            del self.google.sessions[path]
        return self._stored(session.finished)

    # reads

    def _download(self, there: Object) -> None:
        headers = {
            "X-Goog-Generation": str(there.generation),
            "X-Goog-Stored-Content-Length": str(len(there.data)),
            "Last-Modified": formatdate(there.updated, usegmt=True),
            "Content-Type": there.content_type,
        }
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            return self._answer(200, there.data, headers)
        start, end = int(match[1]), int(match[2] or len(there.data)) + 1
        if start >= len(there.data):
            return self._answer(416, b"<Error><Code>InvalidRange</Code></Error>")  # nothing is said of the object
        data = there.data[start:end]
        headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{len(there.data)}"
        return self._answer(206, data, headers)

    def _list(self) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter")
        start, most = self.query.get("startOffset", ""), int(self.query.get("maxResults", 1000))
        with self.google.lock:
            objects = sorted(self.objects.items(), key=lambda item: item[0].encode())
        if self.google.empty_pages and "pageToken" not in self.query:
            return self._json({"nextPageToken": "go on"})
        rows: dict[str, Any] = {}
        for name, there in objects:
            if name.startswith(prefix) and name.encode() >= start.encode():
                folder, slash, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                rows.setdefault(prefix + folder + slash if slash else name, None if slash else there.resource(name))
        shown = list(rows.items())[:most]
        page: dict[str, Any] = {"kind": "storage#objects"}
        if items := [resource for _, resource in shown if resource is not None]:
            page["items"] = items
        if prefixes := [name for name, resource in shown if resource is None]:
            page["prefixes"] = prefixes
        if len(rows) > most:
            page["nextPageToken"] = "go on"
        return self._json(page)


G = TypeVar("G", bound=Google)


@contextlib.contextmanager
def start(google: G, kind: type[Handler] = Handler) -> Iterator[G]:
    """Run the server on a free port of 127.0.0.1."""
    server = _Server(("127.0.0.1", 0), type("Running", (kind,), {"google": google}))
    google.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
