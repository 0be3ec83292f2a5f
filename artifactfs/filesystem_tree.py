"""What lies where below ``artifact://``: folders of a store, artifacts by reference, and what is told of them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from typing import Any, TypeVar

from artifactfs.errors import ArtifactNotFound, InvalidRef
from artifactfs.records import Blob, Record
from artifactfs.refs import Ref, components, spell
from artifactfs.store import ArtifactStore, Scope

AT_ONCE = 16
"""Records that a detailed listing reads at the same time, and artifacts that a recursive `rm` removes so."""

_S = TypeVar("_S")
_T = TypeVar("_T")


def scope_of(store: ArtifactStore, ref: Ref) -> Scope:
    assert ref.app is not None and ref.user is not None
    return store.scope(ref.app, ref.user, ref.session)


def stat(store: ArtifactStore, ref: Ref) -> Record:
    assert ref.name is not None
    return scope_of(store, ref).stat(ref.name, ref.version)


def describe(store: ArtifactStore, files: list[tuple[str, Ref]], *, sizes: bool) -> list[dict[str, Any]]:
    """What `file_info` says of each, from one record each; one that was taken away meanwhile is left out.

    Without *sizes* no record is read, and there is little to say.
    """
    if not sizes:
        return [{"name": name, "size": None, "type": "file"} for name, _ in files]

    def look(file: tuple[str, Ref]) -> dict[str, Any] | None:
        try:
            return file_info(file[0], stat(store, file[1]))
        except FileNotFoundError:
            return None

    return [info for info in at_once(look, files) if info is not None]


def tree(store: ArtifactStore, ref: Ref, depth: int | None) -> Iterator[tuple[str, Ref | None]]:
    """Paths below a folder: each folder once, with None, and each artifact with its reference."""
    if ref.session is None and not ref.user_scope:
        for folder in folders(store, ref):
            yield folder.path, None
            if depth != 1:
                yield from tree(store, folder, depth and depth - 1)
        return
    base, prefix = ref.path, "" if ref.name is None else f"{ref.name}/"
    seen = set()
    for rest in names(store, ref, prefix):
        pieces = [spell(piece) for piece in components(rest)]
        path = base
        for piece in pieces[:-1][:depth]:
            path = f"{path}/{piece}"
            if path not in seen:
                seen.add(path)
                yield path, None
        if depth is None or len(pieces) <= depth:
            yield "/".join([base, *pieces]), replace(ref, name=prefix + rest)


def folders(store: ArtifactStore, ref: Ref) -> Iterator[Ref]:
    """What lies in the root, in an app, or in a user: sessions, and ``user`` where the user scope holds anything."""
    if ref.app is None:
        yield from map(Ref, store.apps())
    elif ref.user is None:
        yield from map(Ref, repeat(ref.app), store.users(ref.app))
    else:
        yield from map(Ref, repeat(ref.app), repeat(ref.user), store.sessions(ref.app, ref.user))
        shared = replace(ref, user_scope=True)
        if has(store, shared):
            yield shared


def names(store: ArtifactStore, ref: Ref, prefix: str) -> Iterator[str]:
    """The names in a folder, without *prefix*. Those of the user scope lie in their own folder."""
    if not may_be_folder(ref):
        raise not_for_a_folder(ref)
    if prefix.endswith("//"):
        return  # the name ends in a slash of its own, so it is no folder's
    for name in scope_of(store, ref).names(prefix=prefix):
        rest = name[len(prefix) :]
        if (not prefix or rest.strip("/")) and (ref.user_scope or not name.startswith("user:")):
            yield rest


def has(store: ArtifactStore, folder: Ref) -> bool:
    """Whether anything lies in a folder. The root is always there."""
    return folder.app is None or any(True for _ in tree(store, folder, 1))


def folder_instead(store: ArtifactStore, ref: Ref) -> bool:
    """Whether a folder is where no artifact, or not that version of it, was found."""
    plain = replace(ref, selector=None, view=False)
    if not has(store, plain):
        return False
    if not may_be_folder(ref):
        try:
            stat(store, plain)
        except FileNotFoundError:
            raise not_for_a_folder(ref) from None
        return False
    return True


def may_be_folder(ref: Ref) -> bool:
    """Whether the selector, if any, means something for all that lies in a folder."""
    return ref.selector is None or (ref.view and ref.version == "latest")


def not_for_a_folder(ref: Ref) -> InvalidRef:
    return InvalidRef(
        f"{ref} selects a version, and a folder is there: the artifacts in it have numbers of their own, which do not "
        "belong together; select a version of one artifact, or write /@latest/ after the session"
    )


def is_a_folder(ref: Ref) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, "a folder of artifacts, and no artifact", str(ref))


def nothing(ref: Ref) -> ArtifactNotFound:
    return ArtifactNotFound(f"nothing lies at {ref}")


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
        "sha256": record.sha256 if isinstance(record, Blob) else None,
    }


def at_once(work: Callable[[_S], _T], items: Sequence[_S]) -> list[_T]:
    """*work* done to each item, `AT_ONCE` at the same time; results in their order."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(AT_ONCE, len(items))) as pool:
        return list(pool.map(work, items))
