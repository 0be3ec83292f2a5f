"""The ways in which a user of pandas names a store, adds to a table, and meets an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..proxy import SLOW_DOWN, in_front_of
from ..servers import Server
from .wheel import Root, Tool, over_s3


def test_the_store_is_named_by_the_url_by_options_or_by_the_environment(run_tool: Tool, root: Root) -> None:
    """Options of the store may stand by themselves or under its protocol's name, as fsspec has it for chained URLs."""
    script = f"""
        import os
        import pandas as pd

        ROOT, OPTIONS = {root.url!r}, {root.storage_options!r}
        PLAIN = "artifact://shop/alice/s1/t.csv"
        frame = pd.DataFrame({{"word": ["äpfel", "梨"], "n": [1, 2]}})
        chained, named = f"{{PLAIN}}::{{ROOT}}", {{"root": ROOT, **OPTIONS}}
        frame.to_csv(chained, index=False, storage_options=OPTIONS)
        frame.assign(n=3).to_csv(PLAIN, index=False, storage_options=named)
        frame.assign(n=4).to_csv(chained, index=False, storage_options={{ROOT.split(":")[0]: OPTIONS}})
        for number, n in ((0, [1, 2]), (1, [3, 3]), (2, [4, 4])):
            versioned = f"artifact://shop/alice/s1/@{{number}}/t.csv"
            for back in (
                pd.read_csv(f"{{versioned}}::{{ROOT}}", storage_options=OPTIONS),
                pd.read_csv(f"{{PLAIN}}@{{number}}::{{ROOT}}", storage_options={{ROOT.split(":")[0]: OPTIONS}}),
                pd.read_csv(f"{{PLAIN}}@{{number}}", storage_options=named),
            ):
                pd.testing.assert_frame_equal(back, frame.assign(n=n))
        os.environ["ARTIFACTFS_URL"] = ROOT
        pd.testing.assert_frame_equal(pd.read_csv(PLAIN, storage_options=OPTIONS), frame.assign(n=4))
        """
    run_tool(script)
    from_environment = """
        import pandas as pd
        assert list(pd.read_csv("artifact://shop/alice/s1/t.csv@1")["n"]) == [3, 3]
        """
    run_tool(from_environment, **root.env)


@pytest.mark.nightly_over_s3
def test_text_is_appended_as_a_new_version(run_tool: Tool, root: Root) -> None:
    run_tool(
        """
        import pandas as pd
        import table

        frame = table.plain()[["int64", "text", "bool"]]
        parts = [frame.iloc[start : start + 25_000] for start in range(0, len(frame), 25_000)]
        for name in ("log.csv", "log.csv.gz"):
            url = f"artifact://shop/alice/s1/{name}"
            for number, part in enumerate(parts):
                part.to_csv(url, index=False, header=number == 0, mode="a")
            table.assert_same(pd.read_csv(url, dtype=dict(frame.dtypes)), frame)
            for number in range(4):
                back = pd.read_csv(f"artifact://shop/alice/s1/@{number}/{name}", dtype=dict(frame.dtypes))
                table.assert_same(back, frame.head(25_000 * (number + 1)))

        lines = "artifact://shop/alice/s1/log.jsonl"
        frame.head(3).to_json(lines, orient="records", lines=True, mode="a")
        frame.head(2).to_json(lines, orient="records", lines=True, mode="a")
        assert len(pd.read_json(lines, lines=True)) == 5

        try:
            frame.to_csv("artifact://shop/alice/s1/log.csv", mode="x")
        except FileExistsError:
            pass
        else:
            raise AssertionError("mode x replaced an artifact")
        """,
        **root.env,
    )
    assert root.versions("log.csv") == root.versions("log.csv.gz") == [0, 1, 2, 3]
    assert root.versions("log.jsonl") == [0, 1]


@pytest.mark.parametrize("name", over_s3(["t.csv", "t.csv.gz", "t.csv.zst", "t.csv.zip"], "t.csv"))
def test_a_value_that_cannot_be_written_leaves_no_version(name: str, run_tool: Tool, root: Root) -> None:
    """One megabyte is written before it is met."""
    script = f"""
        import pandas as pd

        class Trap:
            def __str__(self):
                raise RuntimeError("no text for this one")

        url = "artifact://shop/alice/s1/{name}"
        good = pd.DataFrame({{"a": ["x" * 1000] * 2000}})
        bad = pd.DataFrame({{"a": ["x" * 1000] * 2000 + [Trap()]}})
        for had in (False, True):
            for mode in {"w" if name.endswith(".zip") else "wa"!r}:
                try:
                    bad.to_csv(url, chunksize=100, mode=mode)
                except RuntimeError as error:
                    assert "no text" in str(error)
                else:
                    raise AssertionError("it was written")
            if not had:
                good.to_csv(url, index=False)
        pd.testing.assert_frame_equal(pd.read_csv(url), good)
        """
    run_tool(script, **root.env)
    assert root.versions(name) == [0]


def test_columns_that_a_format_refuses_leave_no_version(run_tool: Tool, root: Root) -> None:
    run_tool(
        """
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        frame = pd.DataFrame({"mixed": [1, "one", object(), {}]})
        home = "artifact://shop/alice/s1"
        for write in (
            lambda: frame.to_parquet(f"{home}/t.parquet"),
            lambda: frame.to_feather(f"{home}/t.feather"),
            lambda: frame.assign(mixed=[lambda: 0] * 4).to_pickle(f"{home}/t.pkl"),
            lambda: pd.DataFrame({"n": [1]}).to_parquet(f"{home}/t.parquet", version="none such"),
            lambda: frame.to_parquet(f"{home}/parts", partition_cols=["mixed"]),
        ):
            try:
                write()
            except Exception as error:
                print(type(error).__name__)
            else:
                raise AssertionError("it was written")
        """,
        **root.env,
    )
    with root.store() as store:
        assert list(store.scope("shop", "alice", "s1").names()) == []


def test_a_disk_that_is_full_leaves_no_version(run_tool: Tool, tmp_path: Path) -> None:
    """Of a megabyte on, the kernel refuses to let a file of this process grow."""
    root = Root(f"file://{tmp_path}/store")
    run_tool(
        """
        import resource
        import pandas as pd
        import table

        home = "artifact://shop/alice/s1"
        frame = table.plain()
        small = frame.head(10).reset_index(drop=True)
        small.to_parquet(f"{home}/t.parquet")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        for write in (frame.to_parquet, frame.to_csv, frame.to_pickle, frame.to_feather):
            try:
                write(f"{home}/t.parquet")
            except OSError:
                pass
            else:
                raise AssertionError("it was written")
        table.assert_same(pd.read_parquet(f"{home}/t.parquet"), small)
        small.to_csv(f"{home}/other.csv")
        """,
        **root.env,
    )
    assert root.versions("t.parquet") == [0] and root.versions("other.csv") == [0]
    left = [path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert sum(left) < 500_000, "what was written of the versions that failed is still there"


def test_a_bucket_that_refuses_leaves_no_version(run_tool: Tool, moto: Server) -> None:
    """Every request that sends a payload is answered with 503: in one piece and in parts."""
    root = Root.on(moto)
    with in_front_of(moto.url) as front:
        refused = front.when(
            SLOW_DOWN,
            lambda request: request.method == "PUT" and int(request.headers.get("content-length", 0)) > 100_000,
        )
        options = {"root": root.url, **moto.at(front.url).storage_options, "tries": 2}
        run_tool(
            f"""
            import pandas as pd
            import table

            frame = table.plain()
            for name in ("t.parquet", "t.csv"):
                write = frame.to_parquet if name == "t.parquet" else frame.to_csv
                try:
                    write(f"artifact://shop/alice/s1/{{name}}", storage_options={options!r})
                except ConnectionError:
                    pass
                else:
                    raise AssertionError("it was written")
            """
        )
        assert refused.hits
    assert root.versions("t.parquet") == root.versions("t.csv") == []


def test_what_is_not_there_is_said_as_users_of_pandas_expect(run_tool: Tool, root: Root) -> None:
    told = run_tool(
        """
        import json
        from pathlib import PurePosixPath
        import pandas as pd

        home = "artifact://shop/alice/s1"
        frame = pd.DataFrame({"n": [1]})
        frame.to_csv(f"{home}/reports/t.csv", index=False)
        frame.to_parquet(f"{home}/t.parquet")
        frame.to_parquet(f"{home}/parts", partition_cols=["n"])

        def error(work):
            try:
                work()
            except Exception as error:
                return [[kind.__name__ for kind in type(error).__mro__], str(error)]
            return [[], ""]

        print(json.dumps({
            "missing": error(lambda: pd.read_csv(f"{home}/none.csv")),
            "missing parquet": error(lambda: pd.read_parquet(f"{home}/none.parquet")),
            "version": error(lambda: pd.read_csv(f"{home}/reports/t.csv@7")),
            "folder": error(lambda: pd.read_csv(f"{home}/reports")),
            "version of a folder": error(lambda: pd.read_parquet(f"{home}/@0/parts")),
            "time": error(lambda: pd.read_csv(f"{home}/@2001-02-03T04:05:06Z/reports/t.csv")),
            "tag": error(lambda: pd.read_csv(f"{home}/reports/t.csv@prod")),
            "written": error(lambda: frame.to_csv(f"{home}/reports/t.csv@0")),
            "no name": error(lambda: frame.to_csv(f"{home}/")),
        }))
        """,
        **root.env,
    )
    errors = json.loads(told)
    for what, builtin, words in (
        ("missing", "FileNotFoundError", "none.csv"),
        ("missing parquet", "FileNotFoundError", "none.parquet"),
        ("version", "FileNotFoundError", "has no version 7"),
        ("folder", "IsADirectoryError", "folder"),
        ("version of a folder", "ValueError", "a folder is there"),
        ("time", "FileNotFoundError", "reports/t.csv"),
        ("tag", "FileNotFoundError", "no tag 'prod'"),
        ("written", "ValueError", "never changes"),
        ("no name", "IsADirectoryError", "folder"),
    ):
        kinds, message = errors[what]
        assert builtin in kinds, f"{what}: {kinds} {message}"
        assert words in message, f"{what}: {message}"
    assert root.versions("reports/t.csv") == [0]


def test_a_path_of_upath_is_given_as_text(run_tool: Tool, root: Root) -> None:
    """pandas takes no path objects but those of files on this machine: it refuses this one, and writes nothing."""
    run_tool(
        """
        import os
        import pandas as pd
        from upath import UPath

        path = UPath("artifact://shop/alice/s1/t.csv")
        frame = pd.DataFrame({"n": [1]})
        frame.to_csv(str(path), index=False)
        pd.testing.assert_frame_equal(pd.read_csv(str(path)), frame)
        with path.open("rb") as f:
            pd.testing.assert_frame_equal(pd.read_csv(f), frame)
        for work in (
            lambda: frame.to_csv(path),
            lambda: frame.to_parquet(path),
            lambda: pd.read_csv(path),
            lambda: pd.read_parquet(path),
        ):
            try:
                work()
            except (TypeError, ValueError):
                pass
            else:
                raise AssertionError("pandas takes it: say so in docs/tools/pandas.md")
        assert os.listdir() == []
        """,
        **root.env,
    )
