"""An S3 server of a page or two whose conditional writes are not to be trusted, for tests of what recognises that.

    with serving("racy") as server:
        store = ArtifactStore(server.bucket(), **server.storage_options)

It keeps objects in memory, checks no signature, and knows what an artifact store asks for: objects with ranges and
conditions, listings, multi-delete, uploads in parts.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .servers import KEY, SECRET, Server

Mode = Literal["racy", "ignored", "refused"]
"""What becomes of a condition on a write or on the end of an upload in parts.

racy
    It is checked when the request's headers are there, and never again: of writers at the same time several succeed.
ignored
    It has no effect.
refused
    501 NotImplemented.
"""


@dataclass(frozen=True)
class _Object:
    data: bytes
    content_type: str
    modified: float = field(default_factory=time.time)

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'


@dataclass
class _Upload:
    bucket: str
    key: str
    content_type: str
    started: float = field(default_factory=time.time)
    parts: dict[int, bytes] = field(default_factory=dict)


class _Answer(Exception):
    """An error to answer with."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        self.status, self.code, self.detail = status, code, detail


class _Store(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, mode: Mode) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode = mode
        self.buckets: dict[str, dict[str, _Object]] = {}
        self.uploads: dict[str, _Upload] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what tests do; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serving(mode: Mode) -> Iterator[Server]:
    """Run such a server on a free port of 127.0.0.1."""
    with _Store(mode) as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield Server(mode, "s3", f"http://127.0.0.1:{store.server_port}", KEY, SECRET)
        finally:
            store.shutdown()
            thread.join()


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def _element(name: str, *content: str) -> str:
    return f"<{name}>{''.join(content)}</{name}>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Store

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.removeprefix("/").partition("/")
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.bucket, self.key, self.unread = unquote(bucket), unquote(key), True
        try:
            if not self.key and self.command == "PUT":
                self.server.buckets.setdefault(self.bucket, {})
                self._send(200)
                return
            if self.bucket not in self.server.buckets:
                raise _Answer(404, "NoSuchBucket")
            self.objects = self.server.buckets[self.bucket]
            told = next((word for word in ("uploads", "uploadId", "delete", "location") if word in self.query), "")
            place = "object" if self.key else "bucket"
            handle = getattr(self, f"_{self.command.lower()}_{place}{'_' * bool(told)}{told}", None)
            if handle is None or "x-amz-copy-source" in self.headers:
                raise _Answer(501, "NotImplemented")
            handle()
        except _Answer as answer:
            self._skip_body()
            body = _element("Error", _element("Code", answer.code), _element("Message", answer.code), answer.detail)
            self._send(answer.status, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def handle_expect_100(self) -> bool:
        """Nothing yet: a client that waits for it is told to go on when its conditions have been checked."""
        return True

    def _send(self, status: int, body: str | bytes = b"", **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        kind = {} if isinstance(body, bytes) else {"Content-Type": "application/xml"}
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | kind | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _expects(self) -> bool:
        return "100-continue" in self.headers.get("Expect", "").lower()

    def _skip_body(self) -> None:
        """What is left unread would be taken for the next request."""
        if self._expects():
            self.close_connection = True
        elif self.unread:
            self._body()

    def _body(self) -> bytes:
        self.unread = False
        if self._expects():
            self.send_response_only(100)
            self.end_headers()
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            return data
        whole, rest = b"", data
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.split(b";")[0], 16)
            if not length:
                break
            whole, rest = whole + rest[:length], rest[length + 2 :]
        return whole

    # --- objects

    def _conditions(self) -> None:
        """All that this server ever does about a condition, before it has read the body: see `Mode`."""
        absent, match = self.headers.get("If-None-Match"), self.headers.get("If-Match")
        if self.server.mode == "ignored" or (absent is None and match is None):
            return
        if self.server.mode == "refused":
            raise _Answer(501, "NotImplemented")
        here = self.objects.get(self.key)
        if absent is not None and here is not None:
            raise _Answer(412, "PreconditionFailed", _element("Condition", "If-None-Match"))
        if match is not None and here is None:
            raise _Answer(404, "NoSuchKey")
        if match is not None and here is not None and match.strip('"') != here.etag.strip('"'):
            raise _Answer(412, "PreconditionFailed", _element("Condition", "If-Match"))

    def _put_object(self) -> None:
        self._conditions()
        made = _Object(self._body(), self.headers.get("Content-Type") or "binary/octet-stream")
        self.objects[self.key] = made
        self._send(200, ETag=made.etag)

    def _get_object(self) -> None:
        here = self.objects.get(self.key)
        if here is None:
            raise _Answer(404, "NoSuchKey")
        about = {
            "ETag": here.etag,
            "Content_Type": here.content_type,
            "Last_Modified": formatdate(here.modified, usegmt=True),
        }
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, here.data, **about)
            return
        size = len(here.data)
        first, last = wanted.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= size:
            raise _Answer(416, "InvalidRange")
        self._send(206, here.data[start:end], Content_Range=f"bytes {start}-{end - 1}/{size}", **about)

    _head_object = _get_object

    def _delete_object(self) -> None:
        self.objects.pop(self.key, None)
        self._send(204)

    # --- uploads in parts

    def _post_object_uploads(self) -> None:
        token = uuid.uuid4().hex
        kind = self.headers.get("Content-Type") or "binary/octet-stream"
        self.server.uploads[token] = _Upload(self.bucket, self.key, kind)
        names = _element("Bucket", self.bucket), _element("Key", escape(self.key)), _element("UploadId", token)
        self._send(200, _element("InitiateMultipartUploadResult", *names))

    def _upload(self) -> _Upload:
        found = self.server.uploads.get(self.query["uploadId"])
        if found is None:
            raise _Answer(404, "NoSuchUpload")
        return found

    def _put_object_uploadId(self) -> None:
        data = self._body()
        self._upload().parts[int(self.query["partNumber"])] = data
        self._send(200, ETag=_Object(data, "").etag)

    def _post_object_uploadId(self) -> None:
        upload = self._upload()
        self._conditions()
        numbers = [int(found.text or 0) for found in ElementTree.fromstring(self._body()).iterfind(".//{*}PartNumber")]
        made = _Object(b"".join(upload.parts[number] for number in numbers), upload.content_type)
        self.objects[self.key] = made
        self.server.uploads.pop(self.query["uploadId"], None)
        names = _element("Bucket", self.bucket), _element("Key", escape(self.key)), _element("ETag", made.etag)
        self._send(200, _element("CompleteMultipartUploadResult", *names))

    def _delete_object_uploadId(self) -> None:
        self._upload()
        self.server.uploads.pop(self.query["uploadId"], None)
        self._send(204)

    def _get_bucket_uploads(self) -> None:
        open_uploads = [
            _element(
                "Upload",
                _element("Key", escape(upload.key)),
                _element("UploadId", token),
                _element("Initiated", _when(upload.started)),
            )
            for token, upload in sorted(self.server.uploads.items(), key=lambda pair: (pair[1].key, pair[0]))
            if upload.bucket == self.bucket and upload.key.startswith(self.query.get("prefix", ""))
        ]
        self._send(200, _element("ListMultipartUploadsResult", _element("IsTruncated", "false"), *open_uploads))

    # --- buckets

    def _head_bucket(self) -> None:
        self._send(200)

    def _get_bucket_location(self) -> None:
        self._send(200, "<LocationConstraint/>")

    def _post_bucket_delete(self) -> None:
        keys = [found.text or "" for found in ElementTree.fromstring(self._body()).iterfind(".//{*}Key")]
        for key in keys:
            self.objects.pop(key, None)
        gone = (_element("Deleted", _element("Key", escape(key))) for key in keys)
        self._send(200, _element("DeleteResult", *gone))

    def _get_bucket(self) -> None:
        """ListObjectsV2. A continuation token is the last key, or folder, of the page before."""
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        after = self.query.get("continuation-token") or self.query.get("start-after", "")
        most = int(self.query.get("max-keys", 1000))
        spelled = quote if self.query.get("encoding-type") == "url" else escape

        def shown(key: str) -> str:
            head, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            return prefix + head + found if found else key

        objects = dict(self.objects)
        names = [
            name
            for name, _ in itertools.groupby(
                map(shown, sorted((k for k in objects if k.startswith(prefix)), key=str.encode))
            )
            if name.encode() > after.encode()
        ]
        page = names[:most]
        entries = [
            _element(
                "Contents",
                _element("Key", spelled(name)),
                _element("LastModified", _when(objects[name].modified)),
                _element("ETag", escape(objects[name].etag)),
                _element("Size", str(len(objects[name].data))),
                _element("StorageClass", "STANDARD"),
            )
            for name in page
            if not (delimiter and name.removeprefix(prefix).endswith(delimiter))
        ]
        folders = [
            _element("CommonPrefixes", _element("Prefix", spelled(name)))
            for name in page
            if delimiter and name.removeprefix(prefix).endswith(delimiter)
        ]
        more = len(names) > most
        self._send(
            200,
            _element(
                "ListBucketResult",
                _element("Name", self.bucket),
                _element("Prefix", spelled(prefix)),
                _element("KeyCount", str(len(page))),
                _element("MaxKeys", str(most)),
                _element("EncodingType", "url") if spelled is quote else "",
                _element("IsTruncated", str(more).lower()),
                _element("NextContinuationToken", escape(page[-1])) if more else "",
                *entries,
                *folders,
            ),
        )
