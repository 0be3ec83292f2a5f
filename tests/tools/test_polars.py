"""polars scans artifacts: every dtype, as of the moment of the scan, and of parquet only the bytes that a query needs."""

from __future__ import annotations

import datetime as dt
import io
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from artifactfs import polars as helper
from artifactfs.errors import InvalidRef
from artifactfs.store import ArtifactStore

from ..proxy import Proxy, in_front_of
from ..servers import Server
from .material import polars_frame
from .wheel import Root, Tool, over_s3

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


@pytest.mark.parametrize("name", over_s3(FORMATS, "t.parquet"))
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
    "filter of a head": "l.head(10).filter(pl.col('row') > 100)",
    "head of a filter": "l.filter(pl.col('row') > 100).head(10)",
    "filter of the first": "scan(n_rows=30_000).filter(pl.col('row') > 29_990)",
    "first": "scan(n_rows=30_000).select(pl.col('row').max())",
}


@pytest.mark.nightly_over_s3
def test_queries_answer_as_those_of_the_frame_itself(run_tool: Tool, root: Root) -> None:
    """Whatever is left out of the copy, no row is missed."""
    run_tool(
        f"""
        import functools
        import pathlib
        import fsspec
        import polars as pl
        from artifactfs.polars import scan_parquet
        from polars.testing import assert_frame_equal
        from polars_frame import frame as made

        made().drop("i128").write_parquet("here.parquet", row_group_size=10_000)
        with fsspec.open("{HOME}/t.parquet", "wb") as f:
            f.write(pathlib.Path("here.parquet").read_bytes())
        QUERIES = {QUERIES!r}
        for text in QUERIES.values():
            query = eval("lambda l, scan: " + text)
            for engine in ("in-memory", "streaming"):
                wanted, found = (
                    query(scan(), scan).collect(engine=engine)
                    for scan in (
                        functools.partial(pl.scan_parquet, "here.parquet"),
                        functools.partial(scan_parquet, "{HOME}/t.parquet"),
                    )
                )
                # Threads sum floats in no fixed order; nothing but floats is compared with a tolerance.
                assert_frame_equal(found, wanted, rel_tol=1e-12, abs_tol=0)
        """,
        helper=True,
        **root.env,
    )


@pytest.mark.nightly_over_s3
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


@pytest.mark.nightly_over_s3
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
        refused(FileNotFoundError, "{HOME}/folder/t.csv@prod", "nothing lies at")
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


def test_only_needed_columns_and_first_row_groups_move(moto: Server) -> None:
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

        footer = moved(lambda lazy: lazy.head(0))
        assert 0 < footer < 300_000
        assert column * 0.9 < moved(lambda lazy: lazy.select(pl.col("c3").sum())) - footer < column * 1.1
        assert moved(lambda lazy: lazy.head(5)) - footer < whole * 0.2
        assert moved(lambda lazy: lazy) > whole * 0.95  # the count itself is right

        lazy = helper.scan_parquet(f"{HOME}/wide.parquet", storage_options=options)
        assert _moved(front, lambda: lazy.select("c3").collect()) > 0
        assert _moved(front, lambda: lazy.select("c3").collect()) == 0


# --- any query -----------------------------------------------------------------------------------------------------


KINDS = ("parquet", "csv", "ndjson", "ipc")
HERE = {"root": "memory://polars-queries"}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of files that polars reads by itself, and artifacts with the same bytes below `HOME`.

    They are small: so that holes are left in their copies, only the very end of a file is taken for its footer.
    """
    here = tmp_path_factory.mktemp("twins")
    scope = ArtifactStore(HERE["root"]).scope("shop", "alice", "s1")
    rows = pl.int_range(300, eager=True)
    frame = pl.DataFrame(
        {
            "row": rows,
            "word": "w" + rows.cast(pl.String).str.zfill(70),
            "float": [
                None if row % 7 == 0 else float("nan") if row % 11 == 0 else -0.0 if row % 5 == 0 else row / 3
                for row in rows
            ],
            "day": pl.date_range(dt.date(2020, 1, 1), dt.date(2020, 10, 26), eager=True),
            "some": [row if row % 100 > 30 or row % 100 == 0 else None for row in rows],
        }
    )
    for kind in KINDS:
        for part in range(3):
            file = here / kind / f"part={part}" / f"data.{kind}"
            file.parent.mkdir(parents=True)
            piece = frame.slice(part * 100, 100)
            if kind == "parquet":
                piece.write_parquet(file, row_group_size=17)
            else:
                getattr(piece, f"write_{kind}")(file)
            scope.save(str(file.relative_to(here)), file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helper, "_TAIL", 64)
        yield here


C = pl.col
PREDICATES = st.recursive(
    st.one_of(
        st.integers(-5, 305).flatmap(
            lambda at: st.sampled_from(
                [
                    *(
                        C("row") > at,
                        C("row") <= at,
                        C("row") == at,
                        C("some") < at,
                        C("some") != at,
                        C("float") >= at / 3,
                    ),
                    *(C("word") > "w" + str(at).zfill(70), C("row").is_in([at, 7]), C("some").eq_missing(at)),
                ]
            )
        ),
        st.sampled_from(
            [
                C("float").is_nan(),
                C("float") == 0.0,
                C("float") > float("nan"),
                C("some").is_null(),
                C("float").is_not_null(),
            ]
        ),
    ),
    lambda inner: st.one_of(
        inner.map(operator.inv),
        st.tuples(inner, inner).map(lambda two: two[0] & two[1]),
        st.tuples(inner, inner).map(lambda two: two[0] | two[1]),
    ),
    max_leaves=4,
)
COUNTS = st.integers(0, 310)
Step = Callable[[pl.LazyFrame], pl.LazyFrame]
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(COUNTS, PREDICATES).map(lambda two: lambda f: f.head(two[0]).filter(two[1])),
    PREDICATES.map(lambda p: lambda f: f.filter(p)),
    COUNTS.map(lambda n: lambda f: f.head(n)),
    COUNTS.map(lambda n: lambda f: f.tail(n)),
    st.tuples(st.integers(-310, 310), COUNTS).map(lambda at: lambda f: f.slice(*at)),
)
ENDS: st.SearchStrategy[Step] = st.one_of(
    st.lists(st.sampled_from(["row", "word", "float", "day", "some"]), min_size=1, unique=True).map(
        lambda names: lambda f: f.select(names)
    ),
    st.just(lambda f: f),
    st.just(lambda f: f.select(pl.len())),
    st.just(lambda f: f.group_by(C("row") % 3).agg(pl.len(), C("some").sum(), C("word").max()).sort("row")),
    PREDICATES.map(
        lambda p: lambda f: f.select("row", "word").join(f.filter(p).select("row", "day"), on="row").sort("row")
    ),
)
OPTIONS = st.fixed_dictionaries(
    {}, optional={"n_rows": COUNTS, "row_index_name": st.just("n"), "include_file_paths": st.just("file")}
)
OF_PARQUET = st.sampled_from(
    [{}, {"hive_partitioning": True}, {"use_statistics": False}, {"low_memory": True}]
) | st.sampled_from(["columns", "row_groups", "prefiltered", "none"]).map(lambda parallel: {"parallel": parallel})


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_query_answers_as_polars_does_on_local_files(data: st.DataObject, twins: Path) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    one, two, many = f"{kind}/part=1/data.{kind}", f"{kind}/part=0/data.{kind}", f"{kind}/*/*.{kind}"
    source = data.draw(
        st.sampled_from([one, [one, two], [one, one], many, *([kind] if kind in {"parquet", "ipc"} else [])])
    )
    options = data.draw(OPTIONS)
    if kind == "parquet":
        options |= data.draw(OF_PARQUET)
    steps = [*data.draw(st.lists(STEPS, min_size=1, max_size=3)), data.draw(ENDS)]
    engine = data.draw(st.sampled_from(["in-memory", "streaming"]))
    frames = []
    for scan, base, more in (
        (getattr(pl, f"scan_{kind}"), str(twins), {}),
        (getattr(helper, f"scan_{kind}"), HOME, {"storage_options": HERE}),
    ):
        places = f"{base}/{source}" if isinstance(source, str) else [f"{base}/{place}" for place in source]
        lazy = scan(places, **options, **more)
        for step in steps:
            lazy = step(lazy)
        frame = lazy.collect(engine=engine)
        if "file" in frame.columns:
            frame = frame.with_columns(C("file").str.extract("(part=./.*)$"))
        frames.append(frame)
    assert_frame_equal(frames[1], frames[0], check_exact=True)


def test_versions_and_stores_are_not_taken_for_each_other() -> None:
    roots = ["memory://polars-one", "memory://polars-other"]
    for number, root in enumerate(roots):
        scope = ArtifactStore(root).scope("shop", "alice", "s1")
        for version in range(2):
            frame = pl.DataFrame({"v": [10 * number + version] * (version + 1)})
            for kind in KINDS:
                file = io.BytesIO()
                getattr(frame, f"write_{kind}")(file)
                scope.save(f"t.{kind}", file.getvalue())
    for kind in KINDS:
        scan = getattr(helper, f"scan_{kind}")
        stores = scan([f"{HOME}/t.{kind}::{root}" for root in roots])
        assert stores.collect()["v"].to_list() == [1, 1, 11, 11]
        versions = scan(
            [f"{HOME}/t.{kind}@1", f"{HOME}/@0/t.{kind}", f"{HOME}/t.{kind}"],
            storage_options={"root": roots[0]},
            include_file_paths="file",
        )
        assert versions.filter(pl.col("v") == 0).collect().rows() == [(0, f"{HOME}/@0/t.{kind}")]
        assert versions.collect()["v"].to_list() == [1, 1, 0, 1, 1]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"\x40\0\0\0PAR1", b"PAR1\xff\xff\xff\xffPAR1"])
def test_what_is_no_parquet_is_said_by_polars(data: bytes) -> None:
    scope = ArtifactStore("memory://polars-broken").scope("shop", "alice", "s1")
    version = scope.save("t.parquet", data).version
    lazy = helper.scan_parquet(f"{HOME}/t.parquet@{version}", storage_options={"root": "memory://polars-broken"})
    for _ in range(2):
        with pytest.raises(pl.exceptions.ComputeError, match="parquet"):
            lazy.collect()


def test_a_folder_in_which_an_artifact_is_a_folder_too_is_refused() -> None:
    scope = ArtifactStore("memory://polars-nested").scope("shop", "alice", "s1")
    for name in ("all/x", "all/x/y.csv"):
        scope.save(name, b"a\n1\n")
    with pytest.raises(InvalidRef, match="all/x is an artifact and a folder"):
        helper.scan_csv(f"{HOME}/all", storage_options={"root": "memory://polars-nested"})
    both = helper.scan_csv([f"{HOME}/all/x", f"{HOME}/all/x/*"], storage_options={"root": "memory://polars-nested"})
    assert both.collect()["a"].to_list() == [1, 1]


# --- a planted fault --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", ["columns", "row_groups", "prefiltered", "none"])
def test_what_was_not_fetched_is_never_taken_for_rows(parallel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: nothing but the footer is fetched. Zeros are no page of parquet, so polars says so."""
    frame = polars_frame.frame().head(1000).drop("i128")
    ArtifactStore("memory://polars-holes").scope("shop", "alice", "s1").save("t.parquet", _parquet(frame))
    monkeypatch.setattr(helper, "_TAIL", 64)
    monkeypatch.setattr(helper, "_chunks", lambda group, columns: iter(()))
    lazy = helper.scan_parquet(
        f"{HOME}/t.parquet", storage_options={"root": "memory://polars-holes"}, parallel=parallel
    )
    for query in (lazy, lazy.head(3), lazy.filter(pl.col("row") > 3).select("text")):
        with pytest.raises(pl.exceptions.ComputeError):
            query.collect()
    for name in frame.columns:
        with pytest.raises(pl.exceptions.ComputeError):
            lazy.select(name).collect()


def _parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, row_group_size=100)
    return file.getvalue()


def test_a_file_whose_footer_is_long_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({f"a column with a long name, number {number}": [number] for number in range(2000)})
    file = io.BytesIO()
    frame.write_parquet(file)
    ArtifactStore("memory://polars-footer").scope("shop", "alice", "s1").save("t.parquet", file.getvalue())
    monkeypatch.setattr(helper, "_TAIL", 1000)
    lazy = helper.scan_parquet(f"{HOME}/t.parquet", storage_options={"root": "memory://polars-footer"})
    assert lazy.collect().equals(frame)
