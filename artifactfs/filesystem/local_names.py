"""Names between a local disk and a store: a file keeps its name, also where paths of artifacts have to spell it.

fsspec makes the path of each file that it puts or gets from text of the other side. A local ``100%.csv`` would so be read
as a malformed reference, and a listed ``100%25.csv`` be the name of a local file.
"""

from __future__ import annotations

import os
from pathlib import Path

from artifactfs.refs import SCHEME, Ref, spell

_SCOPE = 3
"""Components of a path before the name: app, user, session."""


def spelled_as(local: str | os.PathLike[str], path: str) -> str:
    """*path* with those components of the name that it took over from the end of *local* spelled as references are.

    >>> spelled_as("in/100%.csv", "shop/alice/s1/100%.csv")
    'shop/alice/s1/100%25.csv'
    """
    pieces = path.split("/")
    own = Path(local).parts
    scope = _SCOPE + path.startswith(SCHEME) * 2
    for place in range(1, min(len(own), len(pieces) - scope) + 1):
        if own[-place] != pieces[-place]:
            break
        pieces[-place] = spell(own[-place])
    return "/".join(pieces)


def local_as(path: str, local: str) -> str:
    """*local* with those components that it took over from the end of *path* as the names are that they spell.

    A component that no local file could be called, or that would lead elsewhere, stays spelled.

    >>> local_as("shop/alice/s1/100%25.csv", "out/100%25.csv"), local_as("shop/alice/s1/%2E%2E", "out/%2E%2E")
    ('out/100%.csv', 'out/%2E%2E')
    """
    pieces = path.split("/")
    parts = local.split("/")
    for place in range(1, min(len(parts), len(pieces) - _SCOPE) + 1):
        if parts[-place] != pieces[-place]:
            break
        name = Ref.parse("/".join(["a", "u", "s", pieces[-place]])).name if "%" in pieces[-place] else None
        if name and name not in {".", ".."} and not set(name) & {"/", "\\", "\0", os.sep}:
            parts[-place] = name
    return "/".join(parts)
