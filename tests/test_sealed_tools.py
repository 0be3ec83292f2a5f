"""Tools open sealed artifacts by URL, with keys from the environment or from options, and are told where there are none."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from artifactfs import ArtifactStore
from artifactfs import duckdb as duckdb_helper
from artifactfs import polars as polars_helper
from artifactfs.errors import IntegrityError, KeyUnavailable
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.testing.store_base import Raw, keys_below

from .test_sealing import KEYS, LONGER, OTHER, flipped, stored

# fsspec leaves files of its caches to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file <_io.Buffered:ResourceWarning")

FRAME = pd.DataFrame(
    {"name": ["äpfel", "pears", "kiwi"] * 2000, "count": range(6000), "price": [0.5, 0.25, 1.0] * 2000}
)
LATER = FRAME.assign(count=range(6000, 12_000))

FORMATS: dict[str, tuple[Callable[..., Any], Callable[..., pd.DataFrame]]] = {
    "t.parquet": (lambda frame, to, **options: frame.to_parquet(to, **options), pd.read_parquet),
    "t.csv": (lambda frame, to, **options: frame.to_csv(to, index=False, **options), pd.read_csv),
    "t.csv.gz": (lambda frame, to, **options: frame.to_csv(to, index=False, **options), pd.read_csv),
}


@pytest.fixture(params=["memory", "local"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://tools-{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/store"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ARTIFACTFS_KEYS", KEYS)
    return KEYS


def url(root: str, rest: str) -> str:
    return f"artifact://shop/alice/s1/{rest}::{root}"


def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process is that has none: filesystems that are open already keep theirs."""
    monkeypatch.delenv("ARTIFACTFS_KEYS")
    ArtifactFileSystem.clear_instance_cache()


def is_sealed(root: str, *names: str) -> None:
    store = ArtifactStore(root, keys=KEYS)
    scope = store.scope("shop", "alice", "s1")
    for name in names:
        for number in scope.versions(name):
            assert json.loads(stored(scope, name, f"{number}.metadata"))["encryption"]["cipher"] == "cobblestone-256"
            payload = stored(scope, name, str(number))
            assert b"PAR1" not in payload and b"kiwi" not in payload
    assert keys_below(store, "")


# pandas


@pytest.mark.parametrize("name", FORMATS)
def test_pandas_writes_and_reads_sealed_tables_by_url_with_keys_from_the_environment(
    root: str, keys: str, name: str
) -> None:
    write, read = FORMATS[name]
    write(FRAME, url(root, name))
    write(LATER, url(root, name))
    assert_frame_equal(read(url(root, name)), LATER)
    for place, wanted in (
        (f"{name}@0", FRAME),
        (f"@0/{name}", FRAME),
        (f"@1/{name}", LATER),
        (f"@latest/{name}", LATER),
    ):
        if place.startswith("@") or not name.endswith(".gz"):  # compression is guessed from the end of the URL
            assert_frame_equal(read(url(root, place)), wanted)
    is_sealed(root, name)


@pytest.mark.parametrize("name", FORMATS)
def test_pandas_writes_and_reads_sealed_tables_with_keys_from_its_options(root: str, name: str) -> None:
    write, read = FORMATS[name]
    options = {"keys": KEYS}
    write(FRAME, url(root, name), storage_options=options)
    assert_frame_equal(read(url(root, name), storage_options=options), FRAME)
    with pytest.raises(KeyUnavailable, match="set ARTIFACTFS_KEYS"):
        read(url(root, name))
    is_sealed(root, name)


def test_pandas_reads_columns_of_a_sealed_parquet_table(root: str, keys: str) -> None:
    FRAME.to_parquet(url(root, "t.parquet"), row_group_size=500)
    got = pd.read_parquet(url(root, "t.parquet@0"), columns=["count"], filters=[("count", ">=", 5000)])
    assert got["count"].tolist() == list(range(5000, 6000))


@pytest.mark.parametrize("name", FORMATS)
def test_pandas_is_told_clearly_where_there_are_no_keys(
    root: str, keys: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = FORMATS[name]
    write(FRAME, url(root, name))
    without_keys(monkeypatch)
    for place in (name, f"@0/{name}"):
        with pytest.raises(KeyUnavailable, match=r"is sealed with the key 'v1'.*without keys.*ARTIFACTFS_KEYS") as told:
            read(url(root, place))
        assert told.value.key_id == "v1"
    with pytest.raises(IntegrityError, match="another key now"):
        read(url(root, name), storage_options={"keys": OTHER})
    with pytest.raises(KeyUnavailable, match="no key 'v1' is configured here"):
        read(url(root, name), storage_options={"keys": OTHER.replace("v1:", "v2:")})


def test_pandas_is_given_no_row_of_an_altered_table(root: str, keys: str) -> None:
    FRAME.to_csv(url(root, "t.csv"), index=False)
    scope = ArtifactStore(root).scope("shop", "alice", "s1")
    payload = stored(scope, "t.csv", "0")
    Raw(scope, "t.csv").put("0", flipped(payload, 8 * (len(payload) - 20)))
    with pytest.raises(IntegrityError):
        pd.read_csv(url(root, "t.csv"))


# other tools


def test_pyarrow_reads_a_sealed_table_and_a_dataset_of_them(root: str, keys: str) -> None:
    for number in range(3):
        FRAME[number * 2000 : (number + 1) * 2000].to_parquet(url(root, f"part/{number}.parquet"))
    fs, path = fsspec.url_to_fs(url(root, "part"))
    assert pq.read_table(f"{path}/1.parquet", filesystem=fs).num_rows == 2000
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table().to_pandas()
    assert sorted(table["count"]) == list(range(6000))


def test_polars_scans_and_writes_sealed_tables(root: str, keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.from_pandas(FRAME)
    with fsspec.open(url(root, "t.parquet"), "wb") as file:
        frame.write_parquet(file)
    lazy = polars_helper.scan_parquet(url(root, "t.parquet"))
    assert lazy.filter(pl.col("count") > 5990).select("count").collect()["count"].to_list() == list(range(5991, 6000))
    with fsspec.open(url(root, "t.parquet@0")) as file:
        assert pl.read_parquet(file).equals(frame)
    is_sealed(root, "t.parquet")
    without_keys(monkeypatch)
    with pytest.raises(KeyUnavailable, match="ARTIFACTFS_KEYS"):
        polars_helper.scan_parquet(url(root, "t.parquet"))


def test_duckdb_reads_and_writes_sealed_tables(root: str) -> None:
    con = duckdb_helper.register(duckdb.connect(), root, keys=KEYS)
    home = "artifact://shop/alice/s1"
    con.execute(f"COPY (SELECT i, i * 2 AS twice FROM range(5000) t(i)) TO '{home}/t.parquet' (FORMAT parquet)")
    assert con.execute(f"SELECT sum(twice) FROM '{home}/t.parquet' WHERE i < 100").fetchone() == (9900,)
    assert con.execute(f"SELECT count(*) FROM '{home}/@0/t.parquet'").fetchone() == (5000,)
    is_sealed(root, "t.parquet")


# fsspec


@pytest.mark.parametrize("cache", ["none", "bytes", "readahead", "blockcache", "all", "mmap", "first", "background"])
def test_no_cache_of_fsspec_changes_what_is_read_of_a_sealed_file(root: str, keys: str, cache: str) -> None:
    fs, path = fsspec.url_to_fs(url(root, "x.bin"))
    fs.pipe_file(path, LONGER)
    with fs.open(f"{path}@0", cache_type=cache, block_size=20_000) as file:
        for place, size in ((50_000, 100), (0, 10), (99_990, 100), (16_380, 20), (30_000, 40_000)):
            file.seek(place)
            assert file.read(size) == LONGER[place : place + size]
        file.seek(0)
        assert file.read() == LONGER


@pytest.mark.filterwarnings(
    "ignore:unclosed file <_io.Buffered:ResourceWarning"
)  # fsspec leaves its copies to collectors
@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_caching_filesystems_hold_what_they_open_and_only_that(
    root: str, keys: str, cache: str, tmp_path: Path
) -> None:
    """A copy that a caching filesystem keeps is not sealed: it lies in the folder that its user names."""
    with fsspec.open(url(root, "x.bin"), "wb") as file:
        file.write(LONGER)
    options = {cache: {"cache_storage": str(tmp_path / "cache")}}
    for _ in range(2):
        with fsspec.open(f"{cache}::{url(root, 'x.bin@0')}", "rb", **options) as file:
            file.seek(50_000)
            assert file.read(100) == LONGER[50_000:50_100]


def test_ranges_of_sealed_versions_are_those_of_their_content(root: str, keys: str) -> None:
    fs, path = fsspec.url_to_fs(url(root, "x.bin"))
    fs.pipe_file(path, LONGER)
    fs.pipe_file(path, LONGER[::-1])
    fs.pipe_file(f"{path}.empty", b"")
    ranges = [(0, 10), (16_380, 16_390), (99_000, None), (-5, None), (50_000, 50_000), (None, None), (99_999, 200_000)]
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    for version, content in ((0, LONGER), (1, LONGER[::-1])):
        got = fs.cat_ranges([f"{path}@{version}"] * len(ranges), starts, ends)
        assert got == [content[start:end] for start, end in ranges]
        assert [fs.cat_file(f"{path}@{version}", start, end) for start, end in ranges] == got
    assert fs.cat_file(f"{path}.empty") == b""
    assert fs.info(path)["size"] == len(LONGER), "sizes are of the content, not of what is stored"
    assert fs.cat([path, f"{path}.empty"]) == {path: LONGER[::-1], f"{path}.empty": b""}


def test_files_go_between_a_disk_and_a_sealed_store_by_put_get_and_append(root: str, keys: str, tmp_path: Path) -> None:
    fs, path = fsspec.url_to_fs(url(root, "x.bin"))
    (tmp_path / "given").write_bytes(LONGER)
    fs.put_file(str(tmp_path / "given"), path)
    fs.get_file(path, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == LONGER
    with fs.open(path, "ab") as file:
        file.write(b"more")
    assert fs.cat_file(path) == LONGER + b"more"
    fs.cp_file(path, f"{path}.copy")
    assert fs.cat_file(f"{path}.copy") == LONGER + b"more"
    with fs.open(f"{path}.txt", "w") as text:
        text.write("Grüße\n")
    with io.TextIOWrapper(fs.open(f"{path}.txt"), encoding="utf-8") as text:
        assert text.read() == "Grüße\n"
    is_sealed(root, "x.bin", "x.bin.copy", "x.bin.txt")
