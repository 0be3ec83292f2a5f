"""The rows of an inventory in DuckDB: what is written as Parquet, compared with a listing, and searched.

DuckDB runs closed in: no network, no extensions, no file but those in a temporary folder of its own, which goes with it.
All values reach it as parameters.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from artifactfs.backends.base import SUSPENDING, Backend
from artifactfs.errors import BackendError, InvalidConfig
from artifactfs.protocol.ops import Op
from artifactfs.waiting import in_thread

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

MEMORY = "512MB"
"""The most memory that DuckDB takes; what needs more goes through its temporary folder."""

THREADS = 2

ROW_WEIGHT = 200
"""Bytes that a row is taken for, beside its metadata."""

PART_WEIGHT = 128 * 1024 * 1024
"""Bytes of rows in one file, at most: about half a million versions with little metadata."""


class Row(NamedTuple):
    """One row: a version, or a tag (then `version` is the one that it names). Column by column as docs/spec.md has it."""

    key: str
    artifact: str
    app: str
    user: str
    session: str | None
    name: str
    version: int | None
    kind: str
    tag: str | None
    mime_type: str | None
    size_bytes: int | None
    timestamp: datetime | None
    sha256: str | None
    metadata: str | None
    payload_size: int
    payload_time: float
    record_size: int
    record_time: float


_TYPES = {
    "version": "UBIGINT",
    "timestamp": "TIMESTAMP",
    "size_bytes": "BIGINT",
    "payload_size": "BIGINT",
    "payload_time": "DOUBLE",
    "record_size": "BIGINT",
    "record_time": "DOUBLE",
}
COLUMNS = ", ".join(f'"{name}" {_TYPES.get(name, "VARCHAR")}' for name in Row._fields)
_NAMES = ", ".join(f'"{name}"' for name in Row._fields)
LISTED = "key VARCHAR, folder VARCHAR, entry VARCHAR, size BIGINT, modified DOUBLE, rsize BIGINT, rmodified DOUBLE"


@dataclass(frozen=True, slots=True)
class Work(Op):
    """Something for DuckDB to do, which takes a while: on a network's event loop it is done in a thread."""

    call: Callable[[], Any] = field(repr=False)

    async def perform(self, backend: Backend) -> Any:
        return await in_thread(self.call) if backend.placement in SUSPENDING else self.call()


def is_installed() -> bool:
    return importlib.util.find_spec("duckdb") is not None


class Table:
    """A database in memory, for one refresh or one search.

    Raises:
        InvalidConfig: DuckDB is not installed.
    """

    def __init__(self) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise InvalidConfig(
                'an inventory needs DuckDB, which is not installed; pip install "artifactfs[search]"'
            ) from error
        self._errors = (duckdb.Error, OSError)
        with self._told():
            self.folder = tempfile.mkdtemp(prefix="artifactfs-")
        self._con: DuckDBPyConnection = duckdb.connect(
            ":memory:",
            config={
                "threads": THREADS,
                "memory_limit": MEMORY,
                "home_directory": self.folder,
                "extension_directory": self.folder,
                "secret_directory": self.folder,
                "temp_directory": self.folder,
                "allow_persistent_secrets": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        self.close = weakref.finalize(self, _close, self._con, self.folder, os.getpid())
        with self._told():
            self._con.execute("SET allowed_directories = [?]", [f"{self.folder}/"])
            self._con.execute("SET enable_external_access = false")
            self._con.execute("SET lock_configuration = true")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise BackendError(f"DuckDB failed over the inventory: {error}") from error

    def run(self, sql: str, values: Sequence[Any] | None = None) -> None:
        with self._told():
            self._con.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] | None = None) -> list[Any]:
        with self._told():
            return self._con.execute(sql, values).fetchall()

    def more(self, count: int) -> list[Any]:
        """So many more rows of what was asked for by `run`."""
        with self._told():
            return self._con.fetchmany(count)

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add *rows* to one of the tables made here."""
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self.run(f"INSERT INTO {table} SELECT {', '.join(['unnest(?)'] * len(columns))}", columns)

    def hold(self, name: str, data: bytes) -> str:
        """Keep the bytes of a Parquet file; its path."""
        path = os.path.join(self.folder, name)
        with self._told(), open(path, "wb") as file:
            file.write(data)
        return path

    def view(self, name: str, paths: Sequence[str]) -> None:
        """Make *name* stand for the rows of these files."""
        if paths:
            quoted = ", ".join(f"'{_quoted(path)}'" for path in paths)
            self.run(f"CREATE OR REPLACE VIEW {name} AS SELECT {_NAMES} FROM read_parquet([{quoted}])")
        else:
            self.run(f"CREATE OR REPLACE TABLE {name} ({COLUMNS})")

    def know(self, base: Sequence[str], delta: Sequence[str]) -> None:
        """Make ``known`` stand for what files say: of each key what the delta does, if anything."""
        self.view("base", base)
        self.view("delta", delta)
        self.run(
            "CREATE OR REPLACE VIEW known AS SELECT * FROM delta WHERE kind <> 'gone' "
            "UNION ALL SELECT * FROM base WHERE NOT EXISTS (SELECT 1 FROM delta WHERE delta.key = base.key)"
        )

    def parquet(self, name: str, sql: str) -> bytes:
        """The rows of a query as a Parquet file."""
        path = os.path.join(self.folder, name)
        self.run(f"COPY ({sql}) TO '{_quoted(path)}' (FORMAT parquet, COMPRESSION zstd)")
        with self._told(), open(path, "rb") as file:
            return file.read()


def _quoted(path: str) -> str:
    return path.replace("'", "''")


def _close(con: DuckDBPyConnection, folder: str, process: int) -> None:
    if os.getpid() == process:
        con.close()
        shutil.rmtree(folder, ignore_errors=True)
