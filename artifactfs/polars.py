"""polars over ``artifact://``: its own ``scan_…`` functions, which know no protocols but those that are compiled in.

A scan pins the versions that its URLs select. When its LazyFrame is collected, polars' own reader reads local copies of
them, so every option of polars means what it always means. Of a parquet artifact the copy is a sparse file: only the
footer, and the columns that the query needs, are fetched. The other formats have no such parts (polars
fetches whole files of theirs from a cloud, too). The copies lie in the folder for temporary files, and go with the last
LazyFrame that reads them.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
from fsspec.core import url_to_fs
from polars.io.plugins import register_io_source

from artifactfs.errors import ArtifactNotFound, InvalidRef
from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.pins import pinned
from artifactfs.refs import SCHEME, Ref

Source: TypeAlias = str | Sequence[str]
"""A URL of an artifact, a folder or a glob pattern, or several of artifacts and patterns."""

_TAIL = 256 * 1024
"""Bytes at the end of a parquet file that are fetched first; its footer mostly lies in them."""

_AT_ONCE = 64 * 1024 * 1024
"""Bytes that are held in memory while they are fetched, in pieces of `_PIECE`."""

_PIECE = 8 * 1024 * 1024


def scan_parquet(source: Source, *, storage_options: Mapping[str, Any] | None = None, **options: Any) -> pl.LazyFrame:
    """`polars.scan_parquet` of artifacts: what they are now, however late it is collected.

    Only the columns that a query uses are fetched, and of them only the row groups of its first rows where it ends
    with these (``head``). *storage_options* are those of `ArtifactFileSystem`, *options* those of polars. Needs
    pyarrow, too.

    Raises:
        ArtifactNotFound: nothing is there.
        InvalidRef: *source* is no ``artifact://`` URL, or selects no version.
    """
    return _scan(pl.scan_parquet, source, storage_options, options, _Parquet)


def scan_csv(source: Source, *, storage_options: Mapping[str, Any] | None = None, **options: Any) -> pl.LazyFrame:
    """`polars.scan_csv` of artifacts: as `scan_parquet`, but each is fetched whole when the query first runs."""
    return _scan(pl.scan_csv, source, storage_options, options, _Whole)


def scan_ndjson(source: Source, *, storage_options: Mapping[str, Any] | None = None, **options: Any) -> pl.LazyFrame:
    """`polars.scan_ndjson` of artifacts: as `scan_csv`."""
    return _scan(pl.scan_ndjson, source, storage_options, options, _Whole)


def scan_ipc(source: Source, *, storage_options: Mapping[str, Any] | None = None, **options: Any) -> pl.LazyFrame:
    """`polars.scan_ipc` of artifacts: as `scan_csv`."""
    return _scan(pl.scan_ipc, source, storage_options, options, _Whole)


class _Whole:
    """A pinned version and its local copy, which is fetched whole."""

    def __init__(self, fs: ArtifactFileSystem, path: str, size: int, folder: _Folder, local: Path) -> None:
        self.fs, self.path, self.size, self.local = fs, path, size, local
        self.url = f"{SCHEME}{path}"
        self._folder = folder
        self._lock = threading.Lock()
        self._begun = False

    def begin(self) -> None:
        """Fetch what tells the schema."""
        with self._lock:
            if not self._begun:
                self.local.parent.mkdir(parents=True, exist_ok=True)
                self._begin()
                self._begun = True

    def _begin(self) -> None:
        self.fs.get_file(self.path, str(self.local))

    def fetch(self, columns: set[str] | None, rows: int | None) -> None:
        """Fetch *columns* of the first *rows*, None for all; `begin` was called before."""


class _Parquet(_Whole):
    """A pinned version of which only parts are in its local copy; the others are holes, which are no valid pages."""

    def _begin(self) -> None:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata

        self._there: set[tuple[int, int]] = set()
        self._groups: list[Any] = []
        tail = self.fs.cat_file(self.path, max(0, self.size - _TAIL), self.size)
        footer = 8 + (struct.unpack("<I", tail[-8:-4])[0] if len(tail) >= 8 else 0)
        if len(tail) < footer <= self.size:
            tail = self.fs.cat_file(self.path, self.size - footer, self.size)
        with self.local.open("wb") as file:
            file.truncate(self.size)
            file.seek(self.size - len(tail))
            file.write(tail)
        try:
            metadata = read_metadata(self.local)
        except (
            ArrowException,
            OSError,
        ):  # no parquet, as polars will say, or with a type that only polars knows: Int128
            self.fs.get_file(self.path, str(self.local))
        else:
            self._groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]

    def fetch(self, columns: set[str] | None, rows: int | None) -> None:
        before = accumulate((group.num_rows for group in self._groups), initial=0)
        kept = [group for group, start in zip(self._groups, before, strict=False) if rows is None or start < rows]
        with self._lock:
            wanted = {chunk for group in kept for chunk in _chunks(group, columns)} - self._there
            with self.local.open("r+b") as file:
                for pieces in _batches(sorted(wanted)):
                    starts, ends = zip(*pieces, strict=True)
                    data = self.fs.cat_ranges([self.path] * len(pieces), list(starts), list(ends), on_error="raise")
                    for start, piece in zip(starts, data, strict=True):
                        file.seek(start)
                        file.write(piece)
            self._there |= wanted


def _chunks(group: Any, columns: set[str] | None) -> Iterator[tuple[int, int]]:
    """Where the columns of a row group lie: start and end, in bytes."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        name = chunk.path_in_schema
        if columns is None or any(name == column or name.startswith(f"{column}.") for column in columns):
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                start = min(start, chunk.dictionary_page_offset)
            yield start, start + chunk.total_compressed_size


def _batches(chunks: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The same bytes in pieces to be fetched at once: what touches is joined, what is long is cut."""
    joined: list[list[int]] = []
    for start, end in chunks:
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(end, joined[-1][1])
        else:
            joined.append([start, end])
    batch: list[tuple[int, int]] = []
    for start, end in joined:
        for cut in range(start, end, _PIECE):
            batch.append((cut, min(cut + _PIECE, end)))
            if sum(stop - begin for begin, stop in batch) >= _AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def _scan(
    scan: Callable[..., pl.LazyFrame],
    source: Source,
    storage_options: Mapping[str, Any] | None,
    options: dict[str, Any],
    kind: type[_Whole],
) -> pl.LazyFrame:
    folder = _Folder()
    files: list[_Whole] = []
    whole_folder = False
    for url in [source] if isinstance(source, str) else source:
        fs, path = url_to_fs(url, **(storage_options or {}))
        if not isinstance(fs, ArtifactFileSystem):
            raise InvalidRef(f"{url!r:.200} is no artifact:// URL; polars' own functions read other ones")
        found = pinned(fs, path, folders=True)
        if not found:
            raise ArtifactNotFound(f"nothing lies at {url}")
        whole_folder = isinstance(source, str) and fs.isdir(path)
        for name, info in found.items():
            # Versions and stores are no part of a local path, so that each file but those of one folder is kept apart.
            base = folder.path / ("0" if whole_folder else str(len(files)))
            files.append(kind(fs, name, info["size"], folder, base / _local(name)))
    places: str | list[str] = [str(file.local) for file in files]
    if whole_folder:  # for polars looks for hive's partitions where it is given a folder
        places = str(folder.path / "0" / _local(path))
        _refuse_nested(files)

    def native() -> pl.LazyFrame:
        for file in files:
            file.begin()
        frame = scan(places, **options)
        label = options.get("include_file_paths")
        if label is None:
            return frame
        return frame.with_columns(pl.col(label).replace_strict({str(file.local): file.url for file in files}))

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        frame = native()
        needed = None if columns is None else set(columns)
        limit = options.get("n_rows")
        if n_rows is not None:  # polars counts rows before it filters them
            frame = frame.head(n_rows)
            limit = n_rows if limit is None else min(n_rows, limit)
        if predicate is not None:
            frame = frame.filter(predicate)
            if needed is not None:
                needed.update(predicate.meta.root_names())
        if columns is not None:
            frame = frame.select(columns)
        for file in files:
            file.fetch(needed, limit)
        yield frame.collect()

    return register_io_source(read, schema=lambda: native().collect_schema(), is_pure=True)


def _refuse_nested(files: Iterable[_Whole]) -> None:
    places = {file.local: file.url for file in files}
    for place in places:
        for above in place.parents:
            if above in places:
                raise InvalidRef(
                    f"{places[above]} is an artifact and a folder: a folder with it cannot be scanned whole"
                )


class _Folder:
    """A temporary folder, gone with the last reference to this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="artifactfs-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _local(path: str) -> str:
    """Where the copy lies: by the whole path without a version, for polars looks at extensions and hive's folders."""
    return replace(Ref.parse(path), selector=None, view=False).path
