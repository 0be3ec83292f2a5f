"""Bringing in what other systems have stored, with its numbers, times, types and metadata (docs/import.md)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from artifactfs.bulk import Executor, Shared, each
from artifactfs.drivers import run
from artifactfs.errors import InvalidConfig
from artifactfs.importing.adk import AdkBucket, AdkCommunityBucket, AdkFiles
from artifactfs.importing.amfs import AmfsEntries
from artifactfs.importing.base import Layout
from artifactfs.importing.folder import Folder
from artifactfs.importing.loop import Brought, Job, bring, shards
from artifactfs.importing.report import Imported, ImportNote
from artifactfs.importing.solace import SolaceBucket, SolaceFiles
from artifactfs.importing.source import shown
from artifactfs.names import check
from artifactfs.store import ArtifactStore

Kind: TypeAlias = Literal["solace", "solace-s3", "adk-file", "adk-gcs", "adk-go", "adk-s3", "amfs", "folder"]
"""What can be imported; docs/import.md says what each is."""

__all__ = ["ImportNote", "Imported", "Kind", "import_artifacts"]


def import_artifacts(
    kind: Kind,
    location: str,
    destination: ArtifactStore,
    *,
    app: str | None = None,
    user: str | None = None,
    session: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    executor: Executor | None = None,
) -> Imported:
    """Bring what another system has stored at *location* into *destination*, and tell what could not be kept.

    The source is only read. Versions keep their numbers, times, MIME types and metadata; what the destination holds under
    such a number already is never overwritten. A second run brings in only what is new, and one that was interrupted is
    gone on with by running it again.

    >>> import fsspec
    >>> fsspec.filesystem("memory").pipe_file("/reports/q1.csv", b"day,sold")
    >>> import_artifacts("folder", "memory://reports", store, app="shop", user="alice").versions
    1
    >>> store.scope("shop", "alice").load("q1.csv").data
    b'day,sold'

    Args:
        kind: which system has written it.
        location: any URL or path of fsspec, of the folder or bucket that the system was given, with its prefix.
        destination: the store to bring it into; with keys what comes in is sealed.
        app: for ``folder``, the app that the files are for. For ``solace`` and ``adk-file``, that of trees which do not
            tell theirs; without it they are left out.
        user: for ``folder``, whose the files are.
        session: for ``folder``, the session; else the files come into the user's scope.
        storage_options: what fsspec needs to open *location*.
        dry_run: write nothing, and read nothing but what tells where things belong.
        executor: as of `concurrent.futures`; else some threads of its own.

    Raises:
        InvalidConfig: the kind is unknown, an argument is not for it, or nothing of fsspec opens the location.
        ArtifactNotFound: there is nothing at the location.
        AccessDenied, BackendUnavailable: the source cannot be listed, or the destination cannot be written to.
    """
    layout = _layout(kind, app, user, session)
    if destination._core.mode == "pointer_only":
        raise InvalidConfig(
            f"{destination.url} holds pointers only, and what is imported are bytes: give another store"
        )
    if not dry_run:  # before many threads ask for it at once
        run(destination._core.writing(), destination.backend)
    job = Job(layout, location, dict(storage_options or {}), destination, dry_run)
    total = Brought()
    for brought in each(partial(bring, Shared(job)), shards(job, total.notes), executor):
        total.add(brought)
    return Imported(
        kind=kind,
        location=shown(location),
        dry_run=dry_run,
        artifacts=total.artifacts,
        versions=total.versions,
        size_bytes=total.size_bytes,
        already=total.already,
        notes=tuple(sorted(total.notes, key=lambda note: (note.source, note.what, note.artifact))),
    )


def _layout(kind: str, app: str | None, user: str | None, session: str | None) -> Layout:
    if kind not in get_args(Kind):
        raise InvalidConfig(f"there is no import of {kind!r}: give one of {', '.join(get_args(Kind))}")
    given = {"app": app, "user": user, "session": session}
    for what, text in given.items():
        if text is not None:
            check(text, what)
    if kind == "folder":
        if app is None or user is None:
            raise InvalidConfig("a folder tells neither app nor user: give app= and user=")
        return Folder(app, user, session)
    takes = {"app"} if kind in ("solace", "adk-file") else set()
    if wrong := sorted(what for what, text in given.items() if text is not None and what not in takes):
        raise InvalidConfig(f"an import of {kind!r} finds {' and '.join(wrong)} in the source: leave out {wrong[0]}=")
    match kind:
        case "solace":
            return SolaceFiles(app)
        case "solace-s3":
            return SolaceBucket()
        case "adk-file":
            return AdkFiles(app)
        case "adk-s3":
            return AdkCommunityBucket()
        case "amfs":
            return AmfsEntries()
    return AdkBucket(removals=kind == "adk-gcs", first=int(kind == "adk-go"))
