"""What the first release stored is read by this one, and by every later one.

`tests/golden` holds stores as files, and `expected.json` what is in them, by what was done when they were made. They are
never made anew: where a test here fails, the library has stopped reading what its users have, and it is the library that
is to be mended.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import pytest

from artifactfs import ArtifactStore
from artifactfs.errors import (
    ArtifactNotFound,
    IntegrityError,
    KeyUnavailable,
    PointerNotManaged,
    VersionNotFound,
)
from artifactfs.refs import Ref
from artifactfs.store import Scope

from .make_golden import EXPECTED, FOREIGN, GOLDEN, files

TOLD = json.loads(EXPECTED.read_text(encoding="utf-8"))
KEYS = {"keys": TOLD["keys"], "active_key_id": TOLD["active_key_id"]}
PLACES = [
    pytest.param(name, place, id=f"{name}-{'-'.join(map(str, scope['scope']))}".replace("/", "_"))
    for name, store in TOLD["stores"].items()
    for place, scope in enumerate(store["scopes"])
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the golden stores."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def opened(tree: Path, name: str, **settings: Any) -> ArtifactStore:
    return ArtifactStore(tree / name, durability="none", **(KEYS if name == "sealed" else {}), **settings)


def scope_of(tree: Path, name: str, place: int, **settings: Any) -> tuple[Scope, dict[str, Any]]:
    told = TOLD["stores"][name]["scopes"][place]
    return opened(tree, name, **told["settings"], **settings).scope(*told["scope"]), told


def _as_told(record: Any) -> dict[str, Any]:
    """A record as `expected.json` spells it."""
    told = json.loads(msgspec.json.encode(record))
    encryption = told.pop("encryption", None)
    return {**told, **({"key_id": encryption["key_id"]} if encryption else {})}


@pytest.mark.parametrize("name", TOLD["stores"])
def test_the_golden_stores_are_as_they_were_made(name: str) -> None:
    """Not made anew, nor changed by a checkout that knows better about the ends of lines."""
    assert files(GOLDEN / name) == TOLD["stores"][name]["files"]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_every_version_of_a_golden_store_is_read(tree: Path, name: str, place: int, read_only: bool) -> None:
    scope, told = scope_of(tree, name, place, read_only=read_only)
    before = files(tree / name)
    for artifact, versions in told["artifacts"].items():
        if not versions:
            with pytest.raises(ArtifactNotFound):
                scope.load(artifact)
        loadable = [int(number) for number, record in versions.items() if record["kind"] != "removed"]
        assert scope.versions(artifact) == loadable
        history = [_as_told(record) for record in scope.history(artifact)]
        assert [one["version"] for one in history] == [int(number) for number in versions][::-1]
        for number, found in zip(reversed(versions), history, strict=True):
            _same(found, versions[number])
            _read(scope, artifact, int(number), versions[number])
        top = max(map(int, versions), default=-1)
        for absent in {*range(top + 3)} - {*loadable}:
            with pytest.raises((VersionNotFound, ArtifactNotFound)):
                scope.load(artifact, absent)
    assert files(tree / name) == before


def _same(found: dict[str, Any], record: dict[str, Any]) -> None:
    assert found == {field: value for field, value in record.items() if field != "content_sha256"}


def _read(scope: Scope, artifact: str, number: int, record: dict[str, Any]) -> None:
    if record["kind"] == "removed":
        with pytest.raises(VersionNotFound, match="is the removal"):
            scope.load(artifact, number)
        return
    _same(_as_told(scope.stat(artifact, number)), record)
    if record["kind"] == "pointer":
        for read in (scope.load, lambda name, version: scope.open(name, version=version)):
            with pytest.raises(PointerNotManaged) as pointer:
                read(artifact, number)
            assert pointer.value.uri == record["uri"]
        return
    data = scope.load(artifact, number).data
    assert (len(data), hashlib.sha256(data).hexdigest()) == (record["size_bytes"], record["content_sha256"])
    with scope.open(artifact, version=number) as file:
        file.seek(len(data) // 3)
        assert file.read(100) == data[len(data) // 3 :][:100]
        file.seek(0)
        assert file.read() == data


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_the_names_of_a_golden_store_are_listed_with_their_newest_records(tree: Path, name: str, place: int) -> None:
    scope, told = scope_of(tree, name, place, read_only=True)
    own = [found for found in scope.names() if told["scope"][2] is None or not found.startswith("user:")]
    assert sorted(own) == told["names"]
    for found, record in scope.records():
        if found in told["artifacts"]:
            _same(_as_told(record), list(told["artifacts"][found].values())[-1])
    later = datetime.now(UTC) + timedelta(days=1)
    assert set(own) <= set(scope.names(at=later))


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_golden_store_is_read_by_url(tree: Path, name: str, place: int) -> None:
    told = TOLD["stores"][name]["scopes"][place]
    keys = KEYS if name == "sealed" else {}
    root = (tree / name).as_uri()
    fs = fsspec.filesystem("artifact", root=root, skip_instance_cache=True, read_only=True, **keys, **told["settings"])
    for artifact, versions in told["artifacts"].items():
        for number, record in versions.items():
            if record["kind"] == "blob":
                app, user, session = told["scope"]
                shown = artifact if session else f"user:{artifact}"
                ref = Ref(app, user, session or "any", shown, selector=int(number))
                data = fs.cat_file(str(ref))
                assert hashlib.sha256(data).hexdigest() == record["content_sha256"], str(ref)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_golden_store_is_gone_on_with(tree: Path, name: str, place: int) -> None:
    """Numbers that were given are not given again, also those of deleted and broken saves."""
    scope, told = scope_of(tree, name, place)
    taken = {"deleted.txt": 0, "partly.txt": 2, "broken.bin": 1, "many": 101}
    for artifact, versions in told["artifacts"].items():
        highest = max([taken.get(artifact, -1), *map(int, versions)])
        assert scope.save(artifact, b"more").version == highest + 1
        assert scope.load(artifact).data == b"more"
        assert scope.versions(artifact)[-1] == highest + 1
    scope.store.compact()
    assert set(told["artifacts"]) <= set(scope.names())
    for artifact in told["artifacts"]:
        scope.delete(artifact)
    assert not set(told["artifacts"]) & set(scope.names())


@pytest.mark.parametrize("name", TOLD["stores"])
def test_a_golden_stores_apps_users_and_sessions_are_listed(tree: Path, name: str) -> None:
    store = opened(tree, name, read_only=True)
    scopes = [tuple(scope["scope"]) for scope in TOLD["stores"][name]["scopes"]]
    assert set(store.apps()) == {app for app, _, _ in scopes} | {"theirs"}
    assert list(store.users("shop/2")) == ["bob@example.com"]
    assert list(store.sessions("shop/2", "bob@example.com")) == ["user"]
    assert list(store.sessions("shop", "alice")) == (["s1"] if name == "plain" else ["s1", "s2"])
    if name == "sealed":
        assert list(store.users("clinic")) != ["carol"]
        hidden = opened(tree, name, read_only=True, scope_secret=TOLD["scope_secret"])
        assert list(hidden.sessions("clinic", "carol")) == ["s1"]


def test_the_payload_of_another_program_in_a_golden_store_is_read_where_it_is_believed(tree: Path) -> None:
    def scope(name: str, **settings: Any) -> Scope:
        return opened(tree, name, read_only=True, **settings).scope("theirs", "alice", "s1")

    for believing in (scope("plain"), scope("sealed", accept_plain=True)):
        assert list(believing.names()) == ["theirs.csv"]
        assert believing.load("theirs.csv").data == FOREIGN
        assert believing.stat("theirs.csv").mime_type == "text/csv"
    assert list(scope("sealed").names()) == ["theirs.csv"]
    with pytest.raises(IntegrityError, match="accept_plain=True"):
        scope("sealed").load("theirs.csv")


def test_no_byte_of_a_sealed_golden_store_is_read_without_its_keys(tree: Path) -> None:
    without = ArtifactStore(tree / "sealed", read_only=True).scope("shop", "alice", "s1")
    told = TOLD["stores"]["sealed"]["scopes"][0]
    for artifact in told["names"]:
        with pytest.raises(KeyUnavailable, match="ARTIFACTFS_KEYS"):
            without.load(artifact)
    old, _ = TOLD["keys"].split(",")
    first = ArtifactStore(tree / "sealed", read_only=True, keys=old).scope("shop", "alice", "s2")
    with pytest.raises(KeyUnavailable, match="no key '2026-11'"):
        first.load("x")
