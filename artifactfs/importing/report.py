"""What an import has done, and what it could not do."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

What: TypeAlias = Literal[
    "gap",
    "name",
    "no app",
    "collision",
    "taken",
    "ended",
    "changed",
    "unreadable",
    "left out",
    "foreign",
    "removal",
    "reference",
    "pointer",
    "MIME type",
    "metadata",
    "order",
]


class ImportNote(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not at the destination as it is in the source.

    Attributes:
        what: a word for the kind of thing, as docs/import.md lists them.
        source: where it lies, below the location that was read.
        artifact: ``app/user/session/name`` at the destination, with ``@N`` for one version; empty where it has no place.
        lost: whether the destination lacks the bytes of that version (of all, where there is no ``@N``).
        why: a sentence.
    """

    what: What
    source: str
    artifact: str = ""
    lost: bool = False
    why: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import has done; with ``dry_run`` what it would do.

    Attributes:
        kind: what was read.
        location: where from, without credentials.
        dry_run: whether nothing was written.
        artifacts: how many artifacts were met in the source.
        versions: how many versions were brought in.
        size_bytes: of their content; unknown sizes are not in it.
        already: how many versions an earlier import had brought in.
        notes: all that is not as it was, in the order of `source`.
    """

    kind: str
    location: str
    dry_run: bool
    artifacts: int
    versions: int
    size_bytes: int
    already: int
    notes: tuple[ImportNote, ...]

    @property
    def lost(self) -> tuple[ImportNote, ...]:
        """Those of the notes that tell of bytes which the destination lacks."""
        return tuple(note for note in self.notes if note.lost)

    @property
    def complete(self) -> bool:
        """Whether the bytes of every version that was met are at the destination."""
        return not self.lost
