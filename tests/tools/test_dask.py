"""dask over ``artifact://``: tables and texts by URL, from threads, from processes, and from the workers of a cluster."""

from __future__ import annotations

import pytest

from .wheel import Root, Tool

START = """
import dask, fsspec
import dask.bag as db
import dask.dataframe as dd
import pandas as pd
import table
from pandas.testing import assert_frame_equal

folder = "artifact://shop/alice/s1"

def piece(n):
    "A quarter of the table."
    return table.plain().assign(row=range(table.ROWS))[n * 25_000 : (n + 1) * 25_000]

def ordered(back):
    return back.sort_values("row").reset_index(drop=True)

def tables(**told):
    with dask.config.set({"dataframe.convert-string": False}):
        made, wanted = dd.from_map(piece, range(4)), pd.concat(map(piece, range(4)))
        made.to_parquet(f"{folder}/parts", **told)
        back = dd.read_parquet(f"{folder}/parts", **told)
        assert back.npartitions == 4
        table.assert_same(back.compute(), wanted)

        simple = ["row", "int64", "bool", "text"]
        written = made[simple].to_csv(f"{folder}/csv/part-*.csv", index=False, **told)
        assert written == [f"shop/alice/s1/csv/part-{n}.csv" for n in range(4)]
        back = dd.read_csv(f"{folder}/csv/part-*.csv", blocksize=None, **told)
        assert back.npartitions == 4
        assert_frame_equal(ordered(back.compute()), wanted[simple])

def texts(**told):
    lines = db.from_sequence([f"äpfel {n}" for n in range(100)], npartitions=5)
    lines.to_textfiles(f"{folder}/lines/*.txt.gz", storage_options=told)
    back = db.read_text(f"{folder}/lines/*.txt.gz", files_per_partition=2, storage_options=told)
    assert back.npartitions == 3
    assert back.map(str.strip).compute() == list(lines)

def length(fs, path):
    return len(fs.cat(path))

def write(file, n):
    with file as f:
        f.write(b"x" * n)
    return n
"""


@pytest.mark.parametrize("way", ["threads", pytest.param("processes", marks=pytest.mark.nightly)])
def test_tables_and_texts_are_written_and_read_by_threads_and_by_processes(
    run_tool: Tool, root: Root, way: str
) -> None:
    run_tool(
        START
        + f"""
if __name__ == "__main__":
    with dask.config.set(scheduler={way!r}):
        tables()
        texts()
""",
        **root.env,
    )
    for name in ("csv/part-2.csv", "parts/part.0.parquet", "lines/4.txt.gz"):
        assert root.versions(name) == [0]


@pytest.mark.nightly
def test_workers_of_a_cluster_are_told_the_store_by_the_options_alone(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + f"told = {dict(root=root.url, **root.storage_options)!r}"
        + """
def main():
    from distributed import Client, LocalCluster
    workers = dict(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with LocalCluster(**workers) as cluster, Client(cluster) as client:
        tables(storage_options=told)
        texts(**told)
        fs = fsspec.filesystem("artifact", **told)
        assert client.submit(length, fs, "shop/alice/s1/lines/0.txt.gz").result() == fs.size("shop/alice/s1/lines/0.txt.gz")
        files = fsspec.open_files(f"{folder}/out/*", "wb", num=4, **told)
        assert client.gather(client.map(write, files, range(4))) == [0, 1, 2, 3]
    assert [info["size"] for info in fs.ls("shop/alice/s1/out")] == [0, 1, 2, 3]

if __name__ == "__main__":
    main()
"""
    )


@pytest.mark.nightly_over_s3
def test_a_folder_that_is_overwritten_is_read_anew_and_keeps_its_history(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
first = pd.DataFrame({"row": range(1000), "word": [table.WORDS[n % 10] for n in range(1000)]})
second = first.assign(row=first["row"] + 5000)
dd.from_pandas(first, npartitions=3).to_parquet(f"{folder}/t")
assert dd.read_parquet(f"{folder}/t")["row"].sum().compute() == first["row"].sum()
assert len(dd.read_parquet(f"{folder}/t")) == 1000
dd.from_pandas(second, npartitions=2).to_parquet(f"{folder}/t", overwrite=True)
assert dd.read_parquet(f"{folder}/t")["row"].sum().compute() == second["row"].sum()
assert dd.read_parquet(f"{folder}/@latest/t")["row"].sum().compute() == second["row"].sum()
fs = fsspec.filesystem("artifact")
then = max(fs.modified(f"{folder}/t/part.{n}.parquet@0") for n in range(3)).replace(tzinfo=None).isoformat()
assert_frame_equal(ordered(dd.read_parquet(f"{folder}/@{then}Z/t").compute()), first, check_dtype=False)
old = [f"{folder}/t/part.{n}.parquet@0" for n in range(3)]
assert_frame_equal(ordered(dd.read_parquet(old).compute()), first, check_dtype=False)

dd.from_pandas(second, npartitions=2).to_parquet(f"{folder}/by", partition_on=["word"])
try:
    dd.read_parquet(f"{folder}/@0/by").compute()
except ValueError as error:
    assert "numbers of their own" in str(error)
else:
    raise AssertionError("a number over a folder was not refused")
kiwi = dd.read_parquet(f"{folder}/by", filters=[("word", "==", "kiwi, green")])
assert sorted(kiwi["row"].compute()) == list(range(5002, 6000, 10))
assert set(dd.read_parquet(f"{folder}/by")["word"].compute()) == set(table.WORDS)
""",
        **root.env,
    )
    assert root.versions("t/part.0.parquet") == [0, 2]
    assert root.versions("t/part.2.parquet") == [0]


@pytest.mark.nightly_over_s3
def test_csv_is_read_in_blocks_compressed_and_as_one_file(run_tool: Tool, root: Root) -> None:
    run_tool(
        START
        + """
wanted = pd.DataFrame({"row": range(20_000), "text": [f"row {n}" for n in range(20_000)]})
parts = dd.from_pandas(wanted, npartitions=4)

parts.to_csv(f"{folder}/one.csv", single_file=True, index=False)
back = dd.read_csv(f"{folder}/one.csv", blocksize=50_000)
assert back.npartitions > 2
assert_frame_equal(ordered(back.compute()), wanted, check_dtype=False)
# A version that is named stays what it is while it is read in blocks.
version = fsspec.filesystem("artifact").info(f"{folder}/one.csv")["version"]
pinned = dd.read_csv(f"{folder}/one.csv@{version}", blocksize=50_000)
parts.to_csv(f"{folder}/one.csv", single_file=True, index=False, header=False)
assert_frame_equal(ordered(pinned.compute()), wanted, check_dtype=False)

parts.to_csv(f"{folder}/gz/*.csv.gz", index=False, compression="gzip")
back = dd.read_csv(f"{folder}/gz/*.csv.gz", blocksize=None, compression="infer", include_path_column=True)
assert sorted(set(back["path"].compute())) == [f"shop/alice/s1/gz/{n}.csv.gz" for n in range(4)]
assert_frame_equal(ordered(back.compute().drop(columns="path")), wanted, check_dtype=False)
""",
        **root.env,
    )
