"""`ArtifactStore` keeps its promises in memory, on a disk, and on real servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from artifactfs import ArtifactStore, InvalidConfig, UnsafeBackend
from artifactfs.layout import ArtifactId
from artifactfs.protocol.ops import Delete, Steps
from artifactfs.testing.store import StoreConformance

from .servers import Server


class TestMemory(StoreConformance):
    @pytest.fixture
    def store(self) -> ArtifactStore:
        return ArtifactStore(f"memory://{uuid.uuid4().hex}/prefix")


class TestLocal(StoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return ArtifactStore(tmp_path / "root", durability="none")


class TestFsspec(StoreConformance):
    """Any other filesystem of fsspec, for one writer."""

    single_writer = True
    longest_segment = 255

    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return ArtifactStore("dir://", single_writer=True, path=str(tmp_path / "root"), fs=LocalFileSystem())


@pytest.fixture(scope="module")
def stores() -> Iterator[Callable[[Server, str], ArtifactStore]]:
    """A store on a server by an engine, the same one for all tests here."""
    made: dict[tuple[str, str], ArtifactStore] = {}

    def on(server: Server, engine: str) -> ArtifactStore:
        options = {**server.storage_options, **({"engine": engine} if engine else {})}
        if (server.name, engine) not in made:
            made[server.name, engine] = ArtifactStore(server.bucket(), **options)
        return made[server.name, engine]

    yield on
    for store in made.values():
        store.close()


class OnServer(StoreConformance):
    """One store in one bucket for all tests; a subclass names the server."""

    server_name = ""
    engine = ""

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest, stores: Callable[[Server, str], ArtifactStore]) -> ArtifactStore:
        return stores(request.getfixturevalue(self.server_name), self.engine)


class TestMoto(OnServer):
    server_name = "moto"


@pytest.mark.deep
@pytest.mark.server("ceph")
class TestCeph(OnServer):
    server_name = "ceph"


@pytest.mark.nightly  # its backend's own suite runs in CI
@pytest.mark.server("minio")
class TestMinio(OnServer):
    server_name = "minio"
    longest_segment = 255


@pytest.mark.nightly  # on MinIO in `test_backend_obstore_s3`
class TestMotoByObstore(OnServer):
    server_name = "moto"
    engine = "obstore"


@pytest.mark.nightly
@pytest.mark.server("ceph")
class TestCephByObstore(OnServer):
    server_name = "ceph"
    engine = "obstore"


@pytest.mark.deep
@pytest.mark.server("fake_gcs")
class TestFakeGcs(OnServer):
    server_name = "fake_gcs"


# opening


def test_the_store_is_named_by_the_environment_where_no_argument_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_URL", "memory://by-environment")
    assert ArtifactStore().url == "memory://by-environment"
    assert ArtifactStore("memory://by-argument").url == "memory://by-argument"
    monkeypatch.delenv("ARTIFACTFS_URL")
    with pytest.raises(InvalidConfig, match="set ARTIFACTFS_URL"):
        ArtifactStore()


@pytest.mark.parametrize(
    ("url", "settings", "why"),
    [
        ("memory://x", {"max_bytes": -1}, "max_bytes is a number of bytes"),
        ("memory://x", {"tries": 0}, "tries must be at least 1"),
        ("memory://x", {"deadline": 0}, "deadline above 0"),
        ("memory://x", {"durabilty": "none"}, "takes no such option: durabilty"),
        ("./x", {"durability": "maybe"}, "'fsync' or 'none'"),
        ("simplecache::s3://bucket", {}, "not a chain"),
        ("nonsense://x", {"single_writer": True}, "nonsense"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told(url: str, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidConfig, match=why):
        ArtifactStore(url, **settings)


def test_a_filesystem_without_atomic_creates_is_refused_unless_there_is_one_writer(tmp_path: Path) -> None:
    with pytest.raises(UnsafeBackend, match="single_writer=True"):
        ArtifactStore(f"dir://{tmp_path}")


def test_stores_of_one_url_are_one_store(tmp_path: Path) -> None:
    for url in (f"memory://{uuid.uuid4().hex}", str(tmp_path / "root")):
        ArtifactStore(url).scope("shop", "alice", "s1").save("x", b"0")
        assert ArtifactStore(url).scope("shop", "alice", "s1").load("x").data == b"0"
    assert ArtifactStore(f"file://{tmp_path}/root").scope("shop", "alice", "s1").load("x").data == b"0"


def test_the_tree_on_a_disk_is_readable_without_this_library(tmp_path: Path) -> None:
    scope = ArtifactStore(tmp_path, durability="none").scope("shop", "alice", "s1")
    scope.save("reports/q1.csv", b"a,b\n")
    scope.save("user:logo.png", b"png")
    assert (tmp_path / "shop/alice/s1/reports%2Fq1.csv/0").read_bytes() == b"a,b\n"
    assert (tmp_path / "shop/alice/user/logo.png/0").read_bytes() == b"png"
    assert b'"kind":"blob"' in (tmp_path / "shop/alice/s1/reports%2Fq1.csv/0.metadata").read_bytes()


# controls: planted faults that the suite must catch


def _is_caught_by(test: str) -> None:
    scope = ArtifactStore(f"memory://{uuid.uuid4().hex}").scope("shop", "alice", "s1")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(TestMemory(), test)(scope)


def test_the_suite_sees_a_store_that_returns_what_was_altered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artifactfs.protocol.read.fits", lambda *_: True)
    _is_caught_by("test_an_altered_payload_is_reported_not_returned")


def test_the_suite_sees_a_store_that_gives_a_number_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(env: Any, artifact: ArtifactId, number: int, got: Any, reason: str) -> Steps[object]:
        yield (Delete((artifact.record(number),)),)
        return True

    monkeypatch.setattr("artifactfs.protocol.delete.bury", forgetting)
    _is_caught_by("test_a_deleted_version_is_gone_and_its_number_stays_taken")


def test_the_suite_sees_a_store_that_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unmarked(*_: object) -> Steps[None]:
        return
        yield

    monkeypatch.setattr("artifactfs.protocol.save.mark_hidden", unmarked)
    _is_caught_by("test_a_removed_artifact_is_out_of_view_and_its_history_stays")
