"""What lies where below ``artifact://``: folders of a store, artifacts by reference, and what is told of them.

All of it is steps of the store's operations, so that the blocking and the awaited filesystem share every line.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import repeat
from typing import Any, Literal, NamedTuple, TypeVar

from artifactfs.backends.base import Backend
from artifactfs.content import Content
from artifactfs.errors import ArtifactNotFound, InvalidRef, VersionNotFound
from artifactfs.filesystem.recent import Recent
from artifactfs.layout import ScopeId
from artifactfs.operations.core import Core
from artifactfs.operations.reading import blob
from artifactfs.operations.scope import ScopeOperations
from artifactfs.operations.store import StoreOperations
from artifactfs.protocol.names import sort_key
from artifactfs.protocol.ops import Emit, Lazy, Op, Steps, together
from artifactfs.protocol.tags import UNREADABLE, tags_in
from artifactfs.records import Blob, Pointer, Record
from artifactfs.refs import Ref, Tag, components, spell

AT_ONCE = 16
"""Folders that are listed at the same time."""

KEPT_SCOPES = 100
"""Scopes that are kept, as most calls are about one that the call before was about."""

ZARR = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}
"""Files of which a folder holds one if it is a Zarr store, of format 3 or 2."""

_NEARLY_A_TIME = re.compile(
    r"@[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]*)?$|^/@[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]*)?/"
)

T = TypeVar("T")


class Node(NamedTuple):
    """A folder or an artifact at *path*; *record* where it was read."""

    path: str
    is_file: bool = False
    record: Record | None = None


def scope_of(core: Core, ref: Ref) -> ScopeOperations:
    assert ref.app is not None and ref.user is not None
    key = ref.app, ref.user, ref.session
    scope = core.scopes.get(key)
    if scope is None:
        if len(core.scopes) >= KEPT_SCOPES:
            core.scopes.clear()
        scope = core.scopes[key] = ScopeOperations(core, ScopeId(*key, core.custody))
    return scope


# what is there


def stat(core: Core, ref: Ref) -> Steps[Blob | Pointer]:
    assert ref.name is not None
    refuse_part(ref)
    return (yield from scope_of(core, ref).stat(ref.name, ref.version))


def look(core: Core, ref: Ref) -> Steps[dict[str, Any]]:
    """What `file_info` or `folder_info` says of what lies at *ref*."""
    if ref.name is not None:
        try:
            return file_info(ref.path, (yield from stat(core, ref)))
        except FileNotFoundError as error:
            if not (yield from folder_instead(core, ref)):
                raise _advised(error, ref) from None
    elif not (yield from has(core, ref)):
        raise nothing(ref)
    return folder_info(ref.path)


def has(core: Core, folder: Ref) -> Steps[bool]:
    """Whether anything lies in a folder. The root is always there."""
    if folder.app is None:
        return True
    if folder.user is None:
        return (yield from StoreOperations(core).holds(folder.app))
    if folder.session is None and not folder.user_scope:
        return bool((yield from _folders(core, folder, most=1)))
    return bool((yield from _names(core, folder, most=1)))


def folder_instead(core: Core, ref: Ref) -> Steps[bool]:
    """Whether a folder is where no artifact, or not that version of it, was found."""
    plain = replace(ref, selector=None, view=False)
    if may_be_folder(ref):
        return (yield from has(core, ref))
    if not (yield from has(core, plain)):
        return False
    try:
        yield from stat(core, plain)
    except FileNotFoundError:
        raise not_for_a_folder(ref) from None
    return False


def may_be_folder(ref: Ref) -> bool:
    """Whether the selector, if any, means something for all that lies in a folder."""
    return ref.selector is None or (ref.view and not isinstance(ref.selector, int))


def refuse_part(ref: Ref) -> None:
    """Raise InvalidRef where a number is selected over a Zarr store, which is only ever read file by file.

    To the filesystem each of its files is an artifact with numbers of its own; one of them can be read as ``zarr.json@3``.
    """
    if ref.view and isinstance(ref.selector, int) and ref.name is not None and "/" in ref.name:
        folder, _, last = ref.name.rpartition("/")
        if last in ZARR:
            raise not_for_a_folder(replace(ref, name=folder))


# what lies below


def below(
    core: Core, ref: Ref, depth: int | None, *, records: bool = False, wanted: Collection[str] | None = None
) -> Steps[list[Node]]:
    """All that lies in a folder, to that many levels: each folder once, and each artifact.

    With *records* the record of each artifact is read, or of those paths that are *wanted*.
    """
    if ref.session is None and not ref.user_scope:
        folders = yield from _folders(core, ref)
        nodes = [Node(folder.path) for folder in folders]
        if depth != 1:
            deeper = depth and depth - 1
            for start in range(0, len(folders), AT_ONCE):
                some = folders[start : start + AT_ONCE]
                found = yield from together(*(below(core, one, deeper, records=records, wanted=wanted) for one in some))
                nodes += [node for inner in found for node in inner]
        return nodes
    base = ref.path
    nodes = []
    seen = set()

    def place(rest: str) -> tuple[list[str], str]:
        pieces = [spell(piece) for piece in components(rest)]
        return pieces, "/".join([base, *pieces])

    def shown(rest: str) -> bool:
        pieces, path = place(rest)
        return (depth is None or len(pieces) <= depth) and (wanted is None or path in wanted)

    rests = yield from (_records(core, ref, shown) if records else _names(core, ref))
    for rest, record in rests:
        pieces, path = place(rest)
        folder = base
        for piece in pieces[:-1][:depth]:
            folder = f"{folder}/{piece}"
            if folder not in seen:
                seen.add(folder)
                nodes.append(Node(folder))
        if depth is None or len(pieces) <= depth:
            nodes.append(Node(path, True, record))
    return nodes


def _folders(core: Core, ref: Ref, most: int | None = None) -> Steps[list[Ref]]:
    """What lies in the root, in an app, or in a user: sessions, and ``user`` where the user scope holds anything."""
    store = StoreOperations(core)
    if ref.app is None:
        return [Ref(app) for app in (yield from taken(store.apps(), most))]
    if ref.user is None:
        return list(map(Ref, repeat(ref.app), (yield from taken(store.users(ref.app), most))))
    shared = replace(ref, user_scope=True)
    sessions, is_shared = yield from together(taken(store.sessions(ref.app, ref.user), most), has(core, shared))
    found = list(map(Ref, repeat(ref.app), repeat(ref.user), sessions))
    return [*found, shared] if is_shared else found


def _names(core: Core, ref: Ref, most: int | None = None) -> Steps[list[tuple[str, None]]]:
    """The names in a folder, below it. Those of the user scope lie in their own folder."""
    prefix, at = _listed(ref)
    if prefix.endswith("//"):
        return []  # the name ends in a slash of its own, so it is no folder's
    if isinstance(ref.selector, Tag):
        return [(rest, None) for rest, _ in (yield from _tagged(core, ref, ref.selector.name))]
    names = scope_of(core, ref).names(prefix, at=at, shared=False)
    found = yield from taken(names, most, lambda name: _is_below(name, prefix))
    return [(name[len(prefix) :], None) for name in found]


def _records(core: Core, ref: Ref, shown: Callable[[str], bool]) -> Steps[list[tuple[str, Record | None]]]:
    """As `_names`, with the records of what is *shown*."""
    prefix, at = _listed(ref)
    if prefix.endswith("//"):
        return []
    if isinstance(ref.selector, Tag):
        return (yield from _tagged(core, ref, ref.selector.name))
    scope = scope_of(core, ref)
    pairs = yield from taken(
        scope.overview(prefix, at, lambda name: _is_below(name, prefix) and shown(name[len(prefix) :]))
    )
    return [(name[len(prefix) :], record) for name, record in pairs if _is_below(name, prefix)]


def _tagged(core: Core, ref: Ref, tag: str) -> Steps[list[tuple[str, Record | None]]]:
    """What lies in a folder and has that tag, with the record of the version that it names; not what was deleted since.

    The record is None where what the tag names cannot be told.
    """
    prefix, scope = _prefix(ref), scope_of(core, ref)
    found = yield from tags_in(scope.scope, lambda name, one: one == tag and name.startswith(prefix))
    names = sorted((name for name in found if _is_below(name, prefix)), key=sort_key)
    pairs: list[tuple[str, Record | None]] = []
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        records = yield from together(*(_stat_if_there(scope, name, found[name][tag]) for name in some))
        pairs += [(name[len(prefix) :], record) for name, record in zip(some, records, strict=True) if record != "gone"]
    return pairs


def _stat_if_there(scope: ScopeOperations, name: str, number: int | None) -> Steps[Record | Literal["gone"] | None]:
    try:
        return None if number is None else (yield from scope.stat(name, number))
    except FileNotFoundError:
        return "gone"
    except UNREADABLE:
        return None


def _listed(ref: Ref) -> tuple[str, datetime | None]:
    """What the names in a folder start with, and as of when they are told."""
    if not may_be_folder(ref):
        raise not_for_a_folder(ref)
    return _prefix(ref), ref.version if isinstance(ref.version, datetime) else None


def _prefix(ref: Ref) -> str:
    return "" if ref.name is None else f"{ref.name}/"


def _is_below(name: str, prefix: str) -> bool:
    return not prefix or bool(name[len(prefix) :].strip("/"))


def taken(items: Lazy[T], most: int | None = None, wanted: Callable[[T], bool] = lambda _: True) -> Steps[list[T]]:
    """The first items of a lazy result that are *wanted*; all where *most* is None."""
    found: list[T] = []
    answers: tuple[Any, ...] | None = None
    error: BaseException | None = None
    try:
        while most is None or len(found) < most:
            try:
                batch = items.send(answers) if error is None else items.throw(error)
            except StopIteration:
                break
            answers, error = (None,), None
            if isinstance(batch[0], Emit):
                if wanted(batch[0].item):
                    found.append(batch[0].item)
                continue
            try:
                answers = yield batch
            except BaseException as raised:  # noqa: BLE001  (theirs to handle)
                error = raised
    finally:
        items.close()
    return found


# reading


def of_a_file(core: Core, ref: Ref, steps: Steps[T]) -> Steps[T]:
    """The result of *steps*, which look for an artifact.

    Raises:
        IsADirectoryError: a folder is there instead.
    """
    try:
        return (yield from steps)
    except FileNotFoundError as error:
        if (yield from folder_instead(core, ref)):
            raise is_a_folder(ref) from None
        raise _advised(error, ref) from None


def resolve(core: Core, recent: Recent, ref: Ref) -> Steps[Content]:
    """The version that *ref* means, found now, or a short while ago where it is pinned by its number.

    Raises:
        IsADirectoryError: a folder is there.
    """
    if ref.name is None:
        yield from look(core, ref)
        raise is_a_folder(ref)
    refuse_part(ref)
    scope = scope_of(core, ref)
    artifact = scope.artifact(ref.name)
    known = scope.stat_known(ref.name, ref.version, lambda number: recent.find(artifact, number))
    record = yield from of_a_file(core, ref, known)
    recent.note(artifact, record)
    return (yield from scope.content_of(artifact, blob(record, artifact)))


@dataclass(frozen=True, slots=True)
class Piece(Op):
    """Bytes of a version that was found before."""

    content: Content
    start: int
    end: int

    async def perform(self, backend: Backend) -> bytes:
        return b"" if self.start >= self.end else await self.content.read(self.start, self.end)


def piece(content: Content, start: int | None, end: int | None) -> Piece:
    """``data[start:end]`` of a version."""
    part = range(content.size)[start:end]
    return Piece(content, part.start, part.stop)


# what is said of it


def not_for_a_folder(ref: Ref) -> InvalidRef:
    return InvalidRef(
        f"{ref} selects a version, and a folder is there: the artifacts in it have numbers of their own, which do not "
        "belong together; select a version of one artifact, or write /@latest/, a tag or a time (/@2026-11-20T19:03:17Z/) "
        "after the session"
    )


def is_a_folder(ref: Ref) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, f"a folder of artifacts, and no artifact{_shape(ref)}", str(ref))


def nothing(ref: Ref) -> ArtifactNotFound:
    return ArtifactNotFound(f"nothing lies at {ref}{_shape(ref)}")


def _advised(error: FileNotFoundError, ref: Ref) -> FileNotFoundError:
    """*error*, with a word on the commonest slips in selecting: a date, or a time without its zone, is part of a name; a
    word after ``@`` is a tag."""
    if ref.selector is None and _NEARLY_A_TIME.search(f"/{ref.name}"):
        return ArtifactNotFound(f"{error}; to select by time write it whole, with its zone: @2026-11-20T19:03:17Z")
    if ref.meant:
        return VersionNotFound(f"{error}; {ref.meant}", version=ref.version)
    return error


def _shape(ref: Ref) -> str:
    return "" if ref.name is not None else " (an artifact's path is app/user/session/name)"


def folder_info(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def file_info(path: str, record: Record) -> dict[str, Any]:
    return {
        "name": path,
        "size": record.size_bytes,
        "type": "file",
        "version": record.version,
        "created": record.timestamp,
        "mtime": record.timestamp,
        "mime_type": record.mime_type,
        "sha256": record.sha256 if isinstance(record, Blob) and not record.encryption else None,
        "record": record,
    }
