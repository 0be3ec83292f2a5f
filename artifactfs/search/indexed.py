"""A search over the inventory: a read of its manifest and of the files that may tell, then a question to DuckDB.

The question leaves out what cannot be meant; each row that is left is looked at by `Query.fits`, as a scan's are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from artifactfs.custody import Custody
from artifactfs.errors import UnsupportedFormat
from artifactfs.inventory.manifest import read
from artifactfs.inventory.refresh import load
from artifactfs.inventory.table import Table, Work, is_installed
from artifactfs.protocol.ops import Emit, Lazy, Steps
from artifactfs.search.query import Hit, Query, Started, hit_of, limited

WITHOUT_DUCKDB = 'searched without an inventory, for DuckDB is not installed: pip install "artifactfs[search]"'

_BATCH = 1000
_ROUNDS = 3

_LONGEST = 2000
"""Characters of a pattern that DuckDB is given; a longer one is left to `Query.fits`."""

# What a bracket of a glob pattern is to fnmatch: possessive, for a "]" that comes first is one of its characters.
_WILD = re.compile(r"\*|\?|\[!?+\]?+[^\]]*\]")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")


def over_inventory(custody: Custody, query: Query) -> Steps[Started | str]:
    """Ask the inventory: a read of its manifest, and one of each file that may tell. Else why that cannot be done."""
    folder = query.folder(custody)
    if not is_installed():
        return WITHOUT_DUCKDB
    for _ in range(_ROUNDS):
        try:
            state = yield from read(custody)
        except UnsupportedFormat as error:
            return str(error)
        manifest = state.manifest
        as_of = None if manifest is None else manifest.as_of
        if manifest is None or as_of is None:
            return state.why
        table: Table
        (table,) = yield (Work(Table),)
        try:
            whole = yield from load(table, [part for part in manifest.base if part.reaches(folder)], manifest.delta)
            if not whole:  # superseded and cleared since, or erased from: then there is another manifest by now
                table.close()
                continue
            sql, values = _sql(query, folder, custody)
            yield (Work(partial(table.run, sql, values)),)
        except BaseException:
            table.close()
            raise
        return Started(as_of, "", limited(_rows(table, query), query.limit))
    return "files of the inventory are gone or damaged: make it anew with store.inventory()"


def _rows(table: Table, query: Query) -> Lazy[Hit]:
    try:
        while True:
            rows: list[tuple[Any, ...]]
            (rows,) = yield (Work(lambda: table.more(_BATCH)),)
            if not rows:
                return
            for row in rows:
                hit = hit_of(query, *row)
                if query.fits(hit):
                    yield (Emit(hit),)
    finally:
        table.close()


def _sql(query: Query, folder: str, custody: Custody) -> tuple[str, list[Any]]:
    """The question as SQL, and its values. It leaves out nothing that `Query.fits`, and perhaps not all that does not."""
    of_artifact: list[tuple[str, Any]] = [("starts_with(key, ?)", folder)]
    if query.app is None and query.user is not None:
        of_artifact.append(('"user" = ?', query.user))
    if query.session is not None:
        of_artifact.append(("session = ?", query.session))
    if query.name is not None and len(query.name) <= _LONGEST:
        of_artifact.append(("regexp_full_match(name, ?, 's')", _loose(query.name)))
    wanted: list[tuple[str, Any]] = []
    if query.mime_type is not None and len(query.mime_type) <= _LONGEST:
        wanted.append(("regexp_matches(mime_type, ?, 'si')", "^ *" + _loose(query.mime_type)))
    if query.since is not None:
        wanted.append(("timestamp >= ?", query.since.replace(tzinfo=None)))
    if query.until is not None:
        wanted.append(("timestamp < ?", query.until.replace(tzinfo=None)))
    if query.min_size is not None:
        wanted.append(("size_bytes >= ?", query.min_size))
    if query.max_size is not None:
        wanted.append(("size_bytes <= ?", query.max_size))
    if query.tag is not None:
        wanted.append(("list_contains(tags, ?)", query.tag))
    wanted += [("contains(metadata, ?)", text) for text in _traces(query.metadata)]
    conditions = ["kind IN ('blob', 'pointer')", *(text for text, _ in wanted)] + ([] if query.every else ["newest"])
    sql = f"""
        WITH meant AS (SELECT * FROM known WHERE {" AND ".join(text for text, _ in of_artifact)}),
        versions AS (
            SELECT *, version = max(version) OVER (PARTITION BY artifact) AS newest
            FROM meant WHERE tag IS NULL AND kind <> 'none'
        ),
        tagged AS (
            SELECT artifact, version, list(tag ORDER BY tag) AS tags FROM meant WHERE kind = 'tag' GROUP BY ALL
        )
        SELECT app, "user", session, name, version, kind, mime_type, size_bytes, timestamp, sha256, metadata, tags, newest
        FROM versions LEFT JOIN tagged USING (artifact, version)
        WHERE {" AND ".join(conditions)} ORDER BY artifact, version DESC
    """
    return sql, [value for _, value in (*of_artifact, *wanted)]


def _loose(pattern: str) -> str:
    """A regular expression for all that the glob *pattern* matches, and perhaps more: any character fits a bracket."""
    text, place = "", 0
    for found in _WILD.finditer(pattern):
        text += _SPECIAL.sub(r"\\\1", pattern[place : found.start()]) + (".*" if found[0] == "*" else ".")
        place = found.end()
    return text + _SPECIAL.sub(r"\\\1", pattern[place:])


def _traces(wanted: Mapping[str, Any]) -> Iterator[str]:
    """Texts that compact JSON holds if it holds *wanted*. A number has several spellings, so only its key is one."""
    for key, value in wanted.items():
        text = msgspec.json.encode(key).decode() + ":"
        match value:
            case dict():
                yield text + "{"
                yield from _traces(value)
            case None | bool() | str():
                yield text + msgspec.json.encode(value).decode()
            case _:
                yield text
