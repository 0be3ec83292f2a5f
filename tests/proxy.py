"""A TCP proxy in front of a storage server: sees every HTTP request at the wire, and can spoil what it is told to.

    with in_front_of(moto.url) as front:
        store = ArtifactStore(bucket, **moto.at(front.url).storage_options)
        lost = front.once(DROP, method="PUT", path="/0.metadata")
        store.scope("shop", "alice", "s1").save("notes.txt", b"first")
        assert lost.hits == 1
        assert [str(request) for request in front.requests] == [...]

Bytes pass unchanged, so signatures hold: servers accept the proxy's port in ``Host`` where the client signed it.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(eq=False)
class Request:
    """One request as it came over the wire.

    `path` is decoded and has no query; a query's values are decoded and joined by commas. `body_bytes` counts the body
    without the framing of chunks, and `answer_bytes` that of the answer; both grow while they pass. `status` is 0 until the
    server has answered.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body_bytes: int = 0
    answer_bytes: int = 0
    status: int = 0

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" if value else name for name, value in sorted(self.query.items()))
        return f"{self.method} {self.path}{'?' + query if query else ''}"


class Fault:
    """What happens to a request that is not to pass as it is."""


REFUSE = Fault()
"""The connection is closed before the server gets to see anything."""
DROP = Fault()
"""The server gets all of it and answers; the connection is closed without a byte of that answer."""
CUT = Fault()
"""The client gets the answer's head and the first half of its body; then the connection is closed."""
SLOW_DOWN = Fault()
"""The proxy answers 503 SlowDown by itself."""
CONFLICT = Fault()
"""The proxy answers 409 ConditionalRequestConflict by itself, as S3 does while another write of the key goes on."""


class Hold(Fault):
    """The proxy takes the whole request and keeps it until `release`; then it goes to the server, late.

    That happens also where the client has given up meanwhile. A proxy that ends lets go of what it holds, unsent.
    """

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._released = threading.Event()
        self._answered = threading.Event()
        self._ended = False

    def wait(self, seconds: float = 30) -> None:
        """Until the whole request is held."""
        if not self._arrived.wait(seconds):
            raise TimeoutError("the request that was to be held did not come")

    def release(self, seconds: float = 30) -> None:
        """Let it go to the server, and wait until that has answered."""
        self._released.set()
        if not self._answered.wait(seconds):
            raise TimeoutError("the server did not answer the request that was held")

    def _keep(self) -> bool:
        """Hold a request that is here now; whether it is to be sent then."""
        self._arrived.set()
        self._released.wait()
        return not self._ended

    def _end(self) -> None:
        self._ended = True
        self._released.set()


@dataclass(eq=False)
class Rule:
    """A fault for the requests that *applies* says; `hits` counts how often it struck."""

    fault: Fault
    applies: Callable[[Request], bool]
    hits: int = 0


@dataclass(eq=False)
class Proxy:
    """A proxy that runs. `requests` are all that came, in the order in which their heads came."""

    url: str
    requests: list[Request] = field(default_factory=list)
    _rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def when(self, fault: Fault, applies: Callable[[Request], bool]) -> Rule:
        """Let *fault* strike every request that *applies* says yes to, in the order in which rules were given."""
        rule = Rule(fault, applies)
        with self._lock:
            self._rules.append(rule)
        return rule

    def once(self, fault: Fault, *, method: str = "", path: str = "", nth: int = 0) -> Rule:
        """Let *fault* strike one request: the *nth* (from 0) of that method whose path *path* is found in, a regex."""
        seen = itertools.count()

        def applies(request: Request) -> bool:
            fits = method in ("", request.method) and re.search(path, request.path) is not None
            return fits and next(seen) == nth

        return self.when(fault, applies)

    def clear(self) -> None:
        """Forget the rules and what was seen; what is held is let go of, unsent."""
        with self._lock:
            for rule in self._rules:
                if isinstance(rule.fault, Hold):
                    rule.fault._end()
            self._rules.clear()
            self.requests.clear()

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """The requests that come while the block runs."""
        seen: list[Request] = []
        start = len(self.requests)
        try:
            yield seen
        finally:
            seen.extend(self.requests[start:])

    def _judge(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for rule in self._rules:
                if rule.applies(request):
                    rule.hits += 1
                    return rule.fault
            return None


@contextlib.contextmanager
def in_front_of(url: str) -> Iterator[Proxy]:
    """Run a proxy in front of the server at *url*, on a free port of 127.0.0.1."""
    target = urlsplit(url)
    upstream = (target.hostname or "127.0.0.1", target.port or 80)
    ends: set[socket.socket] = set()
    threads: list[threading.Thread] = []
    over = threading.Event()

    @contextlib.contextmanager
    def known(end: socket.socket) -> Iterator[_Wire]:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with end:
            ends.add(end)
            try:
                yield _Wire(end)
            finally:
                ends.discard(end)

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), known(connection) as client:
            goes_on = True
            while goes_on and not over.is_set():
                # One connection to the server for each request: none was closed by it while it was idle.
                with contextlib.ExitStack() as stack:
                    goes_on = _pass_one(
                        proxy,
                        client,
                        lambda stack=stack: stack.enter_context(known(socket.create_connection(upstream))),
                    )

    def accept() -> None:
        while not over.is_set():
            if select.select([listener], [], [], 0.05)[0]:
                thread = threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True)
                threads.append(thread)
                thread.start()

    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield proxy
        finally:
            over.set()
            acceptor.join()
            proxy.clear()
            for end in list(ends):
                # Closing alone would not wake a thread that waits for bytes.
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


# --- one request ------------------------------------------------------------------------------------------------------

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_OWN_ANSWERS = {
    SLOW_DOWN: (503, b"SlowDown", b"Please reduce your request rate."),
    CONFLICT: (409, b"ConditionalRequestConflict", b"A conflicting operation occurred."),
}


def _own_answer(status: int, code: bytes, message: bytes, *, body: bool) -> bytes:
    xml = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%b</Code><Message>%b</Message></Error>' % (
        code,
        message,
    )
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/xml\r\nConnection: close\r\n" % (status, code)
    return head + b"Content-Length: %d\r\n\r\n" % len(xml) + xml * body


class _Wire:
    """One end of a connection, read through a buffer."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.buffer = b""

    def some(self, most: int = 1 << 16) -> bytes:
        """At least one byte and at most *most*; EOFError at the end."""
        data = self.buffer or self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer = data[most:]
        return data[:most]

    def until(self, mark: bytes) -> bytes:
        """All up to and with *mark*."""
        data = b""
        while mark not in data:
            data += self.some()
        cut = data.index(mark) + len(mark)
        self.buffer = data[cut:] + self.buffer
        return data[:cut]

    def body(self, headers: dict[str, str], *, until_close: bool = False) -> Iterator[tuple[bytes, int]]:
        """Pieces of a body as they stand on the wire, each with the number of bytes of content in it."""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while True:
                line = self.until(b"\r\n")
                yield line, 0
                left = int(line.split(b";")[0], 16)
                if not left:
                    break
                yield from self._exactly(left)
                yield self.until(b"\r\n"), 0
            while (line := self.until(b"\r\n")) != b"\r\n":
                yield line, 0
            yield line, 0
        elif "content-length" in headers:
            yield from self._exactly(int(headers["content-length"]))
        elif until_close:
            with contextlib.suppress(EOFError):
                while True:
                    piece = self.some()
                    yield piece, len(piece)

    def _exactly(self, size: int) -> Iterator[tuple[bytes, int]]:
        while size:
            piece = self.some(size)
            size -= len(piece)
            yield piece, len(piece)


def _parse(head: bytes) -> tuple[list[str], dict[str, str]]:
    """The three words of a start line, and the headers with their names in lower case."""
    start, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return start.split(" ", 2), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _pass_one(proxy: Proxy, client: _Wire, connect: Callable[[], _Wire]) -> bool:
    """Pass one request and its answer; whether the client's connection goes on."""
    head = client.until(b"\r\n\r\n")
    (method, target, *_), headers = _parse(head)
    parts = urlsplit(target)
    query = {name: ",".join(values) for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    request = Request(method, unquote(parts.path), query, headers)
    fault = proxy._judge(request)
    expects = "100-continue" in headers.get("expect", "").lower()

    def take_body() -> bytes:
        taken = []
        for piece, size in client.body(headers):
            request.body_bytes += size
            taken.append(piece)
        return b"".join(taken)

    if fault is REFUSE:
        return False
    if (own := _OWN_ANSWERS.get(fault)) is not None:
        request.status = own[0]
        if not expects:
            take_body()
        client.socket.sendall(_own_answer(*own, body=method != "HEAD"))
        return False
    if isinstance(fault, Hold):
        if expects:
            client.socket.sendall(_CONTINUE)
        body = take_body()
        if not fault._keep():
            return False
        try:
            store = connect()
            store.socket.sendall(head + body)
            first, rest, goes_on = _answer(request, store)
            answer = first + b"".join(rest)
        finally:
            fault._answered.set()
        client.socket.sendall(answer)
        return goes_on

    store = connect()
    store.socket.sendall(head)
    # To a client that asks first, an answer that comes before the body is the final one: there will be no body.
    if not (expects and _answers_early(client, store)):
        for piece, size in client.body(headers):
            request.body_bytes += size
            store.socket.sendall(piece)
    first, rest, goes_on = _answer(request, store)
    if fault is DROP or fault is CUT:
        body = b"".join(rest)
        if fault is CUT:
            client.socket.sendall(first + body[: len(body) // 2] if body else first[: len(first) // 2])
        return False
    client.socket.sendall(first)
    for piece in rest:
        client.socket.sendall(piece)
    return goes_on and headers.get("connection", "").lower() != "close"


def _answers_early(client: _Wire, store: _Wire) -> bool:
    """Does the server answer for good before the client sends its body? A "go on" is passed to the client."""
    if client.buffer or store.socket not in select.select([client.socket, store.socket], [], [], 60)[0]:
        return False
    head = store.until(b"\r\n\r\n")
    if _parse(head)[0][1] == "100":
        client.socket.sendall(head)
        return False
    store.buffer = head + store.buffer
    return True


def _answer(request: Request, store: _Wire) -> tuple[bytes, Iterator[bytes], bool]:
    """The head of the final answer, the pieces of its body, and whether the connection goes on after it."""
    while True:
        head = store.until(b"\r\n\r\n")
        (version, status, *_), headers = _parse(head)
        if not status.startswith("1"):
            break
    request.status = int(status)
    if request.method == "HEAD" or status in ("204", "304"):
        headers_of_body: dict[str, str] = {"content-length": "0"}
    else:
        headers_of_body = headers
    has_end = "content-length" in headers_of_body or "transfer-encoding" in headers_of_body
    goes_on = has_end and version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"

    def rest() -> Iterator[bytes]:
        for piece, size in store.body(headers_of_body, until_close=True):
            request.answer_bytes += size
            yield piece

    return head, rest(), goes_on
