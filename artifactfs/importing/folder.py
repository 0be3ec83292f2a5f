"""A plain folder: each file becomes version 0 of an artifact of one scope, called by its path in the folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from artifactfs.importing.base import Described, Held, Kept, Place, written
from artifactfs.importing.report import ImportNote
from artifactfs.importing.source import Entry, Source


@dataclass(frozen=True)
class Folder:
    app: str
    user: str
    session: str | None = None
    depth: int = 1
    first: int = 0

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        for entry in entries:
            place = Place(self.app, self.user, self.session, entry.name or PurePosixPath(entry.path).name)
            if entry.info["type"] == "file":
                yield Kept(place, entry.name, (Held(0, entry.path, entry.size, entry.at),))
            else:
                why = "it is a link or no file, which is not followed"
                yield ImportNote(what="foreign", source=entry.name, artifact=place.label, lost=True, why=why)

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        return Described(held.path, held.size, written(held.at))
