"""polars scans artifacts: every dtype, as of the moment of the scan, and of parquet only the bytes that a query needs."""

from __future__ import annotations

import io
import re

import polars as pl
import pytest

from artifactfs import polars as helper
from artifactfs.store import ArtifactStore

from ..proxy import Proxy, in_front_of
from ..servers import Server
from .wheel import Root, Tool

HOME = "artifact://shop/alice/s1"

# pyarrow, which tells where the columns of a parquet file lie, knows no Int128: a file that has some is fetched whole.
FORMATS = {
    "t.parquet": (
        "frame.drop('i128')",
        "write_parquet(f, compression='snappy', row_group_size=20_000)",
        "scan_parquet",
        "",
    ),
    "t.zst.parquet": ("frame", "write_parquet(f, compression='zstd')", "scan_parquet", ""),
    "t.arrow": ("frame", "write_ipc(f)", "scan_ipc", ""),
    "t.feather": ("frame", "write_ipc(f, compression='zstd')", "scan_ipc", ""),
    "t.csv": ("frame.drop(NOT_IN_CSV)", "write_csv(f)", "scan_csv", "schema=frame.schema"),
    "t.csv.gz": ("frame.drop(NOT_IN_CSV)", "write_csv(f, compression='gzip')", "scan_csv", "schema=frame.schema"),
    "t.jsonl": ("frame.drop(NOT_IN_NDJSON)", "write_ndjson(f)", "scan_ndjson", "schema=frame.schema"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_dtype_comes_back_from_every_version(name: str, run_tool: Tool, root: Root) -> None:
    held, write, scan, schema = FORMATS[name]
    run_tool(
        f"""
        import fsspec
        import polars as pl
        from artifactfs.polars import {scan}
        from polars.testing import assert_frame_equal
        from polars_frame import NOT_IN_CSV, NOT_IN_NDJSON, frame as made

        frame = made()
        saved = [{held}, {held}.head(1000).reverse()]
        for frame in saved:
            with fsspec.open("{HOME}/{name}", "wb") as f:
                frame.{write}
        for place, number in (("", 1), ("@latest/", 1), ("@0/", 0), ("@-2/", 0)):
            frame = saved[number]
            scanned = {scan}(f"{HOME}/{{place}}{name}", {schema})
            assert_frame_equal(scanned.collect(), frame, check_exact=True)
            assert_frame_equal(scanned.select("f64", "row").collect(), frame.select("f64", "row"), check_exact=True)
            few = pl.col("row").is_between(200, 230) & (pl.col("text") > "k")
            assert_frame_equal(scanned.filter(few).collect(engine="streaming"), frame.filter(few), check_exact=True)
        """,
        helper=True,
        **root.env,
    )
    assert root.versions(name) == [0, 1]


QUERIES = {
    "filter": "l.filter(pl.col('row') > 88_000)",
    "filter of text": "l.filter(pl.col('text') == 'none such')",
    "filter by a list": "l.filter(pl.col('row').is_in(pl.Series([5, 70_001]).implode())).select('struct', 'list')",
    "filter of nulls": "l.filter(pl.col('i64').is_null()).select('i64', 'row')",
    "filter of a time": "l.filter(pl.col('moment_in_zone') > pl.lit(5 * 10**10).cast(pl.Datetime('us', 'Europe/Vienna')))",
    "filter of decimals": "l.filter(pl.col('decimal') < 1).select('decimal')",
    "filter of an enum": "l.filter(pl.col('enum') == 'kiwi, green').select('row')",
    "either or": "l.filter((pl.col('row') < 10) | (pl.col('row') > 99_990)).select('text')",
    "a function": "l.filter(pl.col('row').map_batches(lambda s: s < 5, return_dtype=pl.Boolean))",
    "projection": "l.select(pl.col('f64').sum(), pl.col('bool').any())",
    "greatest": "l.select('row', 'f64').sort('f64', nulls_last=True).head(5)",
    "count": "l.select(pl.len())",
    "head": "l.head(3)",
    "tail": "l.tail(3)",
    "slice": "l.slice(60_000, 10)",
    "group": "l.group_by('categorical').agg(pl.len(), pl.col('i32').max()).sort('len', 'i32')",
    "self-join": "l.select('row', 'i8').join(l.filter(pl.col('row') < 100).select('row', 'text'), on='row').sort('row')",
    "index": "scan(row_index_name='n').filter(pl.col('n') == 99_000)",
    "first": "scan(n_rows=30_000).select(pl.col('row').max())",
}


def test_queries_answer_as_those_of_the_frame_itself(run_tool: Tool, root: Root) -> None:
    """Whatever is left out of the copy by the statistics, no row is missed."""
    run_tool(
        f"""
        import functools
        import fsspec
        import polars as pl
        from artifactfs.polars import scan_parquet
        from polars.testing import assert_frame_equal
        from polars_frame import frame as made

        made().drop("i128").write_parquet("here.parquet", row_group_size=10_000)
        with fsspec.open("{HOME}/t.parquet", "wb") as f:
            f.write(open("here.parquet", "rb").read())
        QUERIES = {QUERIES!r}
        for what, text in QUERIES.items():
            query = eval("lambda l, scan: " + text)
            for engine in ("in-memory", "streaming"):
                wanted, found = (
                    query(scan(), scan).collect(engine=engine)
                    for scan in (
                        functools.partial(pl.scan_parquet, "here.parquet"),
                        functools.partial(scan_parquet, "{HOME}/t.parquet"),
                    )
                )
                assert_frame_equal(found, wanted, check_exact=True), what
        """,
        helper=True,
        **root.env,
    )


def test_a_scan_reads_what_was_there_when_it_was_made(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""
        import fsspec
        import polars as pl
        from artifactfs import polars as artifacts

        KINDS = ("parquet", "csv", "ndjson", "ipc")

        def save(number):
            frame = pl.DataFrame({{"v": [number] * 1000}})
            for kind in KINDS:
                for place in ("a", "folder/a", "folder/b"):
                    with fsspec.open(f"{HOME}/{{kind}}/{{place}}.{{kind}}", "wb") as f:
                        getattr(frame, f"write_{{kind}}")(f)

        def scans():
            for kind in KINDS:
                scan = getattr(artifacts, f"scan_{{kind}}")
                for source in ("KIND/a.KIND", "KIND/folder", "KIND/folder/*.KIND", "@latest/KIND/folder"):
                    source = source.replace("KIND", kind)
                    yield source, scan(f"{HOME}/{{source}}")
                yield kind, scan([f"{HOME}/{{kind}}/a.{{kind}}", f"{HOME}/{{kind}}/folder/a.{{kind}}"])

        save(0)
        first = dict(scans())
        save(1)
        for what, lazy in first.items():
            assert lazy.collect()["v"].unique().to_list() == [0], what
        save(2)
        for what, lazy in first.items():
            assert lazy.select(pl.col("v").max()).collect().item() == 0, what
        for what, lazy in scans():
            assert lazy.collect()["v"].unique().to_list() == [2], what
        """,
        helper=True,
        **root.env,
    )


def test_folders_patterns_and_lists_are_scanned_as_polars_scans_them(run_tool: Tool, root: Root) -> None:
    script = f"""
        import fsspec
        import polars as pl
        from artifactfs.polars import scan_parquet
        from polars.testing import assert_frame_equal
        from polars_frame import frame as made

        frame = made().select("row", "text", "f64").with_columns(pl.col("row").mod(3).alias("part"))
        for part in range(3):
            with fsspec.open(f"{HOME}/parts/part={{part}}/data.parquet", "wb") as f:
                frame.filter(pl.col("part") == part).drop("part").write_parquet(f)
        folder = scan_parquet("{HOME}/parts")
        assert_frame_equal(folder.collect().sort("row"), frame, check_exact=True)
        few = (pl.col("part") == 1) & (pl.col("row") < 50)
        assert_frame_equal(folder.filter(few).collect(), frame.filter(few))
        assert "part" not in scan_parquet("{HOME}/parts", hive_partitioning=False).collect_schema()
        assert "part" not in scan_parquet("{HOME}/parts/*/*.parquet").collect_schema()
        assert "part" in scan_parquet("{HOME}/parts/**/*.parquet", hive_partitioning=True).collect_schema()
        two = [f"{HOME}/parts/part={{part}}/data.parquet" for part in (2, 0)]
        both = scan_parquet(two, include_file_paths="file", row_index_name="n")
        assert both.collect().height == frame.filter(pl.col("part") != 1).height
        assert both.first().collect()["text"].item() == frame["text"][2]
        assert both.select("file").unique(maintain_order=True).collect()["file"].to_list() == [
            f"{HOME}/@0/parts/part={{part}}/data.parquet" for part in (2, 0)
        ]
        assert both.filter(pl.col("file").str.contains("part=2/")).collect().height == len(range(2, 100_000, 3))
        """
    run_tool(script, helper=True, **root.env)


def test_the_store_is_named_as_everywhere(run_tool: Tool, root: Root) -> None:
    script = f"""
        import io
        import fsspec
        import polars as pl
        from artifactfs.polars import scan_csv

        options = {{"root": {root.url!r}, **{root.storage_options!r}}}
        with fsspec.open("{HOME}/t.csv", "wb", **options) as f:
            f.write(b"a,b\\n1,2\\n")
        assert scan_csv("{HOME}/t.csv", storage_options=options).collect().rows() == [(1, 2)]
        assert scan_csv("{HOME}/t.csv::{root.url}", storage_options={root.storage_options!r}).collect().rows() == [(1, 2)]
        """
    run_tool(script, helper=True)


def test_a_frame_is_sunk_into_an_artifact_or_leaves_no_version(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""
        import fsspec
        import polars as pl
        from artifactfs import polars as artifacts

        def fail(value):
            raise RuntimeError("no value for this one")

        lazy = pl.LazyFrame({{"a": range(1_000_000)}})
        trap = lazy.with_columns(pl.when(pl.col("a") > 999_000).then(pl.col("a").map_batches(fail, return_dtype=pl.Int64)))
        for kind in ("parquet", "csv", "ndjson", "ipc"):
            for query in (lazy, trap, lazy.head(10)):
                try:
                    with fsspec.open(f"{HOME}/t.{{kind}}", "wb") as f:
                        getattr(query, f"sink_{{kind}}")(f)
                except Exception as error:
                    assert query is trap and "no value" in str(error), error
                else:
                    assert query is not trap
        assert artifacts.scan_parquet("{HOME}/t.parquet").select(pl.len()).collect().item() == 10
        assert artifacts.scan_parquet("{HOME}/t.parquet@0").select(pl.col("a").sum()).collect().item() == 499_999_500_000
        """,
        helper=True,
        **root.env,
    )
    for kind in ("parquet", "csv", "ndjson", "ipc"):
        assert root.versions(f"t.{kind}") == [0, 1]


def test_what_cannot_be_scanned_is_refused_when_it_is_scanned(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""
        import fsspec
        import polars as pl
        from artifactfs.polars import scan_csv, scan_parquet

        def refused(kind, source, says, scan=scan_csv):
            try:
                scan(source)
            except kind as error:
                assert says in str(error), error
            else:
                raise AssertionError(f"{{source}} was not refused")

        with fsspec.open("{HOME}/folder/t.csv", "wb") as f:
            f.write(b"a,b\\n1,2\\n")
        refused(FileNotFoundError, "{HOME}/none.csv", "nothing lies at")
        refused(FileNotFoundError, "{HOME}/folder/t.csv@7", "nothing lies at")
        refused(FileNotFoundError, ["{HOME}/folder/t.csv", "{HOME}/none/*.csv"], "none/*.csv")
        refused(ValueError, "{HOME}/folder/t.csv@prod", "no tag 'prod'")
        refused(ValueError, "{HOME}/@0/folder", "numbers of their own")
        refused(ValueError, "memory://x/t.csv", "no artifact:// URL")
        try:
            scan_parquet("{HOME}/folder/t.csv").collect()
        except pl.exceptions.ComputeError:
            pass
        else:
            raise AssertionError("text is no parquet")
        """,
        helper=True,
        **root.env,
    )


def test_copies_go_with_the_last_frame_that_reads_them(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""
        import gc
        import os
        import tempfile
        import fsspec
        import polars as pl
        from artifactfs.polars import scan_csv

        def copies():
            return [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("artifactfs-")]

        with fsspec.open("{HOME}/t.csv", "wb") as f:
            f.write(b"a,b\\n1,2\\n")
        lazy = scan_csv("{HOME}/t.csv")
        derived = lazy.select("a")
        del lazy
        gc.collect()
        assert derived.collect().rows() == [(1,)] and len(copies()) == 1
        del derived
        gc.collect()
        assert copies() == []
        """,
        helper=True,
        **root.env,
    )


# --- bytes ------------------------------------------------------------------------------------------------------------


def _moved(proxy: Proxy, work: object) -> int:
    """Bytes of payloads that were asked for, in requests of ranges, while *work* ran."""
    with proxy.counted() as seen:
        work()  # type: ignore[operator]
    asked = [re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", "")) for request in seen]
    return sum(int(match[2]) - int(match[1]) + 1 for match in asked if match)


def _wide(rows: int = 1_000_000) -> pl.DataFrame:
    numbers = pl.int_range(rows, eager=True)
    columns = {f"c{number}": numbers.hash(number) for number in range(8)}
    return pl.DataFrame({"row": numbers, **columns})


def test_only_needed_columns_and_row_groups_move(moto: Server) -> None:
    root = Root.on(moto)
    file = io.BytesIO()
    _wide().write_parquet(file, row_group_size=100_000)
    whole = file.tell()
    column = whole / 8
    with root.store() as store:
        store.scope("shop", "alice", "s1").save("wide.parquet", file.getvalue())
    with in_front_of(moto.url) as front:
        options = {"root": root.url, **moto.at(front.url).storage_options}

        def moved(query: object) -> int:
            lazy = helper.scan_parquet(f"{HOME}/wide.parquet", storage_options=options)
            return _moved(front, lambda: query(lazy).collect())  # type: ignore[operator]

        footer = moved(lambda lazy: lazy.filter(pl.col("row") < 0))
        assert 0 < footer < 300_000
        assert column * 0.9 < moved(lambda lazy: lazy.select(pl.col("c3").sum())) - footer < column * 1.1
        tenth = moved(lambda lazy: lazy.filter(pl.col("row") >= 930_000).select(pl.col("c3").sum())) - footer
        assert column * 0.09 < tenth < column * 0.2
        assert moved(lambda lazy: lazy.head(5)) - footer < whole * 0.2
        assert moved(lambda lazy: lazy) > whole * 0.95  # the count itself is right

        lazy = helper.scan_parquet(f"{HOME}/wide.parquet", storage_options=options)
        assert _moved(front, lambda: lazy.select("c3").collect()) > 0
        assert _moved(front, lambda: lazy.select("c3").collect()) == 0


# --- a planted fault --------------------------------------------------------------------------------------------------


def test_a_wrong_guess_of_what_is_needed_costs_bytes_and_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = _wide(50_000)
    file = io.BytesIO()
    frame.write_parquet(file, row_group_size=10_000)
    ArtifactStore("memory://polars-guess").scope("shop", "alice", "s1").save("t.parquet", file.getvalue())
    monkeypatch.setattr(helper, "_may_hold", lambda path, groups, predicate, schema: groups[:1])
    for engine in ("in-memory", "streaming"):
        lazy = helper.scan_parquet(f"{HOME}/t.parquet", storage_options={"root": "memory://polars-guess"})
        found = lazy.filter(pl.col("row") % 10_000 == 7).collect(engine=engine)  # type: ignore[call-overload]
        assert found.equals(frame.filter(pl.col("row") % 10_000 == 7))


def test_a_file_whose_footer_is_long_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({f"a column with a long name, number {number}": [number] for number in range(2000)})
    file = io.BytesIO()
    frame.write_parquet(file)
    ArtifactStore("memory://polars-footer").scope("shop", "alice", "s1").save("t.parquet", file.getvalue())
    monkeypatch.setattr(helper, "_TAIL", 1000)
    lazy = helper.scan_parquet(f"{HOME}/t.parquet", storage_options={"root": "memory://polars-footer"})
    assert lazy.collect().equals(frame)
