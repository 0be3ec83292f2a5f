"""No app, user, session or name leaves its scope, whatever it looks like: it comes back exactly, or is refused by name."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifactfs import ArtifactStore, InvalidName
from artifactfs.testing.store_base import keys_below

from .servers import Server

TRAVERSAL = [
    *[
        "..",
        ".",
        "../..",
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/passwd",
        "/",
        "//",
        "\\",
        "a/../b",
        "a/./b",
        "./a",
    ],
    *[
        "a//b",
        "a/",
        "/a",
        "~",
        "~root",
        "$HOME",
        "${HOME}",
        "%HOME%",
        "C:",
        "C:\\x",
        "\\\\host\\share",
        "file:///etc/passwd",
    ],
    *["..;/x", "....//", ".../...", "a\\", "a/..", "..%2f..", "-rf", "|id", "`id`", "$(id)", "a;b", "a&b", ">x", "<x"],
]
ENCODING = [
    *["%2e%2e", "%2E%2E", "%2f", "%2F", "%5c", "%252e%252e", "%25", "%", "%%", "%zz", "%u002e", "%00", "%0a", "%c0%ae"],
    *["&#46;&#46;", "\\x2e", "+", "a+b", "a b", "%20", "=?utf-8?q?x?=", "\\u0000", "%75ser", "%63on"],
]
UNICODE = [
    *[
        "caf\u00e9",
        "cafe\u0301",
        "\u2024\u2024",
        "\uff0e\uff0e",
        "\u2215etc",
        "\uff0f",
        "\u29f8",
        "\ufeff",
        "\u200b",
        "\u202e",
    ],
    *[
        "\u00a0",
        "\u3000",
        "\u0130",
        "\u0131",
        "\u1e9e",
        "\ufb01",
        "\u212a",
        "\U0001f600",
        "\U0010ffff",
        "\ue000",
        "\ufffd",
    ],
    *["日本語", "العربية", "a\u200db", "\u0301", "e\u0301" * 20, "\u2028", "\u2029", "\x85", "\x7f", "\x80"],
]
DEVICES = [
    *[
        "con",
        "CON",
        "prn",
        "aux",
        "nul",
        "NUL.txt",
        "com1",
        "COM9.log",
        "lpt1",
        "com\u00b9",
        "conin$",
        "CONOUT$",
        "con ",
        "con.",
    ],
    *[
        "nul .x",
        "clock$",
        "a.",
        "a ",
        "a. .",
        " a",
        " ",
        "...",
        ".a",
        ".lock",
        ".tmp-1",
        "desktop.ini",
        "Thumbs.db",
        "-",
        "--",
    ],
]
LAYOUT = [
    *[
        "user",
        "User",
        "users",
        "@store",
        "@hidden",
        "@tags",
        "@",
        "@@",
        "!0",
        "!7",
        "0",
        "7",
        "007",
        "7.metadata",
        ".metadata",
    ],
    *[
        "0.metadata",
        "metadata",
        "artifacts",
        "versions",
        "apps",
        "sessions",
        "x/0",
        "x/0.metadata",
        "x/!7",
        "@hidden/x/1",
    ],
    *["@store/seen", "../user/x", "../../bob/s1/x", "_", "a_b"],
]
SELECTORS = [
    *[
        "x@1",
        "x@latest",
        "x@-1",
        "x@prod",
        "@1",
        "@latest",
        "x@2026-11-20T19:03:17Z",
        "a@b",
        "logo@2.csv",
        "x::memory://y",
    ],
    *[
        "::",
        "a::b",
        "memory://x",
        "s3://bucket/x",
        "artifact://a/u/s/n",
        "x#frag",
        "x?query",
        "x?versionId=1",
        "*",
        "?",
        "[a]",
    ],
    *["{a,b}", "**", "a*", "[!a]", "~1", "x;1", "x:stream", "x::$DATA", "simplecache::file://x"],
]
CONTROL = ["a\nb", "a\r\nb", "a\tb", "\x01", "\x1b[31m", "\x1f", "a\r\n\r\nHTTP/1.1 200 OK", "\b", "line\n"]
LONG = ["x" * 200, "." * 80, "%" * 70, "/" * 80, "日" * 75]

CORPUS = [*TRAVERSAL, *ENCODING, *UNICODE, *DEVICES, *LAYOUT, *SELECTORS, *CONTROL, *LONG]
REFUSED = ["", "a\0b", "\0", "\ud800", "x\udfffy", "\udc2f\udc2e", "x" * 1025, "é" * 513, "../" * 342]
PREFIXED = ["user:x", "user:../x", "user:user", "user:a/b", "user:@hidden"]


def _shared(name: str) -> object:
    often = pytest.mark.deep if name in ("ceph", "fake_gcs") else pytest.mark.nightly
    return pytest.param(name, marks=[often, pytest.mark.server(name)])


@pytest.fixture(params=["memory", "local", "moto", *map(_shared, ["ministack", "ceph", "minio", "fake_gcs"])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    match request.param:
        case "memory":
            store = ArtifactStore(f"memory://{uuid.uuid4().hex}/root")
        case "local":
            store = ArtifactStore(tmp_path / "outer" / "root", durability="none")
        case name:
            server: Server = request.getfixturevalue(name)
            store = ArtifactStore(server.bucket("outer/root"), **server.storage_options)
    with store:
        yield store


def _fits(save: Callable[[], object]) -> bool:
    """Whether the store below could hold it; where not, it says so."""
    try:
        save()
    except InvalidName:
        return False
    return True


def _everything(store: ArtifactStore, tmp_path: Path) -> list[str]:
    """All keys below the root; on a disk also everything near it must be below the root."""
    if store.url.startswith("file://"):
        root = tmp_path / "outer" / "root"
        outside = [path for path in tmp_path.rglob("*") if path.is_file() and root not in path.parents]
        assert outside == []
        assert sorted(os.listdir(tmp_path)) == ["outer"]
        assert os.listdir(tmp_path / "outer") == ["root"]
    return keys_below(store, "")


def _own(keys: list[str]) -> list[str]:
    return [key for key in keys if not key.startswith("@store/")]


def test_every_name_stays_in_its_session_and_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    scope, neighbour = store.scope("shop", "alice", "s1"), store.scope("shop", "alice", "s2")
    neighbour.save("x", b"neighbour")
    kept = [name for name in CORPUS if _fits(lambda name=name: scope.save(name, name.encode()))]
    assert len(kept) >= len(CORPUS) - len(LONG)
    names = list(scope.names())
    assert len(names) == len(set(names))
    assert set(names) == set(kept)
    for name in kept:
        loaded = scope.load(name)
        assert (loaded.data, loaded.record.filename, loaded.record.version) == (name.encode(), name, 0)
    keys = _own(_everything(store, tmp_path))
    assert len(keys) == 2 * len(kept) + 2
    for key in keys:
        app, user, session, segment, entry = key.split("/")
        assert (app, user, entry) in {("shop", "alice", "0"), ("shop", "alice", "0.metadata")}
        assert session == "s1" or (session, segment) == ("s2", "x")
        assert not {segment, session} & {"", ".", ".."}
    assert list(neighbour.names()) == ["x"]


def test_every_app_user_and_session_stays_where_it_belongs_and_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    corpus = CORPUS[:: 1 if store.backend.placement != "loop" else 5]
    kept: dict[str, list[str]] = {"app": [], "user": [], "session": []}
    for text in corpus:
        for what, path in (("app", (text, "u", "s")), ("user", ("shop", text, "s")), ("session", ("shop", "u", text))):
            if _fits(lambda path=path, text=text: store.scope(*path).save("x", text.encode())):
                kept[what].append(text)
    assert set(store.apps()) == {*kept["app"], "shop"}
    assert set(store.users("shop")) == {*kept["user"], "u"}
    assert set(store.sessions("shop", "u")) == set(kept["session"])
    for text in kept["session"]:
        scope = store.scope("shop", "u", text)
        assert scope.load("x").data == text.encode()
        assert list(scope.names()) == ["x"]
    for text in kept["user"]:
        assert list(store.sessions("shop", text)) == ["s"]
        assert list(store.scope("shop", text).names()) == []
    for key in _own(_everything(store, tmp_path)):
        parts = key.split("/")
        assert len(parts) == 5
        assert not set(parts) & {"", ".", ".."}
        assert parts[2] != "user"


def test_what_no_store_can_hold_is_refused_by_name_and_leaves_nothing(store: ArtifactStore) -> None:
    scope = store.scope("shop", "alice", "s1")
    for text in REFUSED:
        for save in (
            lambda text=text: scope.save(text, b"x"),
            lambda text=text: scope.open(text, "wb"),
            lambda text=text: store.scope(text, "u", "s"),
            lambda text=text: store.scope("a", text, "s"),
            lambda text=text: store.scope("a", "u", text),
            lambda text=text: store.erase("shop", text),
        ):
            with pytest.raises(InvalidName):
                save()
    assert _own(keys_below(store, "")) == []


def test_what_is_erased_removed_and_deleted_is_only_what_was_named(store: ArtifactStore) -> None:
    odd = ["..", "../..", "%2E%2E", "*", "a/", "/", "@hidden", ".", "user", "x@latest", "\\", "%"]
    for user, session in itertools.product(["alice", ".."], ["s1", "..", "user"]):
        store.scope("shop", user, session).save("x", f"{user} {session}")
    scope = store.scope("shop", "alice", "s1")
    for name in odd:
        scope.save(name, b"0")
        scope.save(name, b"1")
    for name in odd:
        scope.delete(name, 0)
        scope.remove(name)
        scope.delete(name)
        store.erase("shop", "alice", "s1", name)
        with pytest.raises(FileNotFoundError):
            scope.load(name)
    for user, session in itertools.product(["alice", ".."], ["s1", "..", "user"]):
        assert store.scope("shop", user, session).load("x").data == f"{user} {session}".encode()
    for app, user in itertools.product(["..", ".", "*"], ["..", ".", "*", "shop"]):
        assert store.erase(app, user) == 0
    assert store.erase("shop", "..", "..") > 0
    assert sorted(store.sessions("shop", "..")) == ["s1", "user"]
    assert store.erase("shop", "..") > 0
    assert sorted(store.sessions("shop", "alice")) == ["..", "s1", "user"]


def test_a_name_that_starts_with_user_reaches_the_users_scope_and_no_further(
    store: ArtifactStore, tmp_path: Path
) -> None:
    scope = store.scope("shop", "alice", "s1")
    for name in PREFIXED:
        scope.save(name, name.encode())
    assert set(scope.names()) == set(PREFIXED)
    assert set(store.scope("shop", "alice").names()) == {name.removeprefix("user:") for name in PREFIXED}
    assert all(key.startswith("shop/alice/user/") for key in _own(_everything(store, tmp_path)))


def test_a_prefix_and_a_place_to_go_on_from_list_only_what_is_in_the_scope(store: ArtifactStore) -> None:
    scope = store.scope("shop", "alice", "s1")
    store.scope("shop", "alice", "s2").save("x", b"0")
    store.scope("shop", "bob").save("x", b"0")
    scope.save("own", b"0")
    for text in [*TRAVERSAL, *SELECTORS, *LAYOUT][:: 1 if store.backend.placement != "loop" else 6]:
        assert set(scope.names(text)) <= {"own"}
        assert set(scope.names(after=text)) <= {"own"}
