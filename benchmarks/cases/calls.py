"""What one call of the filesystem costs over one of fsspec's own filesystem in memory."""

from __future__ import annotations

import uuid
from functools import partial

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from artifactfs.drivers import call

from ..bench import Bench
from ..harness import Side
from .common import repeated


def calls(bench: Bench) -> None:
    """`info`, `exists` and `cat_file` of the newest version and of a known one, and what the store below takes for them."""
    fs = fsspec.filesystem("artifact", root=f"memory://{uuid.uuid4().hex}", skip_instance_cache=True)
    path = "shop/alice/s1/notes.txt"
    fs.pipe_file(path, b"x" * 1024)
    theirs = MemoryFileSystem()
    there = f"/{uuid.uuid4().hex}/notes.txt"
    theirs.pipe_file(there, b"x" * 1024)
    backend = fs.store.backend

    async def below() -> None:
        await backend.list(f"{path}/")
        await backend.get(f"{path}/0.metadata")
        await backend.get(f"{path}/0")

    for shown, ours in (("newest", path), ("known version", f"{path}@0")):
        for op in ("info", "exists", "cat_file"):
            bench.compare(
                f"calls/{op}, {shown}",
                f"{op}, {shown}",
                [
                    Side("artifact:// over memory", "ours", repeated(partial(getattr(fs, op), ours))),
                    Side("fsspec's memory://", "floor", repeated(partial(getattr(theirs, op), there))),
                    Side("listing and reads alone", "floor", repeated(lambda: call(backend, below))),
                ],
                group="calls",
                base="fsspec's memory://",
            )
    theirs.rm(there)
