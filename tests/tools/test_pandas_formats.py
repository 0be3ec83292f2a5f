"""pandas writes each of its formats by URL and reads every version back, 100,000 rows with every dtype the format holds."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import pytest

from .wheel import Root, Tool, over_s3


class Format(NamedTuple):
    """A file format of pandas, as lines of a script.

    Attributes:
        write: writes `frame` to `url`.
        read: reads `url`; a name that ends in ``@0`` hides the extension, so *compression* is said then.
        table: what it holds of the data.
        repair: makes of `back` again what the format cannot say itself.
    """

    write: str
    read: str
    table: str = "table.frame()"
    repair: str = ""


# Text has no dtypes: the reader is told them, and has no way to be told a time in a zone or a duration.
_CSV = Format(
    "frame.to_csv(url, index=False)",
    "pd.read_csv(url, dtype=told(first), parse_dates=['time', 'time_ns'], compression=compression, **exactly)",
    "table.plain()",
    """
    back = back.assign(
        time_in_zone=pd.to_datetime(back["time_in_zone"], utc=True, format="ISO8601").dt.tz_convert("Europe/Vienna"),
        duration=pd.to_timedelta(back["duration"]),
    )
    back = back.astype({name: str(first.dtypes[name]) for name in ("time", "time_ns", "time_in_zone", "duration")})
    """,
)
# JSON loses more: 15 digits of a number are written, and an integer that may be missing passes through a float.
_JSON = Format(
    "frame.to_json(url, orient='records', lines=True, date_format='iso', date_unit='ns', double_precision=15)",
    "pd.read_json(url, lines=True, dtype=told(first), precise_float=True)",
    "table.plain().drop(columns=['Int64', 'float64']).astype({'duration': 'timedelta64[ns]'})",
    """
    back = back.assign(
        time=pd.to_datetime(back["time"], format="ISO8601"),
        time_ns=pd.to_datetime(back["time_ns"], format="ISO8601"),
        time_in_zone=pd.to_datetime(back["time_in_zone"], utc=True, format="ISO8601").dt.tz_convert("Europe/Vienna"),
        duration=pd.to_timedelta(back["duration"]),
    )
    back = back.astype({name: str(first.dtypes[name]) for name in ("time", "time_ns", "time_in_zone", "duration")})
    lenient = {"check_exact": False, "rtol": 1e-14, "atol": 1e-14}
    """,
)
_PARQUET = "pd.read_parquet(url)"

FORMATS = {
    "t.csv": _CSV,
    "t.csv.gz": _CSV,
    "t.csv.zst": _CSV,
    "t.jsonl": _JSON,
    "t.parquet": Format("frame.to_parquet(url, compression='snappy')", _PARQUET),
    "t.zstd.parquet": Format("frame.to_parquet(url, compression='zstd')", _PARQUET),
    "t.feather": Format("frame.to_feather(url)", "pd.read_feather(url)"),
    "t.pkl": Format("frame.to_pickle(url)", "pd.read_pickle(url)"),
}

SCRIPT = """
from datetime import datetime, timezone
import pandas as pd
import table

HOME = "artifact://shop/alice/s1"
NAME = {name!r}

# Since 3.0 pandas reads the very number that is written, and wants it not to be asked for.
exactly = {{}} if int(pd.__version__.split(".")[0]) >= 3 else {{"float_precision": "round_trip"}}

def told(frame):
    "The dtypes that a reader of text can be told."
    return {{name: kind for name, kind in frame.dtypes.items() if not name.startswith(("time", "duration"))}}

def write(frame, url):
    {format.write}

def read(url, compression="infer"):
    return {format.read}

first = {format.table}
later = first.tail(1000).reset_index(drop=True)
write(first, f"{{HOME}}/{{NAME}}")
between = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
write(later, f"{{HOME}}/{{NAME}}")

explicit = {{"gz": "gzip", "zst": "zstd"}}.get(NAME.rpartition(".")[2], "infer")
for place, wanted, compression in [
    (NAME, later, "infer"),
    (f"@latest/{{NAME}}", later, "infer"),
    (f"@-1/{{NAME}}", later, "infer"),
    (f"{{NAME}}@1", later, explicit),
    (f"{{NAME}}@0", first, explicit),
    (f"@0/{{NAME}}", first, "infer"),
    (f"@{{between}}/{{NAME}}", first, "infer"),
]:
    lenient = {{}}
    back = read(f"{{HOME}}/{{place}}", compression)
    {repair}
    table.assert_same(back, wanted, **lenient)
"""


@pytest.mark.parametrize("name", over_s3(FORMATS, "t.parquet"))
def test_every_version_of_a_table_comes_back_whole(name: str, run_tool: Tool, root: Root) -> None:
    chosen = FORMATS[name]
    repair = textwrap.indent(textwrap.dedent(chosen.repair), "    ").strip()
    run_tool(SCRIPT.format(name=name, format=chosen, repair=repair), **root.env)
    assert root.versions(name) == [0, 1]


def test_a_partitioned_table_is_a_folder_and_is_filtered_by_its_names(run_tool: Tool, root: Root) -> None:
    """Reading a part opens only the files of that part; what is written again is added, as pandas does everywhere."""
    run_tool(
        """
        import pandas as pd
        import table

        url = "artifact://shop/alice/s1/measured"
        frame = table.plain()[["text", "int64", "float32", "time_in_zone", "category"]]
        frame = frame.assign(year=2020 + frame.index % 4, place=pd.Series(table.WORDS)[frame.index % 5].to_numpy())
        frame.to_parquet(url, partition_cols=["year", "place"])

        def same(back, wanted):
            back = back.astype({"year": "int64", "place": "str"}).sort_values("int64", ignore_index=True)
            table.assert_same(back[wanted.columns], wanted.astype({"place": "str"}).sort_values("int64", ignore_index=True))

        same(pd.read_parquet(url), frame)
        same(pd.read_parquet("artifact://shop/alice/s1/@latest/measured"), frame)
        part = pd.read_parquet(url, filters=[("year", "==", 2021), ("place", "==", table.WORDS[1])])
        same(part, frame[(frame["year"] == 2021) & (frame["place"] == table.WORDS[1])])
        narrow = pd.read_parquet(url, columns=["int64"], filters=[("int64", ">", 0), ("year", "in", [2020, 2023])])
        wanted = frame[(frame["int64"] > 0) & frame["year"].isin([2020, 2023])]
        assert sorted(narrow["int64"]) == sorted(wanted["int64"])

        frame.to_parquet(url, partition_cols=["year", "place"])
        assert len(pd.read_parquet(url)) == 2 * len(frame)
        """,
        **root.env,
    )


def test_values_that_mean_something_in_a_url_are_ordinary_parts(run_tool: Tool, root: Root) -> None:
    run_tool(
        """
        import pandas as pd

        url = "artifact://shop/alice/s1/parts"
        words = ["100%", "@3", "x y", "ä?", "*", "a::b", "%2F", "[q]", "#h", "a=b", "", ".", "..", "latest", "x@1"]
        pd.DataFrame({"word": words, "n": range(len(words))}).to_parquet(url, partition_cols=["word"])
        back = pd.read_parquet(url).sort_values("n")
        assert list(back["word"]) == words, list(back["word"])
        """,
        **root.env,
    )


def test_a_table_is_read_in_pieces_and_by_column(run_tool: Tool, root: Root) -> None:
    run_tool(
        """
        import pandas as pd
        import table

        url = "artifact://shop/alice/s1/t"
        frame = table.plain()[["int64", "text", "float32"]]
        frame.to_csv(f"{url}.csv", index=False)
        frame.to_parquet(f"{url}.parquet", row_group_size=10_000)
        with pd.read_csv(f"{url}.csv", chunksize=7_000, dtype=dict(frame.dtypes)) as pieces:
            table.assert_same(pd.concat(pieces), frame)
        table.assert_same(pd.read_csv(f"{url}.csv", usecols=["text"], skiprows=range(1, 90_001)),
                          frame[["text"]].tail(10_000).reset_index(drop=True))
        table.assert_same(pd.read_parquet(f"{url}.parquet", columns=["float32"]), frame[["float32"]])
        """,
        **root.env,
    )
