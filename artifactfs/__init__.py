"""Versioned artifacts over any fsspec filesystem.

Public names are loaded when they are first used (PEP 562), so that ``import artifactfs`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifactfs.records import Blob as Blob
    from artifactfs.records import Record as Record

_HOME = {
    "Blob": "records",
    "Record": "records",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'artifactfs' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"artifactfs.{home}"), name)
    globals()[name] = value
    return value
