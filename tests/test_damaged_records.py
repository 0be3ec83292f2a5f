"""Records that anybody with access to the bucket may have left: each is an error of its own version, and of no other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from upath import UPath

from artifactfs import ArtifactStore, Follow, Identity, Scope
from artifactfs.errors import (
    ArtifactError,
    BackendError,
    BackendUnavailable,
    IntegrityError,
    InvalidConfig,
    KeyUnavailable,
    PayloadTooLarge,
    PointerNotManaged,
    UnsupportedFormat,
    VersionNotFound,
)
from artifactfs.keys.keyring import Keyring, new_key
from artifactfs.testing.store_base import Raw

KEY = new_key("v1")
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda record: b"",
    "nested deeply": lambda record: record.replace(b'"metadata":{}', b'"metadata":{"x":' + b"[" * 200_000 + b"}"),
    "no UTF-8": lambda record: record.replace(b'"filename":"x', b'"filename":"\xff'),
    "a later format": lambda record: record.replace(b'"format":1', b'"format":3'),
}


@pytest.fixture(params=[None, KEY], ids=["plain", "sealed"])
def scope(request: pytest.FixtureRequest, tmp_path: Path) -> Scope:
    scope = ArtifactStore(tmp_path, keys=request.param, durability="none").scope("shop", "alice", "s1")
    for number in range(3):
        scope.save("x", b"%d" % number)
    scope.save("y", b"of another artifact")
    return scope


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_listed_and_refused_and_hides_nothing_else(scope: Scope, damage: str) -> None:
    raw = Raw(scope, "x")
    stored = raw.get("2.metadata")
    assert stored is not None
    raw.put("2.metadata", DAMAGE[damage](stored))
    for read in (scope.load, scope.stat, scope.open):
        with pytest.raises((IntegrityError, UnsupportedFormat)):
            read("x")
    assert not scope.verify("x").ok and scope.verify("x").version == 2
    assert scope.versions("x") == [0, 1, 2]
    assert [record.version for record in scope.history("x")] == [2, 1, 0]
    assert [name for name, _ in scope.records()] == ["x", "y"]
    scope.delete("x", 1)
    assert list(scope.names()) == ["x", "y"]
    assert scope.load("x", 0).data == b"0" and scope.load("y").data == b"of another artifact"


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "a later format"])
def test_what_is_damaged_can_be_deleted(scope: Scope, damage: str) -> None:
    raw = Raw(scope, "x")
    stored = raw.get("2.metadata")
    assert stored is not None
    raw.put("2.metadata", DAMAGE[damage](stored))
    scope.delete("x", 2)
    assert scope.versions("x") == [0, 1]
    with pytest.raises(VersionNotFound):
        scope.load("x", 2)


def test_a_later_release_s_record_is_not_deleted_by_this_one(scope: Scope) -> None:
    raw = Raw(scope, "x")
    stored = raw.get("2.metadata")
    assert stored is not None
    raw.put("2.metadata", DAMAGE["a later format"](stored))
    with pytest.raises(UnsupportedFormat, match="upgrade artifactfs"):
        scope.delete("x", 2)
    assert raw.get("2") is not None


def test_sealed_content_that_is_empty_is_checked_when_it_is_opened(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, keys=KEY, durability="none").scope("shop", "alice", "s1")
    scope.save("x", b"")
    assert scope.open("x").read() == b""
    payload = tmp_path / "shop/alice/s1/x/0"
    payload.write_bytes(payload.read_bytes()[:-1] + bytes([payload.read_bytes()[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        scope.open("x")
    with pytest.raises(IntegrityError):
        fsspec.filesystem("artifact", root=str(tmp_path), keys=KEY).open("shop/alice/s1/x")


def test_a_forged_tombstone_does_not_make_verify_speak_of_an_older_version(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, keys=KEY, durability="none")
    scope = store.scope("shop", "alice", "s1")
    scope.save("x", b"0")
    scope.save("x", b"1")
    stone = Raw(scope, "stone")
    scope.save("stone", b"")
    scope.delete("stone")
    forged = stone.get("0.metadata")
    assert forged is not None
    Raw(scope, "x").put("1.metadata", forged.replace(b'"key_id":"v1"', b'"key_id":"v7"').replace(b'n":0', b'n":1'))
    with pytest.raises(KeyUnavailable):
        scope.load("x")
    with pytest.raises(VersionNotFound, match="no version 1"):
        scope.verify("x")


def test_what_is_damaged_under_the_right_key_is_altered_to_a_rotation_too(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, keys=KEY, durability="none").scope("shop", "alice", "s1")
    scope.save("x", b"0")
    raw = Raw(scope, "x")
    stored = raw.get("0.metadata")
    assert stored is not None
    raw.put("0.metadata", stored.replace(b"octet-stream", b"octet-STREAM"))
    rotated = scope.rotate(to="v1")
    assert rotated.altered == ("shop/alice/s1/x@0",) and not rotated.complete


class Misbehaving:
    """A keeper of keys that wraps well, and unwraps by what it is told."""

    def __init__(self, unwrap: Callable[[bytes], Any]) -> None:
        self.inner, self.answer = Keyring.parse(KEY), unwrap

    def wrap(self, key_id: str, data_key: bytes, identity: Identity) -> bytes:
        return self.inner.wrap(key_id, data_key, identity)

    def unwrap(self, key_id: str, wrapped: bytes, identity: Identity) -> bytes:
        return self.answer(self.inner.unwrap(key_id, wrapped, identity))  # type: ignore[no-any-return]


def _fail(secret: bytes) -> bytes:
    raise KeyError("no such row")


@pytest.mark.parametrize(
    ("unwrap", "error", "says"),
    [
        (lambda secret: None, InvalidConfig, "Misbehaving.unwrap gave a NoneType"),
        (lambda secret: secret[:31], InvalidConfig, "gave 31 bytes; it has to give the 32"),
        (lambda secret: secret.hex(), InvalidConfig, "gave a str"),
        (_fail, BackendError, "Misbehaving, which keeps the keys, failed by a KeyError"),
    ],
)
def test_a_keeper_of_keys_that_fails_is_told_apart_from_what_was_altered(
    tmp_path: Path, unwrap: Callable[[bytes], Any], error: type[ArtifactError], says: str
) -> None:
    with ArtifactStore(tmp_path, keys=Misbehaving(unwrap), active_key_id="v1") as store:
        scope = store.scope("shop", "alice", "s1")
        scope.save("x", b"0")
        with pytest.raises(error, match=says):
            scope.load("x")


def test_a_pointer_of_unknown_size_counts_nothing_in_du(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    scope.save("x", b"four")
    scope.point("y", "https://example.org/y")
    assert fsspec.filesystem("artifact", root=str(tmp_path)).du("shop/alice/s1") == 4


def test_the_digest_that_a_filesystem_tells_is_of_the_content_or_none(tmp_path: Path) -> None:
    plain = fsspec.filesystem("artifact", root=str(tmp_path / "plain"))
    sealed = fsspec.filesystem("artifact", root=str(tmp_path / "sealed"), keys=KEY)
    for fs in (plain, sealed):
        fs.pipe("shop/alice/s1/x", b"first")
    assert plain.info("shop/alice/s1/x")["sha256"].startswith("a7937b64")
    assert sealed.info("shop/alice/s1/x")["sha256"] is None
    before = sealed.ukey("shop/alice/s1/x")
    assert sealed.ukey("shop/alice/s1/x") == before
    sealed.pipe("shop/alice/s1/x", b"second")
    assert sealed.ukey("shop/alice/s1/x") != before


def test_an_app_whose_users_are_hidden_is_there(tmp_path: Path) -> None:
    fs = fsspec.filesystem("artifact", root=str(tmp_path), scope_secret="sixteen or more bytes")
    fs.pipe("shop/alice/s1/x", b"first")
    assert fs.ls("", detail=False) == ["shop"] and fs.exists("shop") and fs.isdir("shop") and not fs.exists("other")
    with pytest.raises(PermissionError, match="cannot be listed"):
        fs.ls("shop")


@pytest.mark.parametrize("provider", ["\ud800", "a\nb", "x" * 101, 7])
def test_a_store_s_own_name_is_short_and_printable(provider: Any) -> None:
    with pytest.raises(InvalidConfig, match="provider is at most 100 characters"):
        ArtifactStore("memory://named", provider=provider)


def test_a_plain_store_stays_plain_where_it_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = ArtifactStore("memory://plain-ones").scope("shop", "alice", "s1")
    stored = pickle.dumps(scope)
    monkeypatch.setenv("ARTIFACTFS_KEYS", KEY)
    monkeypatch.setenv("ARTIFACTFS_ACTIVE_KEY_ID", "v1")
    monkeypatch.setenv("ARTIFACTFS_SCOPE_SECRET", "sixteen or more bytes")
    assert not pickle.loads(stored).save("x", b"first").encryption
    assert scope.load("x").data == b"first"


def test_keys_of_the_environment_are_asked_for_where_a_path_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_KEYS", KEY)
    path = UPath("artifact://shop/alice/s1/x", root="memory://paths")
    stored = pickle.dumps(path)  # before its filesystem is made, which would tell by itself
    path.write_bytes(b"first")
    assert pickle.loads(stored).read_bytes() == b"first"
    monkeypatch.delenv("ARTIFACTFS_KEYS")
    type(path.fs).clear_instance_cache()  # as in another process
    with pytest.raises(KeyUnavailable, match="do not travel with it"):  # and not that this one is sealed
        pickle.loads(stored).read_bytes()


def test_a_store_s_limit_holds_for_what_is_followed_and_hides_no_pointer(tmp_path: Path) -> None:
    (tmp_path / "far").write_bytes(b"x" * 1000)
    store = ArtifactStore(tmp_path / "store", durability="none", max_bytes=10, pointer_schemes=["file"])
    scope = store.scope("shop", "alice", "s1")
    scope.point("x", f"file://{tmp_path}/far")
    with pytest.raises(PointerNotManaged):
        scope.load("x")
    for follow in (True, Follow(max_bytes=5000)):
        with pytest.raises(PayloadTooLarge):
            scope.load("x", follow=follow)
        assert len(scope.open("x", follow=follow).read()) == 1000


def test_a_store_that_is_not_registered_hides_no_name(tmp_path: Path) -> None:
    ArtifactStore(tmp_path, provider="legacy", durability="none").scope("shop", "alice", "s1").save("x", b"first")
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    with pytest.raises(BackendUnavailable, match="lies in the store 'legacy'"):
        scope.load("x")
    assert [name for name, _ in scope.records()] == ["x"] == list(scope.names())
    scope.delete("x", 0)
    assert scope.versions("x") == []
