"""pandas reads and writes artifacts by URL."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactfs.store import ArtifactStore

from .servers import Server

_fresh = itertools.count()

FRAME = pd.DataFrame({"name": ["äpfel", "pears", "kiwi"], "count": [3, 0, 12], "price": [0.5, 0.25, 1.0]})
LATER = FRAME.assign(count=[4, 1, 13])


@pytest.fixture(params=["memory", "local"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://pandas-{next(_fresh)}" if request.param == "memory" else f"file://{tmp_path}/store"


def url(root: str, rest: str) -> str:
    return f"artifact://shop/alice/s1/{rest}::{root}"


def versions(root: str, name: str) -> list[int]:
    return ArtifactStore(root).scope("shop", "alice", "s1").versions(name)


FORMATS = {
    "t.csv": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.csv.gz": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.csv.bz2": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.csv.zip": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.parquet": (lambda frame, to: frame.to_parquet(to, index=False), pd.read_parquet),
    "t.feather": (lambda frame, to: frame.to_feather(to), pd.read_feather),
    "t.json": (lambda frame, to: frame.to_json(to), pd.read_json),
    "t.json.gz": (
        lambda frame, to: frame.to_json(to, orient="records", lines=True),
        lambda at: pd.read_json(at, lines=True),
    ),
    "t.pkl": (lambda frame, to: frame.to_pickle(to), pd.read_pickle),
    "t.pkl.xz": (lambda frame, to: frame.to_pickle(to), pd.read_pickle),
}


@pytest.mark.parametrize("name", FORMATS)
def test_frames_come_back_from_every_version(root: str, name: str) -> None:
    """Compression is guessed from the extension, which the view segment keeps."""
    write, read = FORMATS[name]
    write(FRAME, url(root, name))
    write(LATER, url(root, name))
    assert versions(root, name) == [0, 1]
    for place, wanted in (("", LATER), ("@0/", FRAME), ("@1/", LATER), ("@-2/", FRAME), ("@latest/", LATER)):
        pd.testing.assert_frame_equal(read(url(root, place + name)), wanted)


def test_a_version_named_after_the_artifact_is_read_too(root: str) -> None:
    FRAME.to_csv(url(root, "reports/t.csv"), index=False)
    LATER.to_csv(url(root, "reports/t.csv"), index=False)
    pd.testing.assert_frame_equal(pd.read_csv(url(root, "reports/t.csv@0")), FRAME)
    FRAME.to_parquet(url(root, "t.parquet"))
    pd.testing.assert_frame_equal(pd.read_parquet(url(root, "t.parquet@0")), FRAME)
    pd.testing.assert_series_equal(
        pd.read_parquet(url(root, "t.parquet@0"), columns=["count"])["count"], FRAME["count"]
    )


def test_a_text_frame_can_be_appended_to(root: str) -> None:
    FRAME.to_csv(url(root, "t.csv"), index=False)
    LATER.to_csv(url(root, "t.csv"), index=False, header=False, mode="a")
    both = pd.concat([FRAME, LATER], ignore_index=True)
    pd.testing.assert_frame_equal(pd.read_csv(url(root, "t.csv")), both)
    pd.testing.assert_frame_equal(pd.read_csv(url(root, "t.csv@0")), FRAME)
    with pytest.raises(FileExistsError):
        FRAME.to_csv(url(root, "t.csv"), mode="x")


def test_a_long_frame_is_read_in_pieces(root: str) -> None:
    long = pd.DataFrame({"n": range(300_000)})
    long.to_csv(url(root, "long.csv"), index=False)
    with pd.read_csv(url(root, "long.csv"), chunksize=70_000) as pieces:
        assert sum(piece["n"].sum() for piece in pieces) == long["n"].sum()


def test_a_partitioned_frame_is_a_folder(root: str) -> None:
    FRAME.to_parquet(url(root, "parts"), partition_cols=["name"])
    back = pd.read_parquet(url(root, "parts")).astype({"name": str}).sort_values("count", ignore_index=True)
    pd.testing.assert_frame_equal(
        back[["count", "price"]], FRAME.sort_values("count", ignore_index=True)[["count", "price"]]
    )
    assert set(back["name"]) == set(FRAME["name"])
    with pytest.raises(ValueError, match="a folder is there"):
        pd.read_parquet(url(root, "@0/parts"))


def test_the_store_may_be_an_option_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"root": str(tmp_path), "durability": "none"}
    FRAME.to_csv("artifact://shop/alice/s1/t.csv", index=False, storage_options=options)
    pd.testing.assert_frame_equal(pd.read_csv("artifact://shop/alice/s1/t.csv@0", storage_options=options), FRAME)
    monkeypatch.setenv("ARTIFACTFS_URL", str(tmp_path))
    pd.testing.assert_frame_equal(pd.read_csv("artifact://shop/alice/s1/t.csv"), FRAME)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zip"])
def test_a_frame_that_fails_half_way_saves_nothing(root: str, name: str) -> None:
    class Trap:
        def __str__(self) -> str:
            raise RuntimeError("no text for this one")

    FRAME.to_csv(url(root, name), index=False)
    rows: list[Any] = ["x" * 1000] * 2000
    with pytest.raises(RuntimeError, match="no text"):
        pd.DataFrame({"a": [*rows, Trap()]}).to_csv(url(root, name), chunksize=100)
    assert versions(root, name) == [0]
    pd.testing.assert_frame_equal(pd.read_csv(url(root, name)), FRAME)


def test_a_parquet_frame_that_cannot_be_written_saves_nothing(root: str) -> None:
    """pyarrow closes what it writes to in one case, and forgets it in the other."""
    FRAME.to_parquet(url(root, "t.parquet"))
    table = pa.Table.from_pandas(LATER)
    fs, path = fsspec.url_to_fs(url(root, "t.parquet"))
    with pytest.raises(RuntimeError), pq.ParquetWriter(path, table.schema, filesystem=fs) as writer:
        writer.write_table(table)
        raise RuntimeError
    with pytest.warns(ResourceWarning, match="discarded"):  # noqa: PT031
        with pytest.raises(ValueError, match="Unsupported Parquet format version"):
            FRAME.to_parquet(url(root, "t.parquet"), version="none such")
        gc.collect()
    assert versions(root, "t.parquet") == [0]


def test_what_is_not_there_is_said_as_pandas_users_expect(root: str) -> None:
    FRAME.to_csv(url(root, "reports/t.csv"))
    for missing in ("none.csv", "reports/t.csv@7"):
        with pytest.raises(FileNotFoundError):
            pd.read_csv(url(root, missing))
    with pytest.raises(IsADirectoryError):
        pd.read_csv(url(root, "reports"))
    with pytest.raises(ValueError, match="never changes"):
        FRAME.to_csv(url(root, "reports/t.csv@0"))


def test_frames_go_to_a_bucket_and_come_back_by_version(any_server: Server) -> None:
    """The store's own options may be given for the whole URL, or under the name of its protocol."""
    root, options = any_server.bucket(), any_server.storage_options
    FRAME.to_csv(url(root, "reports/t.csv.gz"), index=False, storage_options=options)
    LATER.to_parquet(url(root, "t.parquet"), storage_options={root.split(":")[0]: options})
    LATER.to_csv(url(root, "reports/t.csv.gz"), index=False, storage_options=options)
    back = pd.read_csv(url(root, "@0/reports/t.csv.gz"), storage_options=options)
    pd.testing.assert_frame_equal(back, FRAME)
    pd.testing.assert_frame_equal(pd.read_parquet(url(root, "t.parquet@0"), storage_options=options), LATER)
    fs, path = fsspec.url_to_fs(url(root, ""), **options)
    assert fs.find(path) == [f"{path}/reports/t.csv.gz", f"{path}/t.parquet"]
    assert [(one["name"], one["type"]) for one in fs.ls(path)] == [
        (f"{path}/reports", "directory"),
        (f"{path}/t.parquet", "file"),
    ]
    fs.rm(path, recursive=True)
    assert fs.find(path) == [] and fs.info(f"{path}/t.parquet@0")["size"] > 0
    fs.store.close()
