"""pyarrow reads and writes artifacts through fsspec: files, streams and partitioned data sets, every type of Arrow."""

from __future__ import annotations

import pytest

from .wheel import Root, Tool, over_s3

START = """
import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.fs
import pyarrow.json
import pyarrow.parquet as pq

HOME = "shop/alice/s1"
fs = fsspec.filesystem("artifact")
arrow = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(fs))

def fails(kind, work, says=""):
    try:
        work()
    except kind as error:
        assert says in str(error), error
    else:
        raise AssertionError(f"{says!r} was not said")
"""


def test_parquet_of_every_type_by_each_way_of_naming_it(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
from arrow_table import NOT_IN_PARQUET, table

made = table().drop_columns(NOT_IN_PARQUET)
pq.write_table(made, f"{{HOME}}/t.parquet", filesystem=fs, compression="zstd")
pq.write_table(made.slice(0, 500), f"{{HOME}}/t.parquet", filesystem=arrow)
pq.write_table(made.slice(9, 90), f"fsspec+artifact://{{HOME}}/t.parquet")
few = ds.field("row") < 50
for version, wanted in ((0, made), (1, made.slice(0, 500)), (2, made.slice(9, 90))):
    for path in (f"t.parquet@{{version}}", f"@{{version}}/t.parquet", f"@{{version - 3}}/t.parquet"):
        path = f"{{HOME}}/{{path}}"
        assert pq.read_table(path, filesystem=fs).equals(wanted)
        assert pq.read_table(path, filesystem=arrow, columns=["row", "struct"]).equals(wanted.select(["row", "struct"]))
        assert pq.read_table(f"fsspec+artifact://{{path}}", filters=few).equals(wanted.filter(few))
        assert pq.ParquetFile(path, filesystem=fs).metadata.num_rows == wanted.num_rows
found, path = pa.fs.FileSystem.from_uri(f"fsspec+artifact://{{HOME}}/t.parquet@1")
assert pq.read_table(path, filesystem=found).num_rows == 500
fails(pa.ArrowInvalid, lambda: pq.read_table(f"artifact://{{HOME}}/t.parquet"), "Unrecognized filesystem")
""",
        **root.env,
    )
    assert root.versions("t.parquet") == [0, 1, 2]


@pytest.mark.parametrize("compression", over_s3(["uncompressed", "zstd", "lz4"], "zstd"))
def test_feather_of_every_type(compression: str, run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
from arrow_table import table

made = table()
for rows in (made, made.slice(0, 500)):
    with arrow.open_output_stream(f"{{HOME}}/t.feather") as stream:
        pa.feather.write_feather(rows, stream, compression="{compression}")
with arrow.open_input_file(f"{{HOME}}/t.feather@0") as file:
    assert pa.feather.read_table(file).equals(made)
with arrow.open_input_file(f"{{HOME}}/@0/t.feather") as file:
    assert pa.ipc.open_file(file).read_all().equals(made)
back = ds.dataset(f"{{HOME}}/t.feather", filesystem=fs, format="feather").to_table(columns=["row", "interval"])
assert back.equals(made.slice(0, 500).select(["row", "interval"]))
""",
        **root.env,
    )
    assert root.versions("t.feather") == [0, 1]


@pytest.mark.parametrize("ending", over_s3(["", ".gz", ".zst"], ".gz"))
def test_text_plain_and_compressed(ending: str, run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
from arrow_table import text_table

made = text_table()
with arrow.open_output_stream(f"{{HOME}}/t.csv{ending}", compression="detect") as stream:
    pa.csv.write_csv(made, stream)
with arrow.open_input_stream(f"{{HOME}}/@0/t.csv{ending}") as stream:
    assert pa.csv.read_csv(stream).equals(made)
if "{ending}" != ".zst":  # of which data sets know nothing
    assert ds.dataset(f"fsspec+artifact://{{HOME}}/@0/t.csv{ending}", format="csv").to_table().equals(made)
lines = made.select(["row", "bool", "string"])
with arrow.open_output_stream(f"{{HOME}}/t.jsonl{ending}", compression="detect") as stream:
    stream.write(lines.to_pandas().to_json(orient="records", lines=True).encode())
with arrow.open_input_stream(f"{{HOME}}/@0/t.jsonl{ending}") as stream:
    assert pa.json.read_json(stream).equals(lines)
""",
        **root.env,
    )


@pytest.mark.nightly_over_s3
def test_partitioned_data_sets(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
from arrow_table import text_table

made = text_table().add_column(0, "part", pa.compute.cast(pa.compute.divide(text_table()["row"], 25_000), pa.int32()))
hive = ds.partitioning(pa.schema([("part", pa.int32())]), flavor="hive")
write = {{"filesystem": fs, "format": "parquet", "partitioning": hive}}
ds.write_dataset(made, f"{{HOME}}/parts", **write)
for source, how in (
    (f"{{HOME}}/parts", {{"filesystem": fs}}),
    (f"{{HOME}}/parts", {{"filesystem": arrow}}),
    (f"{{HOME}}/@latest/parts", {{"filesystem": fs}}),
    (f"fsspec+artifact://{{HOME}}/parts", {{}}),
):
    found = ds.dataset(source, partitioning=hive, **how)
    assert found.to_table(columns=made.column_names).sort_by("row").equals(made)
    assert found.count_rows(filter=ds.field("part") == 2) == pa.compute.sum(pa.compute.equal(made["part"], 2)).as_py()
fails(pa.ArrowInvalid, lambda: ds.write_dataset(made, f"{{HOME}}/parts", **write), "not empty")
few = made.slice(0, 100)
ds.write_dataset(few, f"{{HOME}}/parts", existing_data_behavior="delete_matching", **write)
assert ds.dataset(f"{{HOME}}/parts/part=0", filesystem=fs).count_rows() == 100
old = ds.dataset(f"{{HOME}}/parts/part=0/part-0.parquet@0", filesystem=fs)
assert old.count_rows() == pa.compute.sum(pa.compute.equal(made["part"], 0)).as_py()
pq.write_to_dataset(made, f"{{HOME}}/more", filesystem=fs, partition_cols=["part"])
assert pq.read_table(f"{{HOME}}/more", filesystem=fs, filters=[("part", "=", 1)], columns=["row"]).num_rows > 1000
fails(ValueError, lambda: ds.dataset(f"{{HOME}}/@0/parts", filesystem=fs), "a folder is there")
""",
        **root.env,
    )


def test_files_are_told_moved_and_removed_with_their_history(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
with arrow.open_output_stream(f"{{HOME}}/reports/a.txt") as stream:
    stream.write(b"first")
with arrow.open_append_stream(f"{{HOME}}/reports/a.txt") as stream:
    stream.write(b" and more")
told = {{info.path: info for info in arrow.get_file_info(pa.fs.FileSelector(HOME, recursive=True))}}
assert told[f"{{HOME}}/reports"].type == pa.fs.FileType.Directory
assert told[f"{{HOME}}/reports/a.txt"].size == 14 and told[f"{{HOME}}/reports/a.txt"].mtime is not None
one, gone = arrow.get_file_info([f"{{HOME}}/reports/a.txt@0", f"{{HOME}}/none"])
assert one.size == 5 and gone.type == pa.fs.FileType.NotFound
arrow.copy_file(f"{{HOME}}/reports/a.txt@0", f"{{HOME}}/b.txt")
arrow.move(f"{{HOME}}/b.txt", f"{{HOME}}/c.txt")
arrow.delete_file(f"{{HOME}}/c.txt")
arrow.delete_dir(f"{{HOME}}/reports")
assert not fs.exists(f"{{HOME}}/reports") and not fs.exists(f"{{HOME}}/c.txt")
assert fs.cat(f"{{HOME}}/c.txt@0") == fs.cat(f"{{HOME}}/reports/a.txt@0") == b"first"
""",
        **root.env,
    )


def test_a_write_that_fails_leaves_no_version(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
made = pa.table({{"a": range(2_000_000)}})

def writer():
    with pq.ParquetWriter(f"{{HOME}}/a.parquet", made.schema, filesystem=fs) as writer:
        writer.write_table(made)
        raise RuntimeError("half-way")

def stream():
    with arrow.open_output_stream(f"{{HOME}}/a.csv") as stream:
        pa.csv.write_csv(made, stream)
        raise RuntimeError("half-way")

def batches():
    yield from made.to_batches(max_chunksize=500_000)[:3]
    raise RuntimeError("half-way")

fails(RuntimeError, writer, "half-way")
fails(RuntimeError, stream, "half-way")
write = {{"schema": made.schema, "filesystem": fs, "format": "parquet"}}
fails(RuntimeError, lambda: ds.write_dataset(batches(), f"{{HOME}}/set", **write), "half-way")
assert not any(fs.exists(f"{{HOME}}/{{name}}") for name in ("a.parquet", "a.csv", "set/part-0.parquet"))
""",
        **root.env,
    )


def test_wrong_input_is_said_clearly(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
made = pa.table({{"a": range(10)}})
pq.write_table(made, f"{{HOME}}/folder/t.parquet", filesystem=fs)
at = f"{{HOME}}/folder/t.parquet"
fails(FileNotFoundError, lambda: pq.read_table(f"{{HOME}}/none.parquet", filesystem=fs), "none.parquet")
fails(FileNotFoundError, lambda: pq.read_table(f"{{at}}@7", filesystem=fs), "@7")
fails(FileNotFoundError, lambda: arrow.open_input_file(f"{{HOME}}/folder"), "folder")
fails(FileNotFoundError, lambda: pq.read_table(f"{{at}}@prod", filesystem=fs), "@prod")
fails(ValueError, lambda: pq.write_table(made, f"{{at}}@0", filesystem=fs), "never changes")
fails(ValueError, lambda: arrow.delete_file(f"{{at}}@0"), "never changes")
""",
        **root.env,
    )
    assert root.versions("folder/t.parquet") == [0]
