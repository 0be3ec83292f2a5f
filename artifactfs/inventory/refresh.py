"""Bringing an inventory up to date: a listing of the store, then a read of each record that is new; nothing else.

A row is known again by the sizes and times that the listing gives of payload and record. What changed goes into a small
file, the *delta*, whose rows count before those of the *base*; once it has grown to an eighth of that, both are merged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from artifactfs.custody import Custody
from artifactfs.errors import BackendError, VersionNotFound
from artifactfs.inventory.manifest import KEEP, Manifest, Part, clear, discard, get, new_name, put, read, write
from artifactfs.inventory.table import COLUMNS, LISTED, PART_WEIGHT, ROW_WEIGHT, Row, Table, Work
from artifactfs.inventory.walk import Places, Seen, Walk
from artifactfs.layout import ArtifactId
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Now, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, confirm
from artifactfs.protocol.tags import UNREADABLE, resolve
from artifactfs.records import Blob, Record

LEAST_DELTA = 4 * 1024 * 1024
"""Bytes of rows that a delta may have before it is merged, however small the base."""

TICK = 2.0
"""Seconds: the coarsest clock that dates objects. A tag that was set so shortly before it was read may be another by now."""

ROUNDS = 5
"""How often a store is listed at most for one refresh: others would have to publish or erase as often meanwhile."""

_WEIGHT = f"sum({ROW_WEIGHT} + coalesce(strlen(metadata), 0))"
_LARGEST = 2**63 - 1


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What an inventory holds, and what it took to bring it up to date.

    Attributes:
        as_of: when the listing began, by the store's clock: what was saved before, and not deleted since, is in it.
        rows: how many rows it has: versions, tags, and what is there but is neither.
        read: how many records and tags were read for that; those that were known already were not.
        files: how many Parquet files there are.
        size_bytes: how much these take in the store.
    """

    as_of: datetime
    rows: int
    read: int
    files: int
    size_bytes: int


def refresh(env: Env, custody: Custody) -> Steps[Inventory]:
    """Bring the inventory up to date, or make it.

    Raises:
        InvalidConfig: DuckDB is not installed.
        UnsupportedFormat: a later release made the one that is there.
        BackendError: others published or erased again and again meanwhile.
    """
    began = float("inf")
    for _ in range(ROUNDS):
        now: float
        (now,) = yield (Now(),)
        state = yield from read(custody)
        if state.tag is None:  # so that whoever erases meanwhile has something to change
            yield from write(env, custody, Manifest(write_id=env.write_id()), None)
            state = yield from read(custody)
        there = state.manifest
        if there is not None and there.as_of is not None and there.as_of.timestamp() > began:
            return _told(there, 0)  # somebody else's, who began later
        if state.tag is None:
            continue
        began = min(began, now)
        table: Table
        (table,) = yield (Work(Table),)
        try:
            old = there or Manifest(write_id="")
            yield from clear([part.name for part in old.parts], now - KEEP)
            if not (yield from load(table, old.base, old.delta)):
                old = Manifest(write_id="")
                yield from load(table, (), None)
            yield from _list(table)
            count = yield from _read_new(table, custody, old.as_of)
            manifest, made = yield from _written(env, table, old, now)
        finally:
            table.close()
        if (yield from write(env, custody, manifest, state.tag)):
            return _told(manifest, count)
        yield from discard(made)
    raise BackendError(
        f"the inventory was published or erased by others {ROUNDS} times while this one was made; try again"
    )


def _told(manifest: Manifest, count: int) -> Inventory:
    assert manifest.as_of is not None
    return Inventory(
        as_of=manifest.as_of,
        rows=sum(part.rows for part in manifest.parts),
        read=count,
        files=len(manifest.parts),
        size_bytes=sum(part.size_bytes for part in manifest.parts),
    )


def load(table: Table, base: Sequence[Part], delta: Part | None) -> Steps[bool]:
    """Let the table's ``known`` stand for these files; False where one of them is gone or damaged."""
    parts = [*base] if delta is None else [*base, delta]
    paths: list[str] = []
    for start in range(0, len(parts), 4):
        some = yield from together(*(get(part) for part in parts[start : start + 4]))
        for part, data in zip(parts[start : start + 4], some, strict=True):
            path: str | None
            (path,) = yield (Work(partial(hold, table, part, data)),)
            if path is None:
                return False
            paths.append(path)
    try:
        yield (Work(partial(table.know, paths[: len(base)], paths[len(base) :])),)
    except BackendError:  # DuckDB's: not such files
        return False
    return True


def hold(table: Table, part: Part, data: bytes | None) -> str | None:
    """Keep what was read of a file; its path, or None where that is not what the manifest says."""
    if data is None or hashlib.sha256(data).hexdigest() != part.sha256:
        return None
    return table.hold(part.name, data)


def _list(table: Table) -> Steps[None]:
    table.run(f"CREATE TABLE listed ({LISTED})")
    walk = Walk()
    while not walk.ended:
        found = [(one.folder + one.entry, *one) for one in (yield from walk.page())]
        yield (Work(partial(table.insert, "listed", found)),)


def _read_new(table: Table, custody: Custody, since: datetime | None) -> Steps[int]:
    """Read what is listed and not known as it is; the rows of that, and of what is gone, are in ``changes`` then."""
    unsure = float("inf") if since is None else since.timestamp() - TICK

    def compare() -> int:
        table.run(f"CREATE TABLE changes ({COLUMNS})")
        table.run(
            "CREATE TABLE new AS SELECT folder, entry, size, modified, rsize, rmodified FROM listed l "
            "WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.key = l.key AND k.payload_size = l.size "
            "AND k.payload_time = l.modified AND k.record_size = l.rsize AND k.record_time = l.rmodified "
            "AND (k.tag IS NULL OR k.payload_time < ?)) ORDER BY l.key",
            [unsure],
        )
        gone = [f"'gone' AS {name}" if name == "kind" else f"NULL AS {name}" for name in Row._fields[1:]]
        table.run(
            f"INSERT INTO changes SELECT key, {', '.join(gone)} FROM known k "
            "WHERE NOT EXISTS (SELECT 1 FROM listed l WHERE l.key = k.key)"
        )
        return int(table.rows("SELECT count(*) FROM new")[0][0])

    count: int
    (count,) = yield (Work(compare),)
    places = Places(custody)
    for start in range(0, count, _BATCH):
        some: list[Any]
        page = "SELECT * FROM new WHERE rowid >= ? AND rowid < ?"
        (some,) = yield (Work(partial(table.rows, page, [start, start + _BATCH])),)
        rows: list[Row] = []
        for first in range(0, len(some), AT_ONCE):
            seen = [Seen(*one) for one in some[first : first + AT_ONCE]]
            rows += yield from together(*(_row(places.artifact(one.folder), one) for one in seen))
        yield (Work(partial(table.insert, "changes", rows)),)
    return count


_BATCH = 64 * AT_ONCE


def _row(artifact: ArtifactId, seen: Seen) -> Steps[Row]:
    return (yield from (_tag_row(artifact, seen) if seen.is_tag else _version_row(artifact, seen)))


def _tag_row(artifact: ArtifactId, seen: Seen) -> Steps[Row]:
    number: int | None
    try:
        number = yield from resolve(artifact, seen.entry)
    except (VersionNotFound, *UNREADABLE):
        number = None
    row = _blank(artifact, seen, None if number is None or number > _LARGEST else number)
    return row._replace(kind="none" if row.version is None else "tag", tag=seen.entry)


def _version_row(artifact: ArtifactId, seen: Seen) -> Steps[Row]:
    number = int(seen.entry)
    found = yield from confirm(artifact, number, seen.size)
    row = _blank(artifact, seen, number)
    if not isinstance(found, Found):
        return row
    if not found.record.write_id and seen.record_size >= 0:
        row = row._replace(record_size=-2)  # could not be read, and so is to be tried again
    return row._replace(**told(found.record))


def told(record: Record) -> dict[str, Any]:
    """What a search is told of a version, column by column: the same whether it comes from an inventory or from a scan."""
    at = record.timestamp
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        pass
    size = record.size_bytes
    return {
        "kind": record.__struct_config__.tag,
        "mime_type": record.mime_type,
        "size_bytes": None if size is None or abs(size) > _LARGEST else size,
        "timestamp": at.replace(tzinfo=None),
        "sha256": record.sha256 if isinstance(record, Blob) and not record.encryption else None,
        "metadata": msgspec.json.encode(record.metadata).decode(),
    }


def _blank(artifact: ArtifactId, seen: Seen, version: int | None) -> Row:
    scope = artifact.scope
    return Row(
        key=seen.folder + seen.entry,
        artifact=artifact.folder,
        app=scope.app,
        user=scope.stored_user,
        session=scope.session,
        name=artifact.name,
        version=version,
        kind="none",
        tag=None,
        mime_type=None,
        size_bytes=None,
        timestamp=None,
        sha256=None,
        metadata=None,
        payload_size=seen.size,
        payload_time=seen.modified,
        record_size=seen.record_size,
        record_time=seen.record_modified,
    )


def _written(env: Env, table: Table, old: Manifest, now: float) -> Steps[tuple[Manifest, list[str]]]:
    """Store the files that a new manifest needs; it, and their names."""

    def shape() -> bool:
        """Put the rows of the new delta into ``latest``; whether they are to be merged with the ``rest`` of the base."""
        table.run(
            "CREATE TABLE latest AS SELECT * FROM changes UNION ALL "
            "SELECT * FROM delta d WHERE NOT EXISTS (SELECT 1 FROM changes c WHERE c.key = d.key)"
        )
        table.run(
            "CREATE VIEW rest AS SELECT * FROM base WHERE NOT EXISTS (SELECT 1 FROM latest l WHERE l.key = base.key)"
        )
        weight = table.rows(f"SELECT coalesce({_WEIGHT}, 0) FROM latest")[0][0]
        return not old.base or weight > max(LEAST_DELTA, old.weight // 8)

    def whole() -> int:
        """Put all rows into ``whole``, each with the number of the file that it is to be in; how many files there are."""
        table.run(
            f"CREATE TABLE whole AS SELECT *, ({_WEIGHT} OVER (ORDER BY key)) // {PART_WEIGHT} AS part FROM "
            "(SELECT * FROM latest WHERE kind <> 'gone' UNION ALL SELECT * FROM rest) ORDER BY key"
        )
        return int(table.rows("SELECT coalesce(max(part) + 1, 0) FROM whole")[0][0])

    as_of = datetime.fromtimestamp(now, UTC)
    (count,) = yield (Work(lambda: table.rows("SELECT count(*) FROM changes")[0][0]),)
    if not count and old.as_of is not None:
        return msgspec.structs.replace(old, as_of=as_of, write_id=env.write_id()), []
    merge: bool
    (merge,) = yield (Work(shape),)
    base, delta = old.base, None
    made: list[str] = []
    if merge:
        files: int
        (files,) = yield (Work(whole),)
        base = ()
        for place in range(files):
            base += yield from store_part(
                table, f"SELECT * EXCLUDE (part) FROM whole WHERE part = {place} ORDER BY key"
            )
        made = [part.name for part in base]
    else:
        useful = "kind <> 'gone' OR EXISTS (SELECT 1 FROM base WHERE base.key = latest.key)"
        for part in (yield from store_part(table, f"SELECT * FROM latest WHERE {useful} ORDER BY key")):
            delta = part
            made.append(part.name)
    return Manifest(as_of=as_of, write_id=env.write_id(), base=base, delta=delta), made


def store_part(table: Table, sql: str) -> Steps[tuple[Part, ...]]:
    """Store the rows of a query as one file; none where there are no rows."""
    name = new_name()
    (told_of,) = yield (Work(lambda: table.rows(f"SELECT count(*), {_WEIGHT}, min(key), max(key) FROM ({sql})")[0]),)
    rows, weight, first, last = told_of
    if not rows:
        return ()

    def make() -> tuple[bytes, str]:
        data = table.parquet(name, sql)
        return data, hashlib.sha256(data).hexdigest()

    data: bytes
    digest: str
    ((data, digest),) = yield (Work(make),)
    yield from put(name, data)
    part = Part(name=name, size_bytes=len(data), sha256=digest, rows=rows, weight=int(weight), first=first, last=last)
    return (part,)
