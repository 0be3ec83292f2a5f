"""Following a pointer: what is fetched is what the record expects, and comes from nowhere that only we can reach.

127.0.0.2 plays the public internet, by a guard that takes it for public; everything else on loopback is what it is. Servers
count the connections that they accept: where something is refused, none was made.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import ipaddress
import itertools
import pickle
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from fsspec.registry import _registry

from artifactfs import following, guarded_http
from artifactfs.errors import (
    AccessDenied,
    BackendError,
    BackendUnavailable,
    IntegrityError,
    InvalidConfig,
    PayloadTooLarge,
    PointerNotManaged,
)
from artifactfs.following import Follow, fetch
from artifactfs.guarded_http import MAX_REDIRECTS, is_public
from artifactfs.records import Pointer

from .servers import Server, free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of Linux's loopback alone")

CONTENT = b"genuine content " * 1000
WEB = ("https", "http")
LABEL = "version 3 of 'paper.pdf' in shop/alice/s1"
SECRET = "hunter2"


def pointer(uri: str, **expected: Any) -> Pointer:
    return Pointer(
        filename="paper.pdf",
        mime_type="application/pdf",
        version=3,
        size_bytes=None,
        timestamp=datetime(2026, 11, 21, tzinfo=UTC),
        write_id="0" * 32,
        uri=uri,
        **expected,
    )


def got(uri: str, follow: Follow | None = None, schemes: tuple[str, ...] = WEB, **expected: Any) -> bytes:
    with fetch(pointer(uri, **expected), follow or Follow(), schemes, LABEL) as file:
        return file.read()


# --- servers ----------------------------------------------------------------------------------------------------------

Reply = Callable[[BaseHTTPRequestHandler], None]


class Web(ThreadingHTTPServer):
    """An HTTP server that counts connections and keeps the headers of requests; `replies` by path, else `CONTENT`."""

    daemon_threads = True

    def __init__(self, host: str, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        super().__init__((host, port), Handler)
        self.connections = 0
        self.requests: list[Any] = []
        self.paths: list[str] = []
        self.replies: dict[str, Reply] = {}
        self.over = threading.Event()
        self.port: int = self.server_address[1]
        self.url = f"http{'s' if context else ''}://{host}:{self.port}"
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def get_request(self) -> Any:
        accepted = super().get_request()
        self.connections += 1
        return accepted

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what many of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.requests.append(self.headers)
        self.server.paths.append(self.path)
        self.server.replies.get(self.path.partition("?")[0], content(CONTENT))(self)

    def log_message(self, *_: Any) -> None:
        pass


def content(data: bytes, length: bool = True, **headers: str) -> Reply:
    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if length:
            request.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(data)

    return reply


def redirect(location: str | None, status: int = 302) -> Reply:
    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        if location is not None:
            request.send_header("Location", location)
        request.end_headers()

    return reply


@contextmanager
def serving(*servers: Web) -> Iterator[None]:
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.over.set()
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def inside() -> Iterator[Web]:
    """What must not be reached: a server on 127.0.0.1."""
    server = Web("127.0.0.1")
    with serving(server):
        yield server


@pytest.fixture
def outside(inside: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """What may be: a server on the same port of 127.0.0.2, which counts as public."""
    monkeypatch.setattr(guarded_http, "is_public", lambda address: address == "127.0.0.2" or is_public(address))
    server = Web("127.0.0.2", inside.port)
    with serving(server):
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.2 and secure.example that nobody else trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "secure.example")])
    now = datetime.now(UTC)
    names = [x509.DNSName("secure.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def secure(outside: Web, certificate: Path) -> Iterator[Web]:
    """A server on 127.0.0.2 that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Web("127.0.0.2", context=context)
    with serving(server):
        yield server


@pytest.fixture
def trusting(certificate: Path) -> Follow:
    return Follow(options={"https": {"ssl": ssl.create_default_context(cafile=str(certificate))}})


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Iterator[list[str]]]:
    """Names that resolve to what a test says: for each, the addresses of one look-up after the other."""
    known: dict[str, Iterator[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host not in known:
            return real(host, port, *rest, **options)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(known[host])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


# --- addresses --------------------------------------------------------------------------------------------------------

INWARD = [
    *("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1"),
    *("100.100.100.200", "100.127.255.255", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255"),
    *("192.168.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("168.63.129.16", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1", "100::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "4000::1"),
]
OUTWARD = [
    *(
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "223.255.255.1",
    ),
    *(
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2a00::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ),
]
NO_ADDRESSES = [
    "",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1 ",
    "8.8.8.8/32",
    "08.8.8.8",
]


@pytest.mark.parametrize("address", [*INWARD, *NO_ADDRESSES])
def test_an_address_of_our_own_and_what_is_none_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTWARD)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


HOSTS = [
    *(
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
    ),
    *("0", "0.0.0.0", "localhost", "LOCALHOST", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::127.0.0.1]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254"),
    *("[::ffff:a9fe:a9fe]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[fd00::1]", "[fd00:ec2::254]"),
    *("[fe80::1]", "[ff02::1]", "224.0.0.1", "127.0.0.2"),
]


@pytest.mark.parametrize("scheme", WEB)
@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_an_address_of_our_own_is_connected_to(
    host: str, scheme: str, inside: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(guarded_http, "socket", SimpleNamespace(socket=lambda *of: made.append(of)))
    with pytest.raises(AccessDenied, match=f"{LABEL} points to .*(follow=Follow|usual form)"):
        got(f"{scheme}://{host}:{inside.port}/")
    assert (made, inside.connections) == ([], 0)


@pytest.mark.parametrize(
    "host", ["localhost.", "127%2e0.0.1", "127。0。0。1".encode("idna").decode(), "a" * 64 + ".example", "a..b"]
)
def test_no_trick_with_the_spelling_of_a_name_leads_inside(host: str, inside: Web) -> None:
    with pytest.raises((AccessDenied, BackendError)):
        got(f"http://{host}:{inside.port}/")
    assert inside.connections == 0


@pytest.mark.parametrize("scheme", WEB)
@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254", "10.0.0.1"]],
    ids=" ".join,
)
def test_no_name_of_an_address_of_our_own_is_connected_to(
    scheme: str, addresses: list[str], inside: Web, names: dict[str, Iterator[list[str]]]
) -> None:
    names["innocent.example"] = itertools.repeat(addresses)
    with pytest.raises(AccessDenied, match=r"leads to the address .*, which is not of the public internet"):
        got(f"{scheme}://innocent.example:{inside.port}/")
    assert inside.connections == 0


def test_of_the_addresses_of_a_name_only_the_public_ones_are_connected_to(
    inside: Web, outside: Web, names: dict[str, Iterator[list[str]]]
) -> None:
    names["both.example"] = itertools.repeat(["127.0.0.1", "127.0.0.2"])
    assert got(f"http://both.example:{outside.port}/") == CONTENT
    assert (inside.connections, outside.connections) == (0, 1)


def test_a_name_that_leads_inside_when_it_is_looked_up_again_is_refused_then(
    inside: Web, outside: Web, names: dict[str, Iterator[list[str]]]
) -> None:
    names["rebinding.example"] = iter([["127.0.0.2"], ["127.0.0.1"]])
    outside.replies["/"] = redirect("/again")
    with pytest.raises(AccessDenied, match=r"leads to the address 127\.0\.0\.1"):
        got(f"http://rebinding.example:{outside.port}/")
    assert (inside.connections, outside.connections) == (0, 1)


def test_every_look_up_is_the_one_that_is_connected_to(
    inside: Web, outside: Web, names: dict[str, Iterator[list[str]]]
) -> None:
    names["rebinding.example"] = iter([["127.0.0.2"], ["127.0.0.1"]])
    assert got(f"http://rebinding.example:{outside.port}/") == CONTENT
    with pytest.raises(AccessDenied):
        got(f"http://rebinding.example:{outside.port}/")
    assert (inside.connections, outside.connections) == (0, 1)


def test_a_guard_that_looks_at_names_only_would_be_found(
    inside: Web, outside: Web, names: dict[str, Iterator[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: it judges what the URI says, and lets connect to whatever that turns out to be."""
    monkeypatch.setattr(guarded_http, "is_public", lambda _: True)
    names["innocent.example"] = itertools.repeat(["127.0.0.1"])
    outside.replies["/"] = redirect(f"http://127.0.0.1:{inside.port}/")
    for host in ("innocent.example", "0x7f000001", "localhost", "127.0.0.2"):
        before = inside.connections
        assert got(f"http://{host}:{inside.port}/") == CONTENT
        assert inside.connections == before + 1, host


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0"])
def test_a_redirect_that_leads_inside_is_refused(host: str, status: int, inside: Web, outside: Web) -> None:
    outside.replies["/"] = redirect(f"http://{host}:{inside.port}/", status)
    with pytest.raises(AccessDenied):
        got(f"{outside.url}/")
    assert (inside.connections, outside.connections) == (0, 1)


@pytest.mark.parametrize(
    "target",
    [
        *("file:///etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.2/", "s3://bucket/key", "gs://bucket/key"),
        *("gopher://127.0.0.1:70/", "data:text/plain,hello", "javascript:alert(1)", "ipfs://b/", "ws://127.0.0.2/"),
    ],
)
def test_a_redirect_to_another_scheme_is_refused_also_where_pointers_may_have_it(target: str, outside: Web) -> None:
    outside.replies["/"] = redirect(target)
    with pytest.raises(AccessDenied, match=r"redirects to .*, and from http only https is followed or http"):
        got(f"{outside.url}/", Follow(private=True), (*WEB, "file", "s3", "gs", "ftp", "data", "javascript"))
    assert outside.connections == 1


def test_a_redirect_from_https_to_http_is_refused(outside: Web, secure: Web, trusting: Follow) -> None:
    secure.replies["/"] = redirect(f"{outside.url}/?token={SECRET}")
    with pytest.raises(AccessDenied, match="from https only https is followed;") as refused:
        got(f"{secure.url}/", trusting)
    assert (secure.connections, outside.connections) == (1, 0)
    assert SECRET not in str(refused.value)


def test_a_redirect_from_https_that_leads_inside_is_refused(inside: Web, secure: Web, trusting: Follow) -> None:
    secure.replies["/"] = redirect(f"https://127.0.0.1:{inside.port}/")
    with pytest.raises(AccessDenied, match=r"leads to the address 127\.0\.0\.1"):
        got(f"{secure.url}/", trusting)
    assert (secure.connections, inside.connections) == (1, 0)


def test_a_redirect_within_https_is_followed_to_exactly_where_it_leads(
    secure: Web, trusting: Follow, names: dict[str, Iterator[list[str]]]
) -> None:
    names["secure.example"] = itertools.repeat(["127.0.0.2"])
    secure.replies["/a/"] = redirect("../b?signature=a%2Fb%2Bc%20d")
    assert got(f"https://secure.example:{secure.port}/a/", trusting, ("https",)) == CONTENT
    assert secure.paths == ["/a/", "/b?signature=a%2Fb%2Bc%20d"]


def test_a_uri_is_asked_for_as_it_was_given(outside: Web) -> None:
    assert got(f"{outside.url}/a/../%7Eb?signature=a%2Fb%2Bc%20d#part") == CONTENT
    assert outside.paths == ["/a/../%7Eb?signature=a%2Fb%2Bc%20d"]


def test_a_certificate_that_is_not_trusted_is_said_so(secure: Web) -> None:
    with pytest.raises(BackendError, match="certificate is not trusted"):
        got(f"{secure.url}/")
    assert secure.requests == []


@pytest.mark.parametrize("location", [None, "", "http://[", "http://a:b/", "http://127.0.0.2:99999/"])
def test_a_redirect_to_nothing_is_refused(location: str | None, outside: Web) -> None:
    outside.replies["/"] = redirect(location)
    with pytest.raises(BackendError, match=r"redirects to (what is no URL|nowhere)"):
        got(f"{outside.url}/")
    assert outside.connections == 1


def test_redirects_are_followed_so_often_and_no_more(outside: Web) -> None:
    for number in range(MAX_REDIRECTS):
        outside.replies[f"/{number}"] = redirect(str(number + 1))
    assert got(f"{outside.url}/0") == CONTENT
    outside.replies["/loop"] = redirect("/loop")
    with pytest.raises(BackendError, match="more than 5 times"):
        got(f"{outside.url}/loop")
    assert outside.connections == 2 * (MAX_REDIRECTS + 1)


def test_headers_go_to_the_origin_of_the_uri_and_to_no_other(
    outside: Web, names: dict[str, Iterator[list[str]]]
) -> None:
    names["first.example"] = names["second.example"] = itertools.repeat(["127.0.0.2"])
    outside.replies["/a"] = redirect("/b")
    outside.replies["/b"] = redirect(f"http://user:word@second.example:{outside.port}/c")
    follow = Follow(options={"http": {"headers": {"Authorization": SECRET, "Cookie": SECRET}}})
    assert got(f"http://first.example:{outside.port}/a", follow) == CONTENT
    assert [headers.get("Authorization") for headers in outside.requests] == [SECRET, SECRET, None]
    assert [headers.get("Cookie") for headers in outside.requests] == [SECRET, SECRET, None]


def test_no_cookie_of_an_answer_is_sent_back(outside: Web) -> None:
    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Set-Cookie", "tracked=yes")
        request.send_header("Location", "/there")
        request.end_headers()

    outside.replies["/"] = reply
    assert got(f"{outside.url}/") == CONTENT
    assert outside.requests[1].get("Cookie") is None


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_of_the_environment_is_asked(
    variable: str, inside: Web, outside: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, inside.url)
    assert got(f"{outside.url}/") == CONTENT
    assert (inside.connections, outside.connections) == (0, 1)


# --- content ----------------------------------------------------------------------------------------------------------

DIGEST = hashlib.sha256(CONTENT).hexdigest()
PRIVATE = Follow(private=True)


def test_content_that_is_what_the_record_expects_is_given(inside: Web) -> None:
    assert got(f"{inside.url}/", PRIVATE, expected_size=len(CONTENT), expected_sha256=DIGEST) == CONTENT
    assert got(f"{inside.url}/", PRIVATE) == CONTENT
    assert inside.requests[0]["Accept-Encoding"] == "identity"


def test_content_without_an_announced_length_is_given_too(inside: Web) -> None:
    large = CONTENT * 1000
    inside.replies["/"] = content(large, length=False)
    assert got(f"{inside.url}/", PRIVATE, expected_size=len(large)) == large


@pytest.mark.parametrize("times", [1, 600], ids=["in memory", "in a file"])
def test_content_that_is_dropped_is_closed_without_a_warning(times: int, inside: Web) -> None:
    inside.replies["/"] = content(CONTENT * times)
    file = fetch(pointer(f"{inside.url}/"), PRIVATE, WEB, LABEL)
    assert (file.tell(), file.seek(0, 2)) == (0, len(CONTENT) * times)
    del file
    gc.collect()


@pytest.mark.parametrize(
    ("data", "how"),
    [
        (CONTENT[:-1], "has 15999 bytes, and not 16000"),
        (CONTENT + b"x", "has more than 16000 bytes"),
        (CONTENT[:-1] + b"x", "its SHA-256 is [0-9a-f]{64}, and not"),
        (b"", "has 0 bytes"),
    ],
)
@pytest.mark.parametrize("length", [True, False], ids=["announced", "unannounced"])
def test_content_that_is_not_what_the_record_expects_is_reported_and_not_given(
    data: bytes, how: str, length: bool, inside: Web
) -> None:
    inside.replies["/"] = content(data, length)
    with pytest.raises(IntegrityError, match=f"what lies there is not what the record expects: .*{how}"):
        got(f"{inside.url}/", PRIVATE, expected_size=len(CONTENT), expected_sha256=DIGEST)


def test_a_size_that_only_the_record_itself_tells_is_checked_too(inside: Web) -> None:
    stored = pointer(f"{inside.url}/")
    for size, good in ((len(CONTENT), True), (7, False)):
        changed = Pointer(**{name: getattr(stored, name) for name in stored.__struct_fields__} | {"size_bytes": size})
        if good:
            fetch(changed, PRIVATE, WEB, LABEL).close()
        else:
            with pytest.raises(IntegrityError):
                fetch(changed, PRIVATE, WEB, LABEL)


@pytest.mark.parametrize("length", [True, False], ids=["announced", "unannounced"])
def test_more_than_the_limit_is_not_fetched(length: bool, inside: Web) -> None:
    inside.replies["/"] = content(CONTENT, length)
    assert got(f"{inside.url}/", Follow(private=True, max_bytes=len(CONTENT))) == CONTENT
    with pytest.raises(
        PayloadTooLarge, match=r"at most 15999 bytes are fetched; allow it by follow=Follow\(max_bytes=…"
    ):
        got(f"{inside.url}/", Follow(private=True, max_bytes=len(CONTENT) - 1))


def test_what_is_known_to_be_too_large_is_not_asked_for(inside: Web) -> None:
    with pytest.raises(PayloadTooLarge, match="16000 bytes"):
        got(f"{inside.url}/", Follow(private=True, max_bytes=100), expected_size=len(CONTENT))
    assert inside.connections == 0


def test_an_answer_that_never_ends_is_cut_at_the_limit(inside: Web) -> None:
    def reply(request: BaseHTTPRequestHandler) -> None:
        content(b"", length=False)(request)
        while not inside.over.is_set():
            request.wfile.write(b"x" * 10_000)

    inside.replies["/"] = reply
    with pytest.raises(PayloadTooLarge):
        got(f"{inside.url}/", Follow(private=True, max_bytes=1_000_000))


@pytest.mark.parametrize("drip", [True, False], ids=["a byte now and then", "nothing"])
def test_an_answer_that_takes_forever_ends_at_the_deadline(
    drip: bool, inside: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(request: BaseHTTPRequestHandler) -> None:
        content(b"", length=False)(request)
        while not inside.over.wait(0.01):
            if drip:
                request.wfile.write(b"x")

    inside.replies["/"] = reply
    monkeypatch.setattr(following, "DEADLINE", 0.2)
    with pytest.raises(BackendUnavailable, match="not there whole"):
        got(f"{inside.url}/", PRIVATE)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, gzip"])
def test_an_answer_that_would_grow_when_it_is_decoded_is_refused(encoding: str, inside: Web) -> None:
    inside.replies["/"] = content(CONTENT, Content_Encoding=encoding)
    with pytest.raises(BackendError, match="though it was asked for none"):
        got(f"{inside.url}/", PRIVATE)


def test_an_answer_that_breaks_off_is_not_given(inside: Web) -> None:
    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"half")

    inside.replies["/"] = reply
    with pytest.raises(BackendUnavailable, match="connection broke"):
        got(f"{inside.url}/", PRIVATE)


@pytest.mark.parametrize(
    ("status", "error", "what"),
    [
        (401, AccessDenied, "asks for credentials"),
        (403, AccessDenied, "asks for credentials"),
        (404, BackendError, "answers 404: nothing is there"),
        (410, BackendError, "answers 410: nothing is there"),
        (400, BackendError, "answers 400 in the place of the content"),
        (204, BackendError, "answers 204"),
        (206, BackendError, "answers 206"),
        (304, BackendError, "answers 304"),
        (300, BackendError, "answers 300"),
        (429, BackendUnavailable, "answers 429; try again"),
        (500, BackendUnavailable, "answers 500"),
        (503, BackendUnavailable, "answers 503"),
    ],
)
def test_an_answer_that_is_not_the_content_is_told_as_what_it_is(
    status: int, error: type[BackendError], what: str, inside: Web
) -> None:
    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.end_headers()

    inside.replies["/"] = reply
    with pytest.raises(error, match=what) as raised:
        got(f"{inside.url}/?token={SECRET}", PRIVATE)
    assert type(raised.value) is error
    assert SECRET not in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_host_that_cannot_be_reached_is_told_as_that(names: dict[str, Iterator[list[str]]]) -> None:
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        got(f"http://127.0.0.1:{free_port()}/", PRIVATE)

    def unknown() -> Iterator[list[str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
        yield

    names["unknown.example"] = unknown()
    with pytest.raises(BackendUnavailable, match="name of its host is not known"):
        got("http://unknown.example/")


def test_what_answers_is_no_web_server(outside: Web, secure: Web) -> None:
    with pytest.raises(BackendError):
        got(f"http://127.0.0.2:{secure.port}/")
    with pytest.raises(BackendError):
        got(f"https://127.0.0.2:{outside.port}/")


def test_a_pointer_is_followed_also_from_a_thread_of_an_event_loop(inside: Web) -> None:
    async def several() -> list[bytes]:
        each = (asyncio.to_thread(got, f"{inside.url}/{number}", PRIVATE) for number in range(8))
        return await asyncio.gather(*each)

    assert asyncio.run(several()) == [CONTENT] * 8


def test_nothing_goes_on_after_an_interrupt(inside: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    gone = threading.Event()

    def reply(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        request.connection.recv(1)  # answers when the other side hangs up
        gone.set()

    def interrupted(_: Any, timeout: float | None = None) -> None:
        assert asked.wait(60)
        raise KeyboardInterrupt

    inside.replies["/"] = reply
    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        got(f"{inside.url}/", PRIVATE)
    monkeypatch.undo()
    assert gone.wait(60)


# --- schemes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "artifact://shop/alice/s1/a",
        "data:,hello",
        "javascript:alert(1)",
        "paper",
    ],
)
def test_a_record_of_somebody_else_is_not_followed_where_a_pointer_of_ours_could_not_lead(uri: str) -> None:
    with pytest.raises(PointerNotManaged, match=f"{LABEL} is a pointer that is not followed") as raised:
        got(uri, PRIVATE, ("https", "s3"))
    assert raised.value.uri == uri


def test_a_chain_of_filesystems_means_nothing(tmp_path: Path) -> None:
    """fsspec.open would take what stands before ``::`` for a filesystem over the one behind it."""
    (tmp_path / "inner").write_bytes(CONTENT)
    for uri in (f"simplecache::file://{tmp_path}/inner", f"file://{tmp_path}/none::file://{tmp_path}/inner"):
        with pytest.raises((PointerNotManaged, BackendError)):
            got(uri, PRIVATE, ("file",))
    strange = tmp_path / "a::file:" / "b"
    strange.parent.mkdir()
    strange.write_bytes(CONTENT)
    assert got(f"file://{strange}", schemes=("file",)) == CONTENT


def test_a_file_is_followed_where_it_is_allowed_by_name(tmp_path: Path) -> None:
    (tmp_path / "pàper 1.pdf").write_bytes(CONTENT)
    uri = f"FILE://{tmp_path}/p%C3%A0per%201.pdf"
    assert got(uri, schemes=("file",), expected_size=len(CONTENT), expected_sha256=DIGEST) == CONTENT
    with pytest.raises(IntegrityError, match="SHA-256"):
        got(uri, schemes=("file",), expected_sha256="0" * 64)
    with pytest.raises(PayloadTooLarge):
        got(uri, Follow(max_bytes=10), ("file",))
    with pytest.raises(BackendError, match="nothing is there"):
        got(f"file://{tmp_path}/none", schemes=("file",))
    with pytest.raises(BackendError, match="cannot be read"):
        got(f"file://{tmp_path}", schemes=("file",))
    with pytest.raises(InvalidConfig, match="cannot be used"):
        got(f"file://{tmp_path}/%00", schemes=("file",))


def test_data_is_followed_where_it_is_allowed_by_name() -> None:
    assert got("data:text/plain,a%20b%2520", schemes=("data",)) == b"a b%20"


def test_the_deadline_grows_with_the_limit_and_holds_for_all_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "DEADLINE", -1.0)
    for limit, seconds in ((1, 1), (100 * 2**20, 1), (100 * 2**20 + 1, 2), (1000 * 2**20, 10)):
        with pytest.raises(BackendUnavailable, match=f"not there whole after -{seconds} seconds"):
            got("data:text/plain,a", Follow(max_bytes=limit), ("data",))


def test_what_was_fetched_in_vain_is_dropped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Spool(following._Spool):
        def __init__(self, *of: Any) -> None:
            super().__init__(*of)
            made.append(self)

    monkeypatch.setattr(following, "_Spool", Spool)
    with pytest.raises(IntegrityError):
        got("data:text/plain,a", schemes=("data",), expected_size=7)
    assert [file.closed for file in made] == [True]


def test_a_scheme_that_nothing_opens_is_told_as_that() -> None:
    with pytest.raises(PointerNotManaged, match="there is nothing to open") as raised:
        got("javascript:alert(1)", PRIVATE, ("javascript",))
    assert raised.value.uri == "javascript:alert(1)"


@pytest.mark.parametrize(
    "uri", ["ftp://127.0.0.1/a", "sftp://10.0.0.1/a", "webhdfs://127.0.0.1/a", "javascript:alert(1)"]
)
def test_a_scheme_whose_way_nobody_can_judge_is_followed_only_where_all_addresses_are(uri: str) -> None:
    with pytest.raises(AccessDenied, match=r"cannot be judged before it is opened.*follow=Follow\(private=True\)"):
        got(uri, schemes=("ftp", "sftp", "webhdfs", "javascript"))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("s3fs", "gcsfs", "aiohttp"):
        monkeypatch.setitem(sys.modules, module, None)
    for scheme in ("s3", "gs"):
        monkeypatch.delitem(_registry, scheme, raising=False)
    for uri, package in {
        "s3://bucket/key": r"artifactfs\[s3\]",
        "gs://bucket/key": r"artifactfs\[gcs\]",
        "https://example.com/": r"artifactfs\[http\]",
        "ipfs://b/": "ipfsspec",
    }.items():
        with pytest.raises(InvalidConfig, match=f"following it needs .*{package}"):
            got(uri, schemes=("https", "s3", "gs", "ipfs"))


def s3_options(server: Server, **more: Any) -> Follow:
    once = {"retries": {"total_max_attempts": 1}}
    return Follow(options={"s3": {**server.own_options, "config_kwargs": once, **more}})


def test_an_object_of_s3_is_followed_with_the_credentials_of_the_call(moto: Server) -> None:
    bucket = moto.bucket("").removeprefix("s3://")
    large = CONTENT * 200
    moto.client().put_object(Bucket=bucket, Key="a b/c::d.bin", Body=large)
    uri, digest = f"s3://{bucket}/a%20b/c::d.bin", hashlib.sha256(large).hexdigest()
    assert got(uri, s3_options(moto), ("s3",), expected_size=len(large), expected_sha256=digest) == large
    with pytest.raises(IntegrityError, match="has more than 7 bytes"):
        got(uri, s3_options(moto), ("s3",), expected_size=7)
    with pytest.raises(BackendError, match="nothing is there"):
        got(f"s3://{bucket}/none", s3_options(moto), ("s3",))
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        got(uri, s3_options(moto.at(f"http://127.0.0.1:{free_port()}")), ("s3",))


def test_missing_credentials_are_told_as_that(moto: Server) -> None:
    follow = Follow(options={"s3": {"endpoint_url": moto.url, "profile": None, "anon": False}})
    with pytest.raises(AccessDenied, match="the credentials are missing"):
        got("s3://bucket/key", follow, ("s3",))


def test_no_filesystem_with_the_credentials_of_a_call_is_left_for_others(moto: Server) -> None:
    bucket = moto.bucket("").removeprefix("s3://")
    moto.client().put_object(Bucket=bucket, Key="key", Body=CONTENT)
    kept = set(fsspec.get_filesystem_class("s3")._cache)
    assert got(f"s3://{bucket}/key", s3_options(moto, default_fill_cache=False), ("s3",)) == CONTENT
    assert set(fsspec.get_filesystem_class("s3")._cache) == kept


def test_options_that_cannot_be_used_are_told_without_their_values(moto: Server, inside: Web) -> None:
    with pytest.raises(InvalidConfig, match="options for it cannot be used") as raised:
        got("s3://bucket/key", s3_options(moto, endpoint_url=SECRET), ("s3",))
    assert SECRET not in str(raised.value)
    for options in ({"headers": SECRET}, {"headers": {"a": object()}}, {"ssl": SECRET}):
        with pytest.raises(InvalidConfig, match="options for it cannot be used") as raised:
            got(f"{inside.url}/", Follow(private=True, options={"http": options}))
        assert SECRET not in str(raised.value)


# --- Follow -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_bytes": -1},
        {"max_bytes": True},
        {"max_bytes": "1"},
        {"private": 1},
        {"private": "yes"},
        {"options": None},
        {"options": {"s3": SECRET}},
        {"options": {"s3": {7: SECRET}}},
        {"options": {7: {}}},
        {"options": {"https": {"proxy": SECRET}}},
        {"options": {"http": {"connector": SECRET}}},
        {"options": {"http": {"client_kwargs": {"trust_env": SECRET}}}},
        {"options": {"https": {"allow_redirects": SECRET}}},
    ],
)
def test_what_cannot_be_a_way_to_follow_is_refused_and_no_value_of_it_shown(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig) as raised:
        Follow(**arguments)
    assert SECRET not in str(raised.value)


def test_a_way_to_follow_shows_no_values_of_options() -> None:
    follow = Follow(options={"s3": {"secret": SECRET}, "https": {"headers": {"Authorization": SECRET}}})
    assert SECRET not in f"{follow!r} {follow} {follow!a}"
    assert hash(follow) == hash(Follow())
