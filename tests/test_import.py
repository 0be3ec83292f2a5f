"""Importing: numbers, times, types and metadata come along, what cannot be kept is listed, and nothing is overwritten."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifactfs import (
    AccessDenied,
    ArtifactNotFound,
    ArtifactStore,
    BackendUnavailable,
    Imported,
    InvalidConfig,
    KeyUnavailable,
    PointerNotManaged,
    import_artifacts,
)
from artifactfs.importing import source as source_module
from artifactfs.importing.source import Unreadable

from .clusters import a_cluster

KEYS = "v1:" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")


@pytest.fixture(params=[None, KEYS], ids=["plain", "sealed"])
def store(request: pytest.FixtureRequest) -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=request.param or "none")


@pytest.fixture
def plain() -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}")


def solace(folder: Path, versions: Mapping[str, bytes], mime_type: str = "text/csv") -> str:
    """A tree as Solace's filesystem service writes it, of versions by ``app/user/session/name/N``."""
    for name, data in versions.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        Path(f"{path}.meta").write_text(json.dumps({"mime_type": mime_type}))
    return str(folder)


def in_memory(versions: Mapping[str, bytes]) -> str:
    where = f"memory://{uuid.uuid4().hex}"
    for name, data in versions.items():
        fsspec.filesystem("memory").pipe_file(f"{where.removeprefix('memory:/')}/{name}", data)
    return where


def told(result: Imported) -> list[tuple[str, str, bool]]:
    return [(note.what, note.artifact or note.source, note.lost) for note in result.notes]


def keys_of(store: ArtifactStore) -> dict[str, tuple[int, ...]]:
    return {
        f"{app}/{user}/{session}/{name}": tuple(store.scope(app, user, session).versions(name))
        for app in store.apps()
        for user in store.users(app)
        for session in (*store.sessions(app, user), None)
        for name in store.scope(app, user, session).names()
    }


# --- what comes along -------------------------------------------------------------------------------------------------


def test_numbers_times_and_types_come_along_and_gaps_stay_empty(tmp_path: Path, store: ArtifactStore) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"%d" % number for number in (0, 1, 4, 10)})
    os.utime(tmp_path / "shop/alice/s1/r.csv/4", ns=(0, 1_700_000_000_123_456_000))
    result = import_artifacts("solace", where, store)
    scope = store.scope("shop", "alice", "s1")
    assert scope.versions("r.csv") == [0, 1, 4, 10]
    assert [scope.load("r.csv", number).data for number in (0, 1, 4, 10)] == [b"0", b"1", b"4", b"10"]
    record = scope.stat("r.csv", 4)
    assert record.timestamp == datetime.fromtimestamp(1_700_000_000, UTC).replace(microsecond=123456)
    assert record.mime_type == "text/csv"
    assert [(note.what, note.artifact, note.lost) for note in result.notes] == [
        ("gap", "shop/alice/s1/r.csv@10", False),
        ("gap", "shop/alice/s1/r.csv@4", False),
        ("order", "shop/alice/s1/r.csv@4", False),
    ]
    assert "lacks 2 versions from 2 to 3" in result.notes[1].why
    assert (result.artifacts, result.versions, result.size_bytes, result.complete) == (1, 4, 5, True)
    assert scope.save("r.csv", b"next").version == 11


def test_numbers_that_begin_at_one_are_kept(plain: ArtifactStore) -> None:
    where = in_memory({f"shop/alice/s1/r.csv/{number}": b"" for number in (1, 2)} | {"shop/alice/user/user:a/1": b"a"})
    result = import_artifacts("adk-go", where, plain)
    assert keys_of(plain) == {"shop/alice/s1/r.csv": (1, 2), "shop/alice/s1/user:a": (1,), "shop/alice/None/a": (1,)}
    assert plain.scope("shop", "alice", "s1").load("r.csv", 1).data == b""  # which is no removal there
    assert result.notes == ()


def test_a_folder_comes_in_as_version_0_of_each_file(tmp_path: Path, store: ArtifactStore) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "q1.csv").write_bytes(b"day,sold")
    (tmp_path / ".env").write_bytes(b"A=1")
    (tmp_path / "link").symlink_to(tmp_path / ".env")
    result = import_artifacts("folder", str(tmp_path), store, app="shop", user="alice")
    scope = store.scope("shop", "alice")
    assert list(scope.names()) == [".env", "reports/q1.csv"] and scope.load("reports/q1.csv").data == b"day,sold"
    assert scope.stat("reports/q1.csv").mime_type == "text/csv"
    assert told(result) == [("foreign", "shop/alice/user/link", True)] and not result.complete


def test_what_comes_into_a_store_with_keys_is_sealed_and_its_user_hidden(tmp_path: Path) -> None:
    where = solace(tmp_path / "from", {"shop/alice/s1/r.csv/0": b"a secret of alice"})
    store = ArtifactStore(tmp_path / "to", keys=KEYS, scope_secret="sixteen or more bytes")
    assert import_artifacts("solace", where, store).versions == 1
    assert store.scope("shop", "alice", "s1").load("r.csv").data == b"a secret of alice"
    written = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() or "alice" in str(path.relative_to(tmp_path)) for path in written)


def test_a_reference_brings_the_bytes_it_leads_to_and_a_pointer_stays_one(
    monkeypatch: Any, plain: ArtifactStore
) -> None:
    base = "artifact://apps/shop/users/alice/sessions/s1/artifacts"
    uris = {
        "a/0": f"{base}/b/versions/0",
        "b/0": f"{base}/c/versions/0",
        "gone/0": f"{base}/nothing/versions/0",
        "gone/1": "artifact://apps/shop/users/bob/artifacts/x/versions/0",
        "gone/3": "gs://bucket/paper.pdf",
        "round/0": f"{base}/round/versions/0",
        "odd/0": "http://example.org/x",
    }
    files = {f"shop/alice/s1/{name}": b"" for name in uris} | {"shop/alice/s1/c/0": b"the bytes"}
    where = in_memory(files)

    def of_listing(info: Mapping[str, Any]) -> Mapping[str, Any]:
        uri = uris.get("/".join(info["name"].split("/")[-2:]))
        return {"type": "text/plain", "metadata": {} if uri is None else {"adkFileUri": uri}}

    monkeypatch.setattr(source_module, "of_listing", of_listing)
    monkeypatch.setattr("artifactfs.importing.adk.of_listing", of_listing)
    result = import_artifacts("adk-gcs", where, plain)
    scope = plain.scope("shop", "alice", "s1")
    assert scope.load("a").data == scope.load("b").data == b"the bytes"
    with pytest.raises(PointerNotManaged):
        scope.load("gone")
    assert scope.versions("gone") == [3]
    assert told(result) == [
        ("reference", "shop/alice/s1/a@0", False),
        ("reference", "shop/alice/s1/b@0", False),
        ("unreadable", "shop/alice/s1/gone@0", True),
        ("unreadable", "shop/alice/s1/gone@1", True),
        ("gap", "shop/alice/s1/gone@3", False),
        ("pointer", "shop/alice/s1/odd@0", True),
        ("unreadable", "shop/alice/s1/round@0", True),
    ]


# --- what cannot be kept is listed ------------------------------------------------------------------------------------


def test_what_has_no_app_is_left_out_until_one_is_given(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {"shop/alice/s1/r.csv/0": b"one", "alice/s1/r.csv/0": b"two", "bob/user/x/0": b"three"})
    result = import_artifacts("solace", where, plain)
    assert told(result) == [("no app", "alice/s1/r.csv", True), ("no app", "bob/user/x", True)]
    result = import_artifacts("solace", where, plain, app="other")
    assert (result.versions, result.already, result.notes) == (2, 1, ())
    assert plain.scope("other", "bob").load("x").data == b"three"


def test_two_things_of_one_name_are_told_of(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {"shop/alice/s1/r.csv/0": b"one", "alice/s1/r.csv/0": b"two"})
    result = import_artifacts("solace", where, plain, app="shop")
    assert told(result) == [("collision", "shop/alice/s1/r.csv", True)]
    assert (
        result.notes[0].source == "shop/alice/s1/r.csv"
        and plain.scope("shop", "alice", "s1").load("r.csv").data == b"two"
    )


def test_what_is_no_artifact_is_told_of(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {"shop/alice/s1/r.csv/0": b"one", "shop/alice/s1/r.csv/007": b"", "README": b""})
    (tmp_path / "shop/alice/s1/r.csv/3.meta").write_text("{}")
    (tmp_path / "shop/alice/s1/r.csv/5").symlink_to(tmp_path / "README")
    result = import_artifacts("solace", where, plain)
    assert {(note.what, note.source, note.lost) for note in result.notes} == {
        ("foreign", "README", False),
        ("foreign", "README.meta", False),
        ("foreign", "shop/alice/s1/r.csv/007", False),
        ("foreign", "shop/alice/s1/r.csv/007.meta", False),
        ("foreign", "shop/alice/s1/r.csv/3.meta", False),
        ("foreign", "shop/alice/s1/r.csv/5", True),
    }


def test_types_names_and_metadata_that_cannot_be_kept_are_told_of(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {"shop/alice/s1/r.csv/0": b"1", "shop/alice/s1/user:x/0": b"2"}, mime_type="no type")
    solace(
        tmp_path,
        {"shop/alice/s1/r.csv.metadata.json/0": json.dumps({"long": "x" * 70_000}).encode()},
        "application/json",
    )
    (tmp_path / "shop/alice/s1/guessed.csv").mkdir()
    (tmp_path / "shop/alice/s1/guessed.csv/0").write_bytes(b"3")
    result = import_artifacts("solace", where, plain)
    assert sorted((note.what, note.artifact, note.lost) for note in result.notes) == [
        ("MIME type", "shop/alice/s1/guessed.csv@0", False),
        ("MIME type", "shop/alice/s1/r.csv@0", False),
        ("metadata", "shop/alice/s1/r.csv@0", False),
        ("name", "shop/alice/s1/user:x", True),
    ]
    assert plain.scope("shop", "alice", "s1").stat("r.csv").mime_type == "text/csv"
    assert len(plain.scope("shop", "alice", "s1").load("r.csv.metadata.json").data) > 70_000


DEEP = "[" * 100_000


@pytest.mark.parametrize("about", ['{"fileName": 5}', '{"fileName": ["x"]}', DEEP])
def test_what_tells_of_a_version_of_adk_may_be_anything(tmp_path: Path, plain: ArtifactStore, about: str) -> None:
    folder = tmp_path / "apps/shop/users/alice/artifacts/x/versions/0"
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"kept")
    (folder / "metadata.json").write_text(about)
    assert import_artifacts("adk-file", str(tmp_path), plain).complete
    assert plain.scope("shop", "alice").load("x").data == b"kept"


@pytest.mark.parametrize(
    "entry",
    [
        DEEP,
        '{"entity_path": 5, "key": "x"}',
        '{"provenance": {"written_at": "0001-01-01T00:00:00+05:00"}}',
        '{"provenance": {"written_at": "9999-12-31T23:59:59-05:00"}}',
    ],
)
def test_an_entry_of_amfs_may_be_anything(tmp_path: Path, plain: ArtifactStore, entry: str) -> None:
    (tmp_path / "shop/5/x").mkdir(parents=True)
    (tmp_path / "shop/5/x/v001_current.json").write_text(entry)
    assert import_artifacts("amfs", str(tmp_path), plain).complete
    assert plain.scope("shop", "5").load("x", 1).data == entry.encode()


def test_what_describes_an_artifact_of_solace_may_be_anything(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {"shop/alice/s1/x/0": b"kept", "shop/alice/s1/x.metadata.json/0": DEEP.encode()})
    (tmp_path / "shop/alice/s1/x/0.meta").write_text(DEEP)
    assert import_artifacts("solace", where, plain).complete
    assert plain.scope("shop", "alice", "s1").load("x").data == b"kept"


def test_one_thing_that_tells_nobody_where_it_belongs_stops_no_other(
    tmp_path: Path, plain: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        folder = tmp_path / f"apps/shop/users/alice/artifacts/{name}/versions/0"
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
        (folder / "metadata.json").write_text("{}")
        entry = tmp_path / f"amfs/shop/alice/{name}/v001_current.json"
        entry.parent.mkdir(parents=True)
        entry.write_text("{}")
    read = source_module.Source.read

    def denied(self: source_module.Source, path: str) -> bytes:
        if "/a/" in path:
            raise Unreadable("PermissionError: not yours")
        return read(self, path)

    monkeypatch.setattr(source_module.Source, "read", denied)
    for kind, where in (("adk-file", tmp_path), ("amfs", tmp_path / "amfs")):
        notes = import_artifacts(kind, str(where), plain).lost  # type: ignore[arg-type]
        assert [(note.what, note.why) for note in notes] == [("unreadable", "PermissionError: not yours")]
    assert list(plain.scope("shop", "alice").names()) == ["b"]


def test_workers_that_lack_the_keys_say_so_and_bring_in_nothing_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARTIFACTFS_KEYS", raising=False)
    where = solace(tmp_path / "mesh", {"shop/alice/s1/x/0": b"kept"})
    store = ArtifactStore(tmp_path / "store", keys=KEYS)
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        pytest.raises(KeyUnavailable, match="set it"),
    ):
        import_artifacts("solace", where, store, executor=pool)
    assert list(store.apps()) == []
    with ThreadPoolExecutor(1) as threads:
        assert import_artifacts("solace", where, store, executor=threads).versions == 1


@pytest.mark.nightly  # what runs shards is proved for all of its users in test_bulk.py
def test_threads_processes_and_a_cluster_bring_in_the_same(tmp_path: Path) -> None:
    held = {f"shop/alice/s{n % 3}/x{n}/{v}": b"%d of %d" % (v, n) for n in range(12) for v in range(3)}
    where = solace(tmp_path / "mesh", held)
    seen = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool, a_cluster() as client:
        for turn, executor in enumerate((None, pool, client.get_executor())):
            store = ArtifactStore(tmp_path / f"store{turn}")
            report = import_artifacts("solace", where, store, executor=executor)
            loaded = {
                (session, name, number): (found.data, found.record.write_id)
                for session in store.sessions("shop", "alice")
                for name in store.scope("shop", "alice", session).names()
                for number in store.scope("shop", "alice", session).versions(name)
                for found in [store.scope("shop", "alice", session).load(name, number)]
            }
            seen.append((report.versions, report.notes, loaded))
    assert seen[0][0] == 36
    assert seen[0] == seen[1] == seen[2]


def test_a_long_file_is_not_read_for_what_it_tells(
    tmp_path: Path, plain: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "WHOLE_LIMIT", 1000)
    read: list[int] = []
    reading = source_module.Source.read

    def counted(self: source_module.Source, path: str) -> bytes:
        data = reading(self, path)
        read.append(len(data))
        return data

    monkeypatch.setattr(source_module.Source, "read", counted)
    long = json.dumps({"mime_type": "text/csv", "x": "y" * 2000}).encode()
    where = solace(tmp_path / "mesh", {"shop/alice/s1/x/0": b"kept", "shop/alice/s1/x.metadata.json/0": long})
    (tmp_path / "mesh/shop/alice/s1/x/0.meta").write_bytes(long)
    adk = tmp_path / "adk/apps/shop/users/alice/artifacts/y/versions/0"
    adk.mkdir(parents=True)
    (adk / "y").write_bytes(b"kept")
    (adk / "metadata.json").write_bytes(long)
    entry = tmp_path / "amfs/shop/alice/z/v001_current.json"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(long)
    assert [(note.what, note.lost) for note in import_artifacts("solace", where, plain).notes] == [
        ("MIME type", False),
        ("metadata", False),
    ]
    for kind in ("adk-file", "amfs"):
        notes = import_artifacts(kind, str(tmp_path / kind.removesuffix("-file")), plain).notes  # type: ignore[arg-type]
        assert [(note.what, note.lost) for note in notes] == [("metadata", False)]
    assert plain.scope("shop", "alice").load("z", 1).data == long
    assert max(read) < 1000


def test_a_file_comes_in_as_a_folder_of_one(tmp_path: Path, plain: ArtifactStore) -> None:
    (tmp_path / "x.txt").write_text("kept")
    for where in (str(tmp_path / "x.txt"), in_memory({"y.txt": b"kept"}) + "/y.txt"):
        assert import_artifacts("folder", where, plain, app="shop", user="alice").versions == 1
    assert list(plain.scope("shop", "alice").names()) == ["x.txt", "y.txt"]


def test_a_store_is_not_imported_into_itself(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    store.scope("shop", "alice").save("x", "")
    for where in ("", "store", "store/shop"):
        with pytest.raises(InvalidConfig, match="lies in the other"):
            import_artifacts("folder", str(tmp_path / where), store, app="shop", user="alice")


def test_what_cannot_be_opened_is_told_without_what_opens_it(
    plain: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(location: str, **options: str) -> None:
        raise ConnectionError(f"no route to server?access_token={options['token']}")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(BackendUnavailable, match="cannot be opened") as raised:
        import_artifacts("adk-gcs", "gs://bucket", plain, storage_options={"token": "secret"})
    assert "secret" not in str(raised.value) and raised.value.__cause__ is None


def test_a_gap_too_wide_to_fill_leaves_out_what_follows(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"1" for number in (0, 5_000_000, 5_000_001)})
    result = import_artifacts("solace", where, plain)
    assert told(result) == [
        ("gap", "shop/alice/s1/r.csv@5000000", True),
        ("left out", "shop/alice/s1/r.csv@5000001", True),
    ]
    assert plain.scope("shop", "alice", "s1").versions("r.csv") == [0]


def test_a_version_that_cannot_be_read_holds_up_those_above_it_until_it_can(
    tmp_path: Path, plain: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"%d" % number for number in range(4)})
    read = source_module.Source.read

    def failing(self: source_module.Source, path: str) -> bytes:
        if path.endswith("/2"):
            raise Unreadable("OSError: the disk is worn")
        return read(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(source_module.Source, "read", failing)
        result = import_artifacts("solace", where, plain)
    assert told(result) == [
        ("unreadable", "shop/alice/s1/r.csv@2", True),
        ("left out", "shop/alice/s1/r.csv@3", True),
    ]
    result = import_artifacts("solace", where, plain)
    assert (result.versions, result.already, result.complete) == (2, 2, True)


# --- what stands at the destination is left alone ---------------------------------------------------------------------


def test_a_name_that_is_in_use_is_left_alone(tmp_path: Path, store: ArtifactStore) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"%d" % number for number in range(3)})
    scope = store.scope("shop", "alice", "s1")
    scope.save("r.csv", b"0")
    result = import_artifacts("solace", where, store)
    assert [what for what, _, lost in told(result) if lost] == ["taken", "left out", "left out"]
    assert scope.versions("r.csv") == [0] and (result.versions, result.already) == (0, 0)


def test_saves_made_after_an_import_stay_the_newest(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"%d" % number for number in range(2)})
    import_artifacts("solace", where, plain)
    scope = plain.scope("shop", "alice", "s1")
    scope.save("r.csv", b"ours")
    solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"theirs" for number in (2, 3)})
    result = import_artifacts("solace", where, plain)
    assert (result.versions, result.already, len(result.lost)) == (0, 2, 2)
    assert scope.load("r.csv").data == b"ours"


def test_what_was_deleted_at_the_destination_does_not_come_back(tmp_path: Path, plain: ArtifactStore) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/r.csv/{number}": b"%d" % number for number in range(3)})
    import_artifacts("solace", where, plain)
    scope = plain.scope("shop", "alice", "s1")
    scope.delete("r.csv", 1)
    result = import_artifacts("solace", where, plain)
    assert told(result) == [("ended", "shop/alice/s1/r.csv@1", True)] and scope.versions("r.csv") == [0, 2]


def test_a_source_that_changed_under_a_number_is_told_of(tmp_path: Path, store: ArtifactStore) -> None:
    where = solace(tmp_path, {f"shop/alice/s1/{name}/0": b"before" for name in ("a", "b", "c")})
    import_artifacts("solace", where, store)
    (tmp_path / "shop/alice/s1/a/0").write_bytes(b"after!")
    (tmp_path / "shop/alice/s1/b/0").write_bytes(b"and longer")
    os.utime(tmp_path / "shop/alice/s1/c/0", ns=(0, 0))
    result = import_artifacts("solace", where, store)
    assert told(result) == [("changed", "shop/alice/s1/a@0", True), ("changed", "shop/alice/s1/b@0", True)]
    assert (result.versions, result.already) == (0, 1)
    assert store.scope("shop", "alice", "s1").load("a").data == b"before"


def test_a_dry_run_tells_what_would_happen_and_writes_nothing(tmp_path: Path) -> None:
    where = solace(tmp_path / "from", {f"shop/alice/s1/r.csv/{number}": b"%d" % number for number in (0, 2)})
    into = ArtifactStore(tmp_path / "to", read_only=True)
    result = import_artifacts("solace", where, into, dry_run=True)
    assert result.dry_run and (result.versions, result.size_bytes, [note.what for note in result.notes]) == (
        2,
        2,
        ["gap"],
    )
    assert not (tmp_path / "to").exists() or not any((tmp_path / "to").iterdir())
    with pytest.raises(AccessDenied, match="read_only"):
        import_artifacts("solace", where, into)


KILLED = """
import os, signal, sys
from artifactfs import ArtifactStore, import_artifacts
from artifactfs.backends.local import LocalBackend
from concurrent.futures import ThreadPoolExecutor

where, to, keys, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
create = LocalBackend.create

async def counting(self, *call):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await create(self, *call)

LocalBackend.create = counting
with ThreadPoolExecutor(1) as one:
    import_artifacts("solace", where, ArtifactStore(to, keys=keys), executor=one)
"""


@pytest.mark.parametrize("keys", ["none", KEYS], ids=["plain", "sealed"])
def test_an_import_that_is_killed_is_gone_on_with(tmp_path: Path, keys: str) -> None:
    """At an odd count of creates it dies between a claim and its payload."""
    versions = {f"shop/alice/s1/{name}/{number}": f"{name}{number}".encode() for name in "ab" for number in (0, 1, 3)}
    where, to = solace(tmp_path / "from", versions), tmp_path / "to"
    for creates in (1, 4):
        done = subprocess.run([sys.executable, "-c", KILLED, where, str(to), keys, str(creates)], timeout=60)
        assert done.returncode == -9
    store = ArtifactStore(to, keys=keys)
    result = import_artifacts("solace", where, store)
    assert result.complete and result.versions + result.already == 6 and result.already > 0
    scope = store.scope("shop", "alice", "s1")
    for name in "ab":
        assert scope.versions(name) == [0, 1, 3]
        assert [scope.load(name, number).data for number in (0, 1, 3)] == [f"{name}{n}".encode() for n in (0, 1, 3)]
        assert all(scope.verify(name, number) for number in (0, 1, 3))


# --- what makes no sense ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more", "match"),
    [
        ("solance", {}, "there is no import of 'solance'"),
        ("folder", {"app": "shop"}, "give app= and user="),
        ("solace", {"user": "alice"}, "leave out user="),
        ("amfs", {"app": "shop"}, "leave out app="),
    ],
)
def test_arguments_that_are_not_for_a_kind_are_refused(
    tmp_path: Path, plain: ArtifactStore, kind: Any, more: dict[str, Any], match: str
) -> None:
    with pytest.raises(InvalidConfig, match=match):
        import_artifacts(kind, str(tmp_path), plain, **more)


def test_a_location_that_cannot_be_listed_is_an_error(
    tmp_path: Path, plain: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactNotFound, match="there is nothing at"):
        import_artifacts("solace", str(tmp_path / "nowhere"), plain)
    with pytest.raises(InvalidConfig, match="no filesystem of fsspec opens"):
        import_artifacts("solace", "nothing://x", plain)
    memory = type(fsspec.filesystem("memory"))

    def failing(*_: Any, **__: Any) -> Any:
        raise ConnectionResetError("the cable was pulled")

    monkeypatch.setattr(memory, "ls", failing)
    with pytest.raises(BackendUnavailable, match="the cable was pulled"):
        import_artifacts("solace", "memory://somewhere", plain)
    with pytest.raises(InvalidConfig, match="holds pointers only"):
        import_artifacts("solace", str(tmp_path), ArtifactStore("memory://pointers", mode="pointer_only"))
