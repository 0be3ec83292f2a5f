"""What a path or a glob pattern selects now, spelled so that it never means anything else: by the number of its version.

Tools that open one file several times are given this spelling, so that they read one version of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from artifactfs.filesystem import ArtifactFileSystem
from artifactfs.refs import Ref


def pinned(fs: ArtifactFileSystem, pattern: str, *, folders: bool = False) -> dict[str, dict[str, Any]]:
    """Each artifact that *pattern* selects, as ``app/user/session/@3/name``, with what `ArtifactFileSystem.info` says.

    The view segment keeps the extension, which tools look at. With *folders* also all that lies in a folder that the
    pattern selects. Empty where nothing is there. One record is read for each artifact.
    """
    found = {}
    for name, info in fs.glob(pattern, detail=True).items():
        if info["type"] == "file":
            found[name] = info
        elif folders:
            found.update(fs.find(name, detail=True))
    out = {}
    for name, info in found.items():
        path = replace(Ref.parse(name), selector=info["version"], view=True).path
        out[path] = {**info, "name": path}
    return out
