"""What every layout of a source tells: which versions it has found, where they belong, and what each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from artifactfs.importing.report import ImportNote, What
from artifactfs.importing.source import Entry, Source, Unreadable


class Place(NamedTuple):
    """Where something belongs at the destination. No session is the user's scope, where *name* has no ``user:``."""

    app: str
    user: str
    session: str | None
    name: str

    @property
    def label(self) -> str:
        return f"{self.app}/{self.user}/{'user' if self.session is None else self.session}/{self.name}"


@dataclass(frozen=True, slots=True)
class Held:
    """A version as the source holds it: its payload's path for fsspec, and what its listing tells.

    `size` and `at` are None where only a look inside tells; `told` is the layout's own.
    """

    number: int
    path: str
    size: int | None
    at: datetime | None
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """An artifact as the source holds it. *where* is its folder below the location; the versions have their order."""

    place: Place
    where: str
    versions: tuple[Held, ...]


@dataclass(slots=True)
class Described:
    """All that a layout knows of a version. What is None is found out by the loop; *notes* are of it."""

    path: str
    size: int | None
    at: datetime
    mime_type: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    removal: bool = False
    uri: str | None = None
    notes: list[tuple[What, str]] = field(default_factory=list)


def written(at: datetime | None) -> datetime:
    """*at*, which a record needs.

    Raises:
        Unreadable: the store of the source does not tell times.
    """
    if at is None:
        raise Unreadable("nothing tells when it was written")
    return at


class Layout(Protocol):
    """How one kind of source holds artifacts. It is pickled to whoever does the work.

    Attributes:
        depth: levels of folders that are listed one by one; what belongs together never lies in two of them.
        first: the number that the source gives first.
    """

    @property
    def depth(self) -> int: ...

    @property
    def first(self) -> int: ...

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        """The artifacts in some files, and what else is to be said of them."""
        ...

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        """What is known of one version, after a look inside where that is needed.

        Raises:
            Unreadable: what has to be read for it cannot be.
        """
        ...
