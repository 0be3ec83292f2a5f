"""pandas on kinds of store and of files that `tests/tools` leaves out: memory, every server, and rarer compressions."""

from __future__ import annotations

import gc
import itertools

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


@pytest.fixture
def root() -> str:
    return f"memory://pandas-{next(_fresh)}"


def url(root: str, rest: str) -> str:
    return f"artifact://shop/alice/s1/{rest}::{root}"


def versions(root: str, name: str) -> list[int]:
    return ArtifactStore(root).scope("shop", "alice", "s1").versions(name)


FORMATS = {
    "t.csv.bz2": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.csv.zip": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.csv.tar.gz": (lambda frame, to: frame.to_csv(to, index=False), pd.read_csv),
    "t.json": (lambda frame, to: frame.to_json(to), pd.read_json),
    "t.json.gz": (
        lambda frame, to: frame.to_json(to, orient="records", lines=True),
        lambda at: pd.read_json(at, lines=True),
    ),
    "t.pkl.xz": (lambda frame, to: frame.to_pickle(to), pd.read_pickle),
    "t.orc": (lambda frame, to: frame.to_orc(to), pd.read_orc),
    "t.xml": (
        lambda frame, to: frame.to_xml(to, index=False, parser="etree"),
        lambda at: pd.read_xml(at, parser="etree"),
    ),
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
