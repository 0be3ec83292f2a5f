"""fsspec's own caches, mappings and wrappers over `artifact://`: right bytes, and no request for what is held."""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import fsspec.parquet
import pytest
from fsspec.caching import ReadAheadCache, caches
from fsspec.generic import GenericFileSystem, rsync
from fsspec.implementations.cached import CachingFileSystem, SimpleCacheFileSystem, WholeFileCacheFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.reference import ReferenceFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.store import ArtifactStore
from artifactfs.testing.counting import Counting

# fsspec leaves files of its caches to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file <_io.Buffered:ResourceWarning")

S = "shop/alice/s1"
_fresh = itertools.count()
WHOLE = ["simplecache", "filecache"]
KINDS: dict[str, Callable[..., Any]] = {
    "simplecache": SimpleCacheFileSystem,
    "filecache": WholeFileCacheFileSystem,
    "blockcache": CachingFileSystem,
}
DATA = b"".join(b"%07d\n" % number for number in range(40_000))


@pytest.fixture
def url() -> str:
    return f"memory://caches-{next(_fresh)}"


@pytest.fixture
def fs(url: str) -> ArtifactFileSystem:
    return ArtifactFileSystem(url, skip_instance_cache=True)


def counted(fs: ArtifactFileSystem) -> Counting:
    backend = fs.store._core.backend = Counting(fs.store.backend)
    return backend


def versions(url: str, name: str) -> list[int]:
    return ArtifactStore(url).scope("shop", "alice", "s1").versions(name)


# caches on the file

Move = tuple[str, int, int]

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.one_of(st.integers(-1, 100), st.integers(0, 200_000)), st.just(0)),
        st.tuples(st.just("readinto"), st.one_of(st.integers(0, 100), st.integers(0, 200_000)), st.just(0)),
        st.tuples(st.just("readline"), st.just(0), st.just(0)),
        st.tuples(st.just("seek"), st.integers(0, 330_000), st.just(io.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(-320_000, 0), st.just(io.SEEK_END)),
        st.tuples(st.just("seek"), st.integers(0, 100_000), st.just(io.SEEK_CUR)),
        st.tuples(st.just("pickle"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


def moved(file: Any, move: Move) -> Any:
    kind, number, whence = move
    if kind == "readinto":
        buffer = bytearray(number)
        return file.readinto(buffer), bytes(buffer)
    if kind == "seek":
        return file.seek(number, whence)
    return file.readline() if kind == "readline" else file.read(number)


def same_as_bytes(fs: ArtifactFileSystem, name: str, moves: list[Move], **how: Any) -> None:
    """Reading ``x@0`` of *fs* gives what reading `DATA` gives, whatever the order."""
    wanted = io.BytesIO(DATA)
    file = fs.open(f"{S}/x@0", cache_type=name, **how)
    try:
        for move in moves:
            if move[0] == "pickle":
                if name != "mmap":
                    file, old = pickle.loads(pickle.dumps(file)), file
                    old.close()
            else:
                assert moved(file, move) == moved(wanted, move)
            assert file.tell() == wanted.tell()
    finally:
        file.close()


NAMES = sorted(str(name) for name in caches if name not in {None, "parts"})


@pytest.mark.parametrize("name", NAMES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(moves=MOVES, block=st.sampled_from([1000, 4096, 70_001, 5_000_000]))
def test_every_cache_of_fsspecs_gives_the_right_bytes(name: str, moves: list[Move], block: int) -> None:
    fs = ArtifactFileSystem("memory://caches")
    if not fs.exists(f"{S}/x@0"):
        fs.pipe(f"{S}/x", DATA)
    same_as_bytes(fs, name, moves, block_size=block)


def test_a_cache_that_is_wrong_by_a_byte_would_be_caught(
    fs: ArtifactFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""

    class Off(ReadAheadCache):
        def _fetch(self, start: int | None, end: int | None) -> bytes:
            data: bytes = super()._fetch(start, end)
            return data[1:] + b"?" if start else data

    monkeypatch.setitem(caches, "off", Off)
    fs.pipe(f"{S}/x", DATA)
    same_as_bytes(fs, "off", [("read", 1000, 0)])
    with pytest.raises(AssertionError):
        same_as_bytes(fs, "off", [("seek", 160_000, io.SEEK_SET), ("read", 8, 0)])


def test_known_parts_are_read_without_a_request(fs: ArtifactFileSystem) -> None:
    fs.pipe(f"{S}/x", DATA)
    backend = counted(fs)
    parts = {(0, 16): DATA[:16], (80_000, 80_800): DATA[80_000:80_800]}
    with fs.open(f"{S}/x@0", cache_type="parts", cache_options={"data": parts}) as file:
        backend.taken()
        file.seek(80_008)
        assert file.read(8) == b"0010001\n"
        file.seek(0)
        assert file.read(16) == DATA[:16]
        assert backend.taken() == []


@pytest.mark.parametrize(
    ("name", "block", "most"), [("readahead", 100_000, 4), ("all", 1, 1), ("blockcache", 100_000, 4)]
)
def test_block_size_and_options_reach_the_cache(fs: ArtifactFileSystem, name: str, block: int, most: int) -> None:
    fs.pipe(f"{S}/x", DATA)
    backend = counted(fs)
    options = {"maxblocks": 40} if name == "blockcache" else None
    with fs.open(f"{S}/x@0", block_size=block, cache_type=name, cache_options=options) as file:
        assert file.blocksize == block and type(file.cache) is caches[name]
        backend.taken()
        assert b"".join(iter(lambda: file.read(1000), b"")) == DATA
        assert len(backend.taken()) <= most


def test_a_pickled_reader_reads_on_in_its_version(fs: ArtifactFileSystem, url: str) -> None:
    fs.pipe(f"{S}/x", DATA)
    for path, name in itertools.product((f"{S}/x", f"{S}/@latest/x", f"{S}/x@-1"), ("none", "readahead", "all")):
        newest = fs.info(f"{S}/x")["version"]
        with fs.open(path, cache_type=name, block_size=500) as file:
            assert file.read(800) == DATA[:800]
            fs.pipe(f"{S}/x", b"newer")
            packed = pickle.dumps(file)
        with pickle.loads(packed) as again:
            assert again.tell() == 800 and again.read(800) == DATA[800:1600]
            assert again.details["version"] == newest and again.blocksize == 500
            assert type(again.cache) is type(file.cache)
        fs.pipe(f"{S}/x", DATA)


# caches in front


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_read_again_without_a_request(fs: ArtifactFileSystem, tmp_path: Path, kind: str) -> None:
    fs.pipe(f"{S}/x", DATA)
    fs.pipe(f"{S}/x", b"newer")
    backend = counted(fs)
    cache = KINDS[kind](fs=fs, cache_storage=str(tmp_path))
    for path in (f"{S}/x@0", f"{S}/@0/x"):
        with cache.open(path) as file:
            assert file.read() == DATA
        assert backend.taken()
        for _ in range(2):
            with cache.open(path) as file:
                file.seek(8_000)
                assert file.read(8) == b"0001000\n" and file.seek(0) == 0 and file.read() == DATA
        assert cache.cat_file(path) == DATA == cache.cat(path)
        assert cache.cat_ranges([path] * 2, [0, 8], [8, 16]) == [b"0000000\n", b"0000001\n"]
        assert backend.taken() == []


def test_a_block_cache_fetches_each_block_once(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    fs.pipe(f"{S}/x", DATA)
    backend = counted(fs)
    cache = CachingFileSystem(fs=fs, cache_storage=str(tmp_path))

    def read(*places: int) -> list[str]:
        with cache.open(f"{S}/x@0", block_size=1000) as file:
            backend.taken()  # what opening asks
            for place in places:
                file.seek(place)
                assert file.read(8) == DATA[place : place + 8]
        return [called.method for called in backend.taken()]

    assert read(0, 100_000) and read(200_000)
    assert read(8, 100_008, 200_008) == []


def test_a_block_cache_never_mixes_versions_in_a_file_that_is_open(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    fs.pipe(f"{S}/x", DATA)
    cache = CachingFileSystem(fs=fs, cache_storage=str(tmp_path), check_files=True)
    with cache.open(f"{S}/x", block_size=1000) as file:
        assert file.read(8) == DATA[:8]
        fs.pipe(f"{S}/x", b"?" * len(DATA))
        file.seek(200_000)
        assert file.read(8) == DATA[200_000:200_008] and file.seek(0) == 0 and file.read() == DATA
    with cache.open(f"{S}/x", block_size=1000) as file:
        assert file.read() == b"?" * len(DATA)


@pytest.mark.parametrize("kind", ["filecache", "blockcache"])
def test_an_unpinned_path_is_seen_anew_where_the_cache_checks(
    fs: ArtifactFileSystem, tmp_path: Path, kind: str
) -> None:
    cache = KINDS[kind](fs=fs, cache_storage=str(tmp_path), check_files=True, expiry_time=False)
    for turn in range(4):
        data = b"%d" % turn * 1000
        fs.pipe(f"{S}/x", data)
        for _ in range(2):
            with cache.open(f"{S}/x") as file:
                assert file.read() == data
    fs.cp_file(f"{S}/x@1", f"{S}/x")
    with cache.open(f"{S}/x") as file:
        assert file.read() == b"1" * 1000
    fs.rm(f"{S}/x")
    with pytest.raises(FileNotFoundError), cache.open(f"{S}/x") as file:
        file.read()


@pytest.mark.parametrize("kind", KINDS)
def test_caches_in_front_of_a_chained_url(url: str, tmp_path: Path, kind: str) -> None:
    store = f"file://{tmp_path}/store"
    options = {kind: {"cache_storage": str(tmp_path / "cache")}, "file": {"durability": "none"}}
    target = f"artifact://{S}/x::{store}"
    try:
        for data in (b"first", b"second"):
            with fsspec.open(f"{kind}::{target}", "wb", **options) as file:
                file.write(data)
        assert versions(store, "x") == [0, 1]
        for _ in range(2):
            with fsspec.open(f"{kind}::artifact://{S}/x@0::{store}", "rb", **options) as file:
                assert file.read() == b"first"
        fs, path = fsspec.url_to_fs(f"{kind}::artifact://{S}/x@1::{store}", **options)
        assert path == f"{S}/x@1" and fs.cat(path) == b"second" and fs.ls(S, detail=False) == [f"{S}/x"]
        again = pickle.loads(pickle.dumps(fs))
        assert again.cat(path) == b"second" and fs.info(path)["version"] == 1
        held = fsspec.open_local(f"{kind}::artifact://{S}/x@0::{store}", **options) if kind in WHOLE else None
        assert held is None or Path(held).read_bytes() == b"first"
    finally:
        ArtifactFileSystem.clear_instance_cache()
        KINDS[kind].clear_instance_cache()


def test_a_transaction_through_a_cache_publishes_together_or_not_at_all(fs: ArtifactFileSystem, tmp_path: Path) -> None:
    cache = SimpleCacheFileSystem(fs=fs, cache_storage=str(tmp_path))
    with cache.transaction:
        for name in ("a", "b"):
            with cache.open(f"{S}/{name}", "wb") as file:
                file.write(name.encode())
        assert fs.find(S) == []
    assert fs.cat([f"{S}/a", f"{S}/b"]) == {f"{S}/a": b"a", f"{S}/b": b"b"}
    with pytest.raises(RuntimeError), cache.transaction:
        with cache.open(f"{S}/c", "wb") as file:
            file.write(b"c")
        raise RuntimeError
    assert fs.find(S) == [f"{S}/a", f"{S}/b"]


# wrappers


def test_many_files_are_opened_by_pattern(tmp_path: Path) -> None:
    pattern = f"artifact://{S}/part-*.csv::file://{tmp_path}"
    try:
        written = fsspec.open_files(pattern, "wb", num=3)
        with written as files:
            for number, file in enumerate(files):
                file.write(b"%d" % number)
        read = fsspec.open_files(pattern, "rb")
        assert [one.path for one in read] == [f"{S}/part-{number}.csv" for number in range(3)]
        for some in (read, pickle.loads(pickle.dumps(read))):
            with some as files:
                assert [file.read() for file in files] == [b"0", b"1", b"2"]
        with pytest.raises(RuntimeError), written as files:
            for file in files:
                file.write(b"part")
            raise RuntimeError
        assert versions(str(tmp_path), "part-0.csv") == [0] == versions(str(tmp_path), "part-2.csv")
    finally:
        ArtifactFileSystem.clear_instance_cache()


def test_columns_of_a_parquet_artifact_are_fetched_ahead(fs: ArtifactFileSystem) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"a": range(100_000), "b": [f"{number:050}" for number in range(100_000)]})
    with fs.open(f"{S}/t.parquet", "wb") as file:
        pq.write_table(table, file, compression="none", use_dictionary=False)
    fs.pipe(f"{S}/t.parquet", b"newer, and no table")
    backend = counted(fs)
    with fsspec.parquet.open_parquet_file(f"{S}/t.parquet@0", fs=fs, columns=["a"], engine="pyarrow") as file:
        backend.taken()
        assert pq.read_table(file, columns=["a"]) == table.select(["a"])
        assert backend.taken() == []


def test_trees_are_synchronised_both_ways(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTFS_URL", url)
    here, there, root = tmp_path / "here", tmp_path / "there", f"artifact://{S}/sync"
    (here / "deep").mkdir(parents=True)
    (here / "a.txt").write_bytes(b"a")
    (here / "deep" / "b.txt").write_bytes(b"bb")
    fs = ArtifactFileSystem()
    try:
        assert len(rsync(f"file://{here}", root)) == 2 and rsync(f"file://{here}", root) == {}
        assert fs.cat(f"{S}/sync/deep/b.txt") == b"bb" and versions(url, "sync/a.txt") == [0]
        (here / "a.txt").write_bytes(b"changed")
        (here / "deep" / "b.txt").unlink()
        assert len(rsync(f"file://{here}", root, delete_missing=True)) == 1
        assert fs.find(S) == [f"{S}/sync/a.txt"] and versions(url, "sync/a.txt") == [0, 1]
        assert fs.cat(f"{S}/sync/deep/b.txt@0") == b"bb"
        rsync(root, f"file://{there}")
        assert (there / "a.txt").read_bytes() == b"changed"
        generic = GenericFileSystem()
        generic.cp(f"{root}/a.txt", f"{root}/copy.txt")
        assert generic.cat(f"{root}/copy.txt") == b"changed" and generic.info(f"{root}/a.txt")["size"] == 7
        generic.cp(f"{root}/a.txt@0", f"file://{tmp_path}/old")
        assert (tmp_path / "old").read_bytes() == b"a"
    finally:
        ArtifactFileSystem.clear_instance_cache()


def test_a_mapping_keeps_bytes_under_keys(url: str) -> None:
    try:
        mapping = fsspec.get_mapper(f"artifact://{S}/store", root=url)
        assert list(mapping) == [] and len(mapping) == 0
        mapping["a/0.0"] = b"chunk"
        mapping.setitems({"a/0.1": b"next", ".zarray": b"{}"})
        assert sorted(mapping) == [".zarray", "a/0.0", "a/0.1"] and "a/0.0" in mapping and "a" not in mapping
        assert mapping.getitems(["a/0.0", "none"], on_error="omit") == {"a/0.0": b"chunk"}
        with pytest.raises(KeyError):
            mapping["none"]
        again = pickle.loads(pickle.dumps(mapping))
        assert again == mapping and again.pop("a/0.0") == b"chunk" and again.get("a/0.0") is None
        again.delitems(["a/0.1"])
        assert list(mapping) == [".zarray"]
        mapping.clear()
        assert list(mapping) == [] and versions(url, "store/a/0.0") == [0]
    finally:
        ArtifactFileSystem.clear_instance_cache()


def test_a_folder_may_be_a_filesystem_of_its_own(fs: ArtifactFileSystem) -> None:
    folder = DirFileSystem(S, fs)
    folder.pipe({"reports/q1.csv": b"q1", "a.txt": b"a"})
    with folder.open("reports/q1.csv", "wb") as file:
        file.write(b"q1, again")
    assert folder.cat("reports/q1.csv@0") == b"q1" == folder.cat("@0/reports/q1.csv")
    assert folder.find("") == ["a.txt", "reports/q1.csv"] == folder.glob("**/*.*")
    assert folder.ls("", detail=False) == ["a.txt", "reports"] and folder.isdir("reports")
    assert folder.info("a.txt")["name"] == "a.txt" and next(iter(folder.walk(""))) == ("", ["reports"], ["a.txt"])
    folder.mv("a.txt", "b.txt")
    folder.rm("reports", recursive=True)
    assert folder.find("") == ["b.txt"] and fs.find(S) == [f"{S}/b.txt"]
    with pytest.raises(FileNotFoundError):
        folder.open("a.txt")


def test_references_to_versions_stay_what_they_are(fs: ArtifactFileSystem, url: str) -> None:
    fs.pipe(f"{S}/x", b"0123456789")
    told = {
        "chunk": [f"artifact://{S}/x@0", 2, 4],
        "view": [f"artifact://{S}/@0/x", 0, 3],
        "all": [f"artifact://{S}/x@0"],
    }
    told_here = {**told, "inline": "text"}
    fs.pipe(f"{S}/x", b"newer, and longer than before")
    try:
        for over in (
            ReferenceFileSystem(told_here, fs=fs, skip_instance_cache=True),
            ReferenceFileSystem(
                {"version": 1, "refs": told_here},
                remote_protocol="artifact",
                remote_options={"root": url},
                skip_instance_cache=True,
            ),
        ):
            wanted = {"chunk": b"2345", "view": b"012", "all": b"0123456789", "inline": b"text"}
            assert over.cat(list(wanted)) == wanted and over.find("") == sorted(wanted)
            assert {name: over.open(name).read() for name in wanted} == wanted
            assert over.cat_ranges(["all", "chunk"], [1, 1], [3, 3]) == [b"12", b"34"]
    finally:
        ArtifactFileSystem.clear_instance_cache()
