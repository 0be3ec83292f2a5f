"""Versioned artifacts over any fsspec filesystem.

Public names are loaded when they are first used (PEP 562), so that ``import artifactfs`` costs next to nothing.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as type checkers know it; typing itself would double what the import costs
if TYPE_CHECKING:
    from artifactfs.async_store import AsyncArtifactStore as AsyncArtifactStore
    from artifactfs.async_store import AsyncScope as AsyncScope
    from artifactfs.backends.base import Abilities as Abilities
    from artifactfs.errors import AccessDenied as AccessDenied
    from artifactfs.errors import ArtifactError as ArtifactError
    from artifactfs.errors import ArtifactNotFound as ArtifactNotFound
    from artifactfs.errors import BackendError as BackendError
    from artifactfs.errors import BackendUnavailable as BackendUnavailable
    from artifactfs.errors import Conflict as Conflict
    from artifactfs.errors import ForeignPayload as ForeignPayload
    from artifactfs.errors import IntegrityError as IntegrityError
    from artifactfs.errors import InvalidConfig as InvalidConfig
    from artifactfs.errors import InvalidMetadata as InvalidMetadata
    from artifactfs.errors import InvalidName as InvalidName
    from artifactfs.errors import InvalidRef as InvalidRef
    from artifactfs.errors import PayloadTooLarge as PayloadTooLarge
    from artifactfs.errors import UnsafeBackend as UnsafeBackend
    from artifactfs.errors import UnsupportedFormat as UnsupportedFormat
    from artifactfs.errors import VersionNotFound as VersionNotFound
    from artifactfs.files import ArtifactReader as ArtifactReader
    from artifactfs.files import ArtifactWriter as ArtifactWriter
    from artifactfs.operations import Artifact as Artifact
    from artifactfs.records import Blob as Blob
    from artifactfs.records import Pointer as Pointer
    from artifactfs.records import Record as Record
    from artifactfs.records import Removed as Removed
    from artifactfs.refs import Ref as Ref
    from artifactfs.store import ArtifactStore as ArtifactStore
    from artifactfs.store import Scope as Scope

_HOME = {
    "Abilities": "backends.base",
    "AccessDenied": "errors",
    "Artifact": "operations",
    "ArtifactError": "errors",
    "ArtifactNotFound": "errors",
    "ArtifactReader": "files",
    "ArtifactStore": "store",
    "ArtifactWriter": "files",
    "AsyncArtifactStore": "async_store",
    "AsyncScope": "async_store",
    "BackendError": "errors",
    "BackendUnavailable": "errors",
    "Blob": "records",
    "Conflict": "errors",
    "ForeignPayload": "errors",
    "IntegrityError": "errors",
    "InvalidConfig": "errors",
    "InvalidMetadata": "errors",
    "InvalidName": "errors",
    "InvalidRef": "errors",
    "PayloadTooLarge": "errors",
    "Pointer": "records",
    "Record": "records",
    "Ref": "refs",
    "Removed": "records",
    "Scope": "store",
    "UnsafeBackend": "errors",
    "UnsupportedFormat": "errors",
    "VersionNotFound": "errors",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'artifactfs' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"artifactfs.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
