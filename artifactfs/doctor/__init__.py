"""A look at a store before it is relied upon: can it be reached, may we, is it safe, and will something hurt later?

>>> from artifactfs.doctor import diagnose
>>> diagnose("memory://examined").verdict
'ok'
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from artifactfs.backends.base import Backend
from artifactfs.backends.read_through import ReadThrough
from artifactfs.doctor import access
from artifactfs.doctor.buckets import settings
from artifactfs.doctor.report import Check, Diagnosis, State, concluded
from artifactfs.doctor.sealing import keys
from artifactfs.errors import ArtifactError, InvalidConfig
from artifactfs.store import ArtifactStore

__all__ = ["Check", "Diagnosis", "State", "diagnose", "misconfigured"]

TRIES, DEADLINE = 2, 15.0
"""Of each request: a person is waiting."""


def diagnose(url: str | os.PathLike[str] | None = None, **options: Any) -> Diagnosis:
    """Find out whether a store can be used as it is configured, and what would hurt, and never raise for what it finds.

    Looked at are the configuration, whether the store answers, each permission that the library needs by its name, what
    creates, completions and rewrites guarantee (a probe), this clock beside the store's, the time of a small read, keys,
    and settings of the bucket or disk: versioning, object lock, lifecycle rules, free space.

    Small objects are written below ``@store/probe/`` and removed again; with ``read_only=True`` nothing is written, and
    only what reading needs is looked at. No artifact is read or changed but for the records of a few.

    Args:
        url, options: as `ArtifactStore` takes them; without *url* the configuration tells (`ArtifactStore.from_config`).
    """
    at = datetime.now(UTC)
    try:
        store = _opened(url, options)
    except ArtifactError as error:
        return misconfigured(error)
    with store:
        checks = [_configured(store), *_examined(store)]
        purpose = "for reading" if store._core.read_only else "for reading and saving"
        return concluded(store.url, at, checks, purpose)


def _configured(store: ArtifactStore) -> Check:
    folder = store.url.removeprefix("file://")
    if folder != store.url and not os.path.isdir(folder):
        says = f"the store is {store.url}, where no folder is yet: this check, or the first save, makes it"
        return Check("configuration", "note", says, "look whether the path is the one that you mean")
    return Check("configuration", "ok", f"the store is {store.url}")


def misconfigured(error: ArtifactError) -> Diagnosis:
    """The diagnosis where no store could be opened."""
    do = "correct the setting" if isinstance(error, InvalidConfig) else ""
    return concluded("", datetime.now(UTC), [Check("configuration", "failed", str(error), do)], "")


def _opened(url: str | os.PathLike[str] | None, options: dict[str, Any]) -> ArtifactStore:
    if url is None:
        from artifactfs.config import load

        config = load()
        url, options = config.url, {**config.options, **options}
    return ArtifactStore(url, **{"tries": TRIES, "deadline": DEADLINE, **options})


def _examined(store: ArtifactStore) -> list[Check]:
    core = store._core
    first = _first(store.backend)
    kind = _kind(first)
    tried = access.Access(first, {"s3": access.S3, "gcs": access.GCS}.get(kind, access.OTHER))
    access.clock(tried)
    access.reach(tried)
    if not tried.reached:
        return tried.checks
    access.permissions(tried, writes=not core.read_only)
    access.credentials(tried)
    if tried.allowed == 0:
        return tried.checks
    if not core.read_only and not tried.refusals:
        access.guarantees(tried, store, single_writer=core.single_writer)
    if not tried.refusals:
        access.latency(tried)
        tried.checks.append(keys(store))
    return [*tried.checks, *settings(first, kind)]


def _first(backend: Backend) -> Backend:
    """The store that is written to."""
    return backend.first if isinstance(backend, ReadThrough) else backend


def _kind(backend: Backend) -> str:
    name = type(backend).__name__
    kinds = {"S3Backend": "s3", "ObstoreS3Backend": "s3", "GCSBackend": "gcs", "ObstoreGCSBackend": "gcs"}
    return kinds.get(name, "")
