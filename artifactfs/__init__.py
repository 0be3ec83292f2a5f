"""Versioned artifacts over any fsspec filesystem.

Public names are loaded when they are first used (PEP 562), so that ``import artifactfs`` costs next to nothing. Type
checkers and editors read ``__init__.pyi`` beside this file.

PYTEST_DONT_REWRITE: this package has a pytest plugin, and is often imported before pytest, which would warn of that.
"""

from __future__ import annotations

import importlib

_HOME = {
    "Abilities": "backends.base",
    "AccessDenied": "errors",
    "Artifact": "operations.reading",
    "ArtifactError": "errors",
    "ArtifactNotFound": "errors",
    "ArtifactReader": "files",
    "ArtifactStore": "store",
    "ArtifactWriter": "files",
    "AsyncArtifactStore": "async_store",
    "AsyncHits": "search.query",
    "AsyncScope": "async_store",
    "AsyncWatch": "watch.watches",
    "BackendError": "errors",
    "BackendUnavailable": "errors",
    "Blob": "records",
    "Collected": "protocol.gc",
    "Conflict": "errors",
    "Damaged": "verifying",
    "Diff": "diff",
    "Event": "watch.events",
    "Follow": "following",
    "ForeignPayload": "errors",
    "Hit": "search.query",
    "Hits": "search.query",
    "Identity": "keys.base",
    "ImmutableVersion": "errors",
    "ImportNote": "importing",
    "Imported": "importing",
    "IntegrityError": "errors",
    "InvalidConfig": "errors",
    "InvalidMetadata": "errors",
    "InvalidName": "errors",
    "InvalidRef": "errors",
    "Inventory": "inventory.refresh",
    "KeyProvider": "keys.base",
    "KeyUnavailable": "errors",
    "Leftover": "protocol.gc",
    "PayloadTooLarge": "errors",
    "Pointer": "records",
    "PointerNotManaged": "errors",
    "Pruned": "protocol.prune",
    "PrunedVersion": "protocol.prune",
    "Record": "records",
    "Ref": "refs",
    "Removed": "records",
    "RetentionPolicy": "retention",
    "RetentionRule": "retention",
    "Rotated": "protocol.rotate",
    "Scope": "store",
    "Undo": "operations.undo",
    "UndoStep": "operations.undo",
    "UnsafeBackend": "errors",
    "UnsupportedFormat": "errors",
    "Verified": "protocol.verify",
    "VerifyReport": "verifying",
    "VersionNotFound": "errors",
    "Watch": "watch.watches",
    "import_artifacts": "importing",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("artifactfs")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'artifactfs' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"artifactfs.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *_HOME, *(name for name in globals() if name.startswith("__"))})
