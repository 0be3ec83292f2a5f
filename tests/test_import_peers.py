"""Importing stores that other systems' own packages wrote: every version loads with the bytes that their loaders give."""

from __future__ import annotations

import base64
import json
import uuid
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from artifactfs import ArtifactStore, Imported, PointerNotManaged, Removed, VersionNotFound, import_artifacts
from artifactfs.importing import Kind

from . import peers
from .servers import Server

KEYS = "v1:" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")


@pytest.fixture
def store() -> ArtifactStore:
    return ArtifactStore(f"memory://{uuid.uuid4().hex}", keys=KEYS)


def bucket(server: Server, service: str, **more: Any) -> tuple[str, list[peers.Loaded]]:
    """A bucket that the service has saved into, and what it loads from there."""
    url = server.bucket("")
    name = url.partition("://")[2]
    told = {"bucket": name, "endpoint": server.url, "key": server.key, "secret": server.secret, **more}
    return url, peers.loaded(service, **told)


def all_as_loaded(store: ArtifactStore, wanted: list[peers.Loaded], result: Imported) -> dict[str, Any]:
    """Compare every version with what its own loader gave; the records by ``name@N``."""
    assert len(wanted) >= 10
    records: dict[str, Any] = {}
    for one in wanted:
        scope = store.scope(one.app, one.user, one.session)
        record = scope.stat(one.name, one.version) if one.data is not None or one.uri else None
        if one.uri is not None:
            with pytest.raises(PointerNotManaged) as told:
                scope.load(one.name, one.version)
            assert told.value.uri == one.uri
        elif one.data is None:
            with pytest.raises(VersionNotFound):
                scope.load(one.name, one.version)
            record = next(found for found in scope.history(one.name) if found.version == one.version)
            assert isinstance(record, Removed)
        else:
            assert scope.load(one.name, one.version).data == one.data, one
            if one.text:
                assert record.mime_type.startswith("text/")
            elif one.mime_type:
                assert record.mime_type == one.mime_type
        records[f"{one.name}@{one.version}"] = record
    distinct = {
        (one.app, one.user, None if one.name[:5] == "user:" else one.session, one.name, one.version) for one in wanted
    }
    assert result.versions == len(distinct) and result.complete, result.notes
    return records


def again(kind: Kind, where: str, store: ArtifactStore, first: Imported, **more: Any) -> None:
    second = import_artifacts(kind, where, store, **more)
    assert (second.versions, second.already, second.lost) == (0, first.versions, ())


def whats(result: Imported) -> dict[str, int]:
    found: dict[str, int] = {}
    for note in result.notes:
        found[note.what] = found.get(note.what, 0) + 1
    return found


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_that_adks_file_service_wrote_loads_as_there(tmp_path: Path, store: ArtifactStore) -> None:
    wanted = peers.loaded("adk-file", root=str(tmp_path))
    before = tree(tmp_path)
    result = import_artifacts("adk-file", str(tmp_path), store)
    by_number = all_as_loaded(store, wanted, result)
    assert by_number["with metadata.json@0"].metadata == {"stage": "final", "round": 3, "tags": ["a", "b"]}
    assert by_number["named.pdf@0"].metadata == {"adkDisplayName": "A name for people.pdf"}
    assert by_number["note@0"].metadata == {"adkIsText": "true"}
    told = json.loads(
        (tmp_path / "apps/shop/users/alice/sessions/s1/artifacts/report.csv/versions/3/metadata.json").read_bytes()
    )
    assert by_number["report.csv@3"].timestamp.timestamp() == pytest.approx(told["createTime"], abs=1e-6)
    assert whats(result) == {"removal": 1}
    again("adk-file", str(tmp_path), store, result)
    assert tree(tmp_path) == before


def test_all_that_adks_service_for_google_wrote_loads_as_there(fake_gcs: Server, store: ArtifactStore) -> None:
    url, wanted = bucket(fake_gcs, "adk-gcs")
    result = import_artifacts("adk-gcs", url, store, storage_options=fake_gcs.own_options)
    by_number = all_as_loaded(store, wanted, result)
    assert by_number["with metadata.json@0"].metadata == {"stage": "final", "round": "3", "tags": "['a', 'b']"}
    assert by_number["pointer.pdf@0"].mime_type == "application/pdf"
    assert whats(result) == {"removal": 1, "reference": 1}
    again("adk-gcs", url, store, result, storage_options=fake_gcs.own_options)


def test_all_that_the_communitys_s3_service_wrote_loads_as_there(moto: Server, store: ArtifactStore) -> None:
    url, wanted = bucket(moto, "adk-s3")
    wanted = [one for one in wanted if one.name != "reports"]  # it lists a folder of names for one, and loads nothing
    result = import_artifacts("adk-s3", url, store, storage_options=moto.own_options)
    by_number = all_as_loaded(store, wanted, result)
    assert by_number["with metadata.json@0"].metadata == {"stage": "final", "round": 3, "tags": ["a", "b"]}
    assert whats(result) == {}
    again("adk-s3", url, store, result, storage_options=moto.own_options)


def test_all_that_solaces_file_service_wrote_loads_as_there(tmp_path: Path, store: ArtifactStore) -> None:
    wanted = peers.loaded("solace", root=str(tmp_path))
    before = tree(tmp_path)
    without = import_artifacts("solace", str(tmp_path), store, dry_run=True)
    assert [(note.what, note.source) for note in without.lost] == [("no app", "carol/s9/lost.txt")]
    with ProcessPoolExecutor(2) as executor:
        result = import_artifacts(
            "solace",
            str(tmp_path),
            on_disk := ArtifactStore(tmp_path.with_suffix(".store")),
            app="team",
            executor=executor,
        )
    apps = {"team/dev": "dev", "team/": "team"}  # the last part of a namespace is all that is kept there
    by_number = all_as_loaded(on_disk, [one._replace(app=apps.get(one.app, one.app)) for one in wanted], result)
    _is_rich(by_number)
    assert whats(result) == {"name": 1}
    again("solace", str(tmp_path), on_disk, result, app="team")
    assert tree(tmp_path) == before


def test_all_that_solaces_s3_service_wrote_loads_as_there(moto: Server, store: ArtifactStore) -> None:
    url, wanted = bucket(moto, "solace-s3")
    result = import_artifacts("solace-s3", url, store, storage_options=moto.own_options)
    _is_rich(all_as_loaded(store, wanted, result))
    assert whats(result) == {"name": 1}
    again("solace-s3", url, store, result, storage_options=moto.own_options)


def _is_rich(records: dict[str, Any]) -> None:
    assert records["report.csv@0"].metadata == {"description": "what was sold", "tags": ["till", "4"], "size_bytes": 13}
    assert records["report.csv@1"].metadata == {}
    assert records["report.csv.metadata.json@0"].mime_type == "application/json"


def test_all_that_amfs_wrote_comes_in_as_the_entries_that_it_reads(moto: Server, store: ArtifactStore) -> None:
    url = moto.bucket("")
    told = {"bucket": url.partition("://")[2], "prefix": "memory", "endpoint": moto.url}
    wanted = peers.run("amfs", **told, key=moto.key, secret=moto.secret)
    where = f"{url}/memory"
    result = import_artifacts("amfs", where, store, storage_options=moto.own_options)
    assert result.versions == len(wanted) == 4 and result.notes == ()
    for entry in wanted:
        scope = store.scope("team", entry["entity_path"])
        artifact = scope.load(entry["key"], entry["version"])
        assert json.loads(artifact.data) | {"version": 0} == entry | {"version": 0}
        assert artifact.record.mime_type == "application/json"
        assert artifact.record.timestamp.day == entry["version"]
        assert artifact.record.metadata["provenance"] == entry["provenance"]
    raw = fsspec.filesystem("s3", **moto.own_options).cat_file(f"{where}/team/repo/src/app.py/v002_superseded.json")
    assert store.scope("team", "repo").load("src/app.py", 2).data == raw
    again("amfs", where, store, result, storage_options=moto.own_options)
