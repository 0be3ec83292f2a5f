"""duckdb reads and writes artifacts: every type, one version of each file in a query, and whole versions or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest

from artifactfs import duckdb as duckdb_helper
from artifactfs.store import ArtifactStore

from .wheel import Root, Tool, over_s3

HOME = "artifact://shop/alice/s1"

START = """
import duckdb
import fsspec
from artifactfs.duckdb import register

con = register(duckdb.connect())
HOME = "artifact://shop/alice/s1"

def fails(kind, query, says=""):
    try:
        con.execute(query)
    except kind as error:
        assert says in str(error), error
    else:
        raise AssertionError(f"{query} did not fail")
"""

# Columns of 100,000 rows that parquet holds and that come back with their types; csv and json say less.
TYPES = {
    "bool": "i % 2 = 0",
    "tinyint": "(i % 256 - 128)::TINYINT",
    "smallint": "(i % 60000 - 30000)::SMALLINT",
    "integer": "(i * 20000 - 1000000000)::INTEGER",
    "bigint": "i * 90000000000000",
    "utinyint": "(i % 256)::UTINYINT",
    "usmallint": "(i % 60000)::USMALLINT",
    "uinteger": "(i * 40000)::UINTEGER",
    "ubigint": "i::UBIGINT + 9223372036854775808",
    "float": "(i / 7)::FLOAT",
    "double": "i / 7",
    "decimal": "(i / 100)::DECIMAL(18, 4)",
    "wide_decimal": "i::DECIMAL(38, 10)",
    "varchar": "'ä''\n梨' || i",
    "blob": "('x' || i)::BLOB",
    "date": "DATE '2000-01-01' + (i % 10000)::INTEGER",
    "time": "TIME '00:00:00' + to_seconds(i % 86400)",
    "timestamp": "TIMESTAMP '2000-01-01' + to_microseconds(i * 1000003)",
    "timestamp_ns": "make_timestamp_ns(i * 1001)",
    "timestamptz": "(TIMESTAMP '2000-01-01' + to_seconds(i))::TIMESTAMPTZ",
    "interval": "to_days((i % 100)::INTEGER)",
    "uuid": "md5(i::VARCHAR)::UUID",
    "list": "[i, i + 1]",
    "struct": "{'a': i, 'b': 'x' || i}",
    "map": "MAP {'k' || (i % 5): i}",
    "missing": "CASE WHEN i % 10 = 0 THEN NULL ELSE i END",
}
ALL = ", ".join(f"{made} AS {name}" for name, made in TYPES.items())


FORMATS = {
    "t.parquet": "(COMPRESSION zstd)",
    "t.csv": "",
    "t.csv.gz": "",
    "t.json": "",
    "t.ndjson": "(FORMAT json)",
}


@pytest.mark.parametrize("name", over_s3(FORMATS, "t.parquet"))
def test_every_type_comes_back_from_every_version(name: str, run_tool: Tool, root: Root) -> None:
    """What comes back is what duckdb makes of the same file on the local disk."""
    options = FORMATS[name]
    run_tool(
        f"""{START}
con.execute('''CREATE TABLE made AS SELECT i AS row, {ALL} FROM range(100_000) r(i)''')
for version, rows in enumerate((100_000, 1000)):
    con.execute(f"COPY (FROM made LIMIT {{rows}}) TO '{HOME}/{name}' {options}")
    con.execute(f"COPY (FROM made LIMIT {{rows}}) TO '{{version}}-{name}' {options}")
for place, version in (("", 1), ("@latest/", 1), ("@0/", 0), ("@-2/", 0)):
    con.execute(f"CREATE OR REPLACE TABLE back AS FROM '{HOME}/{{place}}{name}'")
    con.execute(f"CREATE OR REPLACE TABLE wanted AS FROM '{{version}}-{name}'")
    assert con.execute("DESCRIBE back").fetchall() == con.execute("DESCRIBE wanted").fetchall()
    assert con.execute("SELECT count(*) FROM back").fetchall() == [((100_000, 1000)[version],)]
    assert con.execute("FROM back EXCEPT ALL FROM wanted").fetchall() == []
    if "{name}" == "t.parquet":
        types = [[row[:2] for row in con.execute(f"DESCRIBE {{table}}").fetchall()] for table in ("back", "made")]
        assert types[0] == types[1]
        assert con.execute(f"FROM back EXCEPT ALL (FROM made LIMIT {{100_000 if version == 0 else 1000}})").fetchall() == []
""",
        helper=True,
        **root.env,
    )
    assert root.versions(name) == [0, 1]


def test_lists_patterns_folders_and_hives_are_read(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
con.execute("CREATE TABLE t AS SELECT i, i % 3 AS part, 'x' || i AS word FROM range(100_000) r(i)")
con.execute("COPY t TO '{HOME}/parts' (FORMAT parquet, PARTITION_BY (part))")
for source in ("parts/*/*.parquet", "parts/**", "@latest/parts/*/*.parquet", "parts"):
    query = f"SELECT count(*), sum(i), sum(part) FROM read_parquet('{HOME}/{{source}}', hive_partitioning=true)"
    assert con.execute(query).fetchall() == con.execute("SELECT count(*), sum(i), sum(part) FROM t").fetchall(), source
found = con.execute("SELECT DISTINCT filename FROM read_parquet('{HOME}/parts/part=1/*.parquet', filename=true)").fetchall()
assert found == [("{HOME}/@0/parts/part=1/data_0.parquet",)], found
query = "SELECT count(*) FROM read_parquet(['{HOME}/parts/part=0/data_0.parquet', '{HOME}/@0/parts/part=2/data_0.parquet'])"
assert con.execute(query).fetchall() == [(66667,)]
fails(duckdb.IOException, "COPY t TO '{HOME}/parts' (FORMAT parquet, PARTITION_BY (part))", "is not empty")
con.execute("COPY (FROM t LIMIT 9) TO '{HOME}/parts' (FORMAT parquet, PARTITION_BY (part), OVERWRITE)")
assert con.execute("SELECT count(*) FROM '{HOME}/parts/*/*.parquet'").fetchall() == [(9,)]
assert con.execute("SELECT count(*) FROM '{HOME}/@0/parts/part=0/data_0.parquet'").fetchall() == [(33334,)]
""",
        helper=True,
        **root.env,
    )


def test_what_else_a_query_may_be(run_tool: Tool, root: Root) -> None:
    """Nothing of a query's text is changed, so whatever duckdb understands is understood."""
    run_tool(
        f"""{START}
import pandas as pd

con.execute("COPY (SELECT i AS a FROM range(5) r(i)) TO '{HOME}/t.csv'")
local = pd.DataFrame({{"a": [3, 4, 5]}})
assert con.sql("SELECT count(*) FROM local JOIN '{HOME}/t.csv' USING (a)").fetchall() == [(2,)]
assert con.execute("SELECT '{HOME}/t.csv' AS url, E'it''s' -- '{HOME}/t.csv'").fetchall() == [("{HOME}/t.csv", "it's")]
assert con.execute("SELECT sum(a) FROM read_csv(?)", ["{HOME}/t.csv@-1"]).fetchall() == [(10,)]
assert con.execute("SELECT sum(a) FROM read_csv($url)", {{"url": "{HOME}/t.csv"}}).fetchall() == [(10,)]
con.execute("SET VARIABLE place = '{HOME}/t.csv'")
assert con.execute("SELECT sum(a) FROM read_csv(getvariable('place'))").fetchall() == [(10,)]
con.execute("CREATE MACRO total(url) AS TABLE SELECT sum(a) FROM read_csv(url)")
assert con.execute("FROM total('{HOME}/t.csv')").fetchall() == [(10,)]
con.execute("CREATE VIEW v AS FROM '{HOME}/t.csv'")
lazy = con.sql("SELECT sum(a) FROM '{HOME}/t.csv'")
con.execute("CREATE TABLE kept (a BIGINT); COPY kept FROM '{HOME}/t.csv'")
assert con.execute("SELECT sum(a) FROM kept").fetchall() == con.read_csv("{HOME}/t.csv").sum("a").fetchall() == [(10,)]

con.execute("COPY (SELECT 100 AS a) TO '{HOME}/t.csv'")  # views and relations look again when they run
assert con.execute("SELECT sum(a) FROM v").fetchall() == lazy.fetchall() == [(100,)]
assert con.execute("SELECT filename FROM read_csv('{HOME}/t.csv', filename=true)").fetchall() == [("{HOME}/@1/t.csv",)]

register(duckdb, {root.url!r}, **{root.storage_options!r})
assert duckdb.sql("SELECT sum(a) FROM '{HOME}/@0/t.csv'").fetchall() == [(10,)]
other = register(register(duckdb.connect(), "memory://other"), {root.url!r}, **{root.storage_options!r})
assert other.sql("SELECT sum(a) FROM '{HOME}/@0/t.csv'").fetchall() == [(10,)]
""",
        helper=True,
        **root.env,
    )


# Each time duckdb opens the artifact, somebody saves its next version, with more rows of another type.
MEANWHILE = """
from artifactfs.filesystem import ArtifactFileSystem

plain = fsspec.filesystem("artifact")
versions = []
for number in range(30):
    made = f"SELECT {'i' if number % 2 else 'chr(97 + (i % 7)::INTEGER)'} AS v, i FROM range({(number + 1) * 1000}) r(i)"
    duckdb.sql(f"COPY ({made}) TO 'next.parquet'")
    versions.append(open("next.parquet", "rb").read())
usual_open = ArtifactFileSystem.open

def open_and_save(self, path, mode="rb", *args, **kwargs):
    file = usual_open(self, path, mode, *args, **kwargs)
    plain.pipe_file("shop/alice/s1/t.parquet", versions.pop(0))
    return file

def rows(con):
    query = f"SELECT count(*), min(v), max(v), max(i) FROM '{HOME}/t.parquet' WHERE i >= 0"
    return con.execute(query).fetchall()[0]

plain.pipe_file("shop/alice/s1/t.parquet", versions.pop(0))
ArtifactFileSystem.open = open_and_save
"""


def test_a_query_reads_one_version_whatever_is_saved_while_it_runs(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}{MEANWHILE}
assert rows(con) == (1000, "a", "g", 999)
saved = 30 - len(versions) - 1
while len(versions) > 6:  # each the whole of the version that was the newest when it began
    number = 30 - len(versions) - 1
    count, least, _, greatest = rows(con)
    assert (count, greatest, str(least)) == ((number + 1) * 1000, (number + 1) * 1000 - 1, "0" if number % 2 else "a")
once = f"WITH t AS (FROM '{{HOME}}/t.parquet') SELECT count(*) FROM t a JOIN t b ON (a.i = b.i AND a.v <> b.v)"
assert con.execute(once).fetchall() == [(0,)]
""",
        helper=True,
        **root.env,
    )


@pytest.mark.nightly_over_s3
def test_threads_that_share_a_file_read_what_each_of_them_asks_for(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
con.execute("SET threads = 8")
con.execute("CREATE TABLE t AS SELECT i, hash(i) AS a, hash(i + 1) AS b FROM range(1_000_000) r(i)")
options = {{"t.parquet": "(ROW_GROUP_SIZE 50_000)", "t.csv": "", "t.csv.gz": "", "t.ndjson": "(FORMAT json)"}}
for name in options:
    con.execute(f"COPY t TO '{HOME}/{{name}}' {{options[name]}}")
    for _ in range(3):
        total = "SELECT count(*), sum(i), sum(a::HUGEINT), bit_xor(b::UBIGINT) FROM"
        found = con.execute(f"{{total}} '{HOME}/{{name}}'").fetchall()
        assert found == con.execute(f"{{total}} t").fetchall(), name
""",
        helper=True,
        **root.env,
    )


def test_each_thread_reads_where_it_moved_to_or_on_from_the_last_read() -> None:
    """The planted fault is the file below: it reads where another thread has moved to."""
    scope = ArtifactStore("memory://duckdb-threads").scope("shop", "alice", "s1")
    scope.save("t", bytes(range(100)))

    def reads(file: Any) -> list[int]:
        with ThreadPoolExecutor(1) as other:
            file.seek(10)
            other.submit(file.seek, 50).result()
            seen = [file.read(1)[0], other.submit(file.read, 1).result()[0]]
            file.seek(20)
            seen += [other.submit(file.read, 2).result()[0], file.read(1)[0], other.submit(file.read, 1).result()[0]]
            return [*seen, file.read()[-1], len(file.read(5))]

    file = fsspec.filesystem("artifact", root="memory://duckdb-threads").open("shop/alice/s1/t")
    assert reads(duckdb_helper._SharedReader(file)) == [10, 50, 20, 22, 23, 99, 0]
    assert reads(file) != [10, 50, 20, 22, 23, 99, 0]


def test_the_filesystem_by_itself_would_mix_versions(run_tool: Tool, root: Root) -> None:
    """The planted fault: what `register` does away with is seen where the filesystem is registered as it is."""
    run_tool(
        f"""{START}{MEANWHILE}
con = duckdb.connect()
con.register_filesystem(plain)
try:
    found = rows(con)
except duckdb.Error as error:
    assert "magic bytes" in str(error) or "Failed to read" in str(error), error
else:
    raise AssertionError(f"the mixture was not seen, but {{found}}")
""",
        helper=True,
        **root.env,
    )


# It fails at its last row, after some megabytes have been written.
TRAP = "SELECT CASE WHEN i = 2999999 THEN error('a trap') ELSE md5(i::VARCHAR) END AS a FROM range(3000000) r(i)"


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_copy_makes_one_version_or_none(name: str, run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
fails(duckdb.InvalidInputException, "COPY ({TRAP}) TO '{HOME}/{name}'", "a trap")
fs = fsspec.filesystem("artifact")
assert not fs.exists("{HOME}/{name}") and not fs.exists("{HOME}/{name}@0")
con.execute("COPY (SELECT 1 AS a) TO '{HOME}/{name}'")
fails(duckdb.InvalidInputException, "COPY ({TRAP}) TO '{HOME}/{name}'", "a trap")
assert con.execute("FROM '{HOME}/{name}'").fetchall() == [(1,)]
con.execute("COPY (SELECT 2 AS a) TO '{HOME}/{name}'")
con.execute("COPY (SELECT 3 AS a) TO '{HOME}/tmp_{name}'")
con.sql("SELECT 4 AS a").{"write_parquet" if name == "t.parquet" else "write_csv"}("{HOME}/{name}")
assert [con.execute(f"FROM '{HOME}/@{{n}}/{name}'").fetchall() for n in (-3, -2, -1)] == [[(1,)], [(2,)], [(4,)]]
assert con.execute("FROM '{HOME}/tmp_{name}'").fetchall() == [(3,)]
""",
        helper=True,
        **root.env,
    )
    with root.store() as store:
        scope = store.scope("shop", "alice", "s1")
        assert len(scope.versions(name)) == 3  # their numbers may not follow each other: what failed had taken one
        assert list(scope.names()) == sorted([name, f"tmp_{name}"])
        assert scope.versions(f"tmp_{name}") == [0]


def test_a_copy_that_fails_within_a_transaction_makes_no_version(run_tool: Tool, root: Root) -> None:
    """A transaction of fsspec holds what its own instance wrote; a COPY is none of its business, whole or not."""
    run_tool(
        f"""{START}
fs = fsspec.filesystem("artifact")
with fs.transaction:
    fs.pipe_file("shop/alice/s1/note.txt", b"deferred")
    fails(duckdb.InvalidInputException, "COPY ({TRAP}) TO '{HOME}/t.csv'", "a trap")
    con.execute("COPY (SELECT 1 AS a) TO '{HOME}/good.csv'")
    con.execute("COPY (SELECT 1 AS a, 2 AS k) TO '{HOME}/parts' (PARTITION_BY (k))")
    con.execute("COPY (SELECT 3 AS a, 2 AS k) TO '{HOME}/parts' (PARTITION_BY (k), OVERWRITE)")
    assert not fs.exists("{HOME}/note.txt")
    assert con.execute("FROM '{HOME}/good.csv'").fetchall() == [(1,)]
assert fs.cat_file("{HOME}/note.txt") == b"deferred"
assert con.execute("SELECT a FROM '{HOME}/parts/*/*.csv'").fetchall() == [(3,)]
assert not fs.transaction.files
""",
        helper=True,
        **root.env,
    )
    with root.store() as store:
        assert list(store.scope("shop", "alice", "s1").names()) == ["good.csv", "note.txt", "parts/k=2/data_0.csv"]


@pytest.mark.parametrize(
    "target",
    [
        "parts' (FORMAT parquet, PER_THREAD_OUTPUT)",
        "parts' (FORMAT csv, PER_THREAD_OUTPUT, OVERWRITE_OR_IGNORE)",
        "parts' (FORMAT csv, FILE_SIZE_BYTES '1MB')",
        "parts' (FORMAT csv, PER_THREAD_OUTPUT, APPEND)",
        "table' (FORMAT csv)",
        "t.csv' (USE_TMP_FILE false)",
        "tmp_t.csv' (USE_TMP_FILE false)",
    ],
)
def test_a_copy_that_could_fail_unnoticed_is_refused(target: str, run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
fails(duckdb.Error, '''COPY (SELECT i AS a FROM range(9) r(i)) TO '{HOME}/{target}''', "duckdb would not tell whether")
con.execute("COPY (SELECT 1 AS a) TO '{HOME}/t.csv'")
""",
        helper=True,
        **root.env,
    )
    with root.store() as store:
        assert list(store.scope("shop", "alice", "s1").names()) == ["t.csv"]


def test_parts_may_be_appended_and_have_names_of_their_own(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
for number, options in enumerate(("", "APPEND", "APPEND", "OVERWRITE_OR_IGNORE, FILENAME_PATTERN 'tmp_{{i}}'")):
    options = f"(FORMAT parquet, PARTITION_BY (k), {{options}})".replace(", )", ")")
    con.execute(f"COPY (SELECT i AS a, i % 2 AS k FROM range(10) r(i)) TO '{HOME}/parts' {{options}}")
    query = "SELECT count(*), sum(a), count(DISTINCT filename) FROM read_parquet('{HOME}/parts/*/*.parquet', filename=true)"
    assert con.execute(query).fetchall() == [(10 * (number + 1), 45 * (number + 1), 2 * (number + 1))]
name = "0" * 8 + "-0000" * 3 + "-" + "0" * 12
con.execute(f"COPY (SELECT 1 AS a) TO '{HOME}/{{name}}.csv'")
fails(duckdb.InvalidInputException, f"COPY ({TRAP}) TO '{HOME}/{{name}}.csv'")
assert con.execute(f"FROM '{HOME}/{{name}}.csv'").fetchall() == [(1,)]
""",
        helper=True,
        **root.env,
    )


def test_the_filesystem_by_itself_would_publish_what_failed(run_tool: Tool, root: Root) -> None:
    """The planted fault: duckdb closes a file in the same way after a failure."""
    run_tool(
        f"""
        import duckdb
        import fsspec

        con = duckdb.connect()
        con.register_filesystem(fsspec.filesystem("artifact"))
        try:
            con.execute("COPY ({TRAP.replace("'", "''")}) TO '{HOME}/t.csv'".replace("''", "'"))
        except duckdb.InvalidInputException:
            pass
        """,
        **root.env,
    )
    with root.store() as store:
        torn = store.scope("shop", "alice", "s1").load("t.csv", version=0).data
    assert 0 < torn.count(b"\n") < 3_000_001


def test_wrong_input_is_said_clearly(run_tool: Tool, root: Root) -> None:
    run_tool(
        f"""{START}
con.execute("COPY (SELECT 1 AS a) TO '{HOME}/reports/t.csv'")
con.execute("COPY (SELECT 1 AS a) TO '{HOME}/t.csv'")
fails(duckdb.IOException, "FROM '{HOME}/none.csv'", "No files found")
fails(duckdb.IOException, "FROM '{HOME}/@7/t.csv'", "No files found")
fails(duckdb.IOException, "FROM read_csv('{HOME}/*/none*.csv')", "No files found")
fails(duckdb.IOException, "FROM read_parquet('{HOME}/reports')", "No files found")
fails(duckdb.IOException, "FROM read_csv('{HOME}/t.csv@prod')", "No files found")
fails(duckdb.Error, "FROM read_csv('{HOME}/@0/*.csv')", "numbers of their own")
fails(duckdb.Error, "COPY (SELECT 2 AS a) TO '{HOME}/t.csv@0'", "never changes")
fails(duckdb.Error, "COPY (SELECT 2 AS a) TO '{HOME}/@0/t.csv'", "never changes")
fails(duckdb.Error, "CREATE TABLE x (a INTEGER); EXPORT DATABASE '{HOME}/all'", "whether schema.sql is whole")
fails(duckdb.Error, "ATTACH '{HOME}/t.db'")
""",
        helper=True,
        **root.env,
    )
    assert root.versions("t.csv") == [0]
