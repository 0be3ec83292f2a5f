"""The loop of every import: what a layout finds in a source is placed at the destination, artifact by artifact.

The versions of an artifact come in by their numbers, lowest first, and the artifacts at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from artifactfs.bulk import Shared
from artifactfs.drivers import run
from artifactfs.errors import (
    BackendUnavailable,
    ForeignPayload,
    IntegrityError,
    InvalidConfig,
    InvalidMetadata,
    InvalidName,
    InvalidRef,
)
from artifactfs.importing.base import Described, Held, Kept, Layout, Place
from artifactfs.importing.report import ImportNote, What
from artifactfs.importing.source import Damaged, Source, Unreadable
from artifactfs.layout import USER_PREFIX, ArtifactId, ScopeId
from artifactfs.mime import HEAD_BYTES, guess
from artifactfs.mime import check as check_type
from artifactfs.operations.core import CLOCKS, Core
from artifactfs.pointers import check_uri
from artifactfs.protocol.env import HINT_TTL, Clocked
from artifactfs.protocol.listing import look_all
from artifactfs.protocol.place import Coming, Standing, fill, place, standings
from artifactfs.records import check_metadata
from artifactfs.sources import PieceSource
from artifactfs.store import ArtifactStore, telling

MOST_EMPTY = 1000
"""Numbers in a row that were never given and are ended one by one, so that a higher one can be taken."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to know. It is pickled where they are other processes."""

    layout: Layout
    location: str
    options: Mapping[str, Any]
    destination: ArtifactStore
    dry_run: bool

    def source(self) -> Source:
        return Source(self.location, self.options)


@dataclass
class Brought:
    """What became of some artifacts."""

    artifacts: int = 0
    versions: int = 0
    size_bytes: int = 0
    already: int = 0
    notes: list[ImportNote] = field(default_factory=list)

    def add(self, other: Brought) -> None:
        self.artifacts += other.artifacts
        self.versions += other.versions
        self.size_bytes += other.size_bytes
        self.already += other.already
        self.notes += other.notes


def shards(job: Job, notes: list[ImportNote]) -> Iterator[list[Kept]]:
    """The artifacts of the source, some at a time; what else is met there goes to *notes*."""
    source = job.source()
    where, destination = f"{source.fs.unstrip_protocol(source.root)}/", f"{job.destination.url.rstrip('/')}/"
    if where.startswith("file:") and (where.startswith(destination) or destination.startswith(where)):
        raise InvalidConfig(f"{source.location} is the destination, or one of the two lies in the other")
    met: dict[Place, str] = {}
    some: list[Kept] = []
    weight = 0
    for found in _sorted(job.layout, source):
        if isinstance(found, ImportNote):
            notes.append(found)
        elif found.place in met:
            why = f"{met[found.place]!r} in the source is of the same name, and was taken"
            label = found.place.label
            notes.append(ImportNote(what="collision", source=found.where, artifact=label, lost=True, why=why))
        else:
            met[found.place] = found.where
            some.append(found)
            weight += 5 + len(found.versions)
            if weight >= 100:
                yield some
                some, weight = [], 0
    if some:
        yield some


def _sorted(layout: Layout, source: Source) -> Iterator[Kept | ImportNote]:
    try:
        for entries in source.files(layout.depth):
            yield from layout.sort(source, entries)
    except Unreadable as error:
        raise BackendUnavailable(f"{source.location} cannot be read: {error}") from error


def bring(shared: Shared[Job], some: Iterable[Kept]) -> Brought:
    """Bring in some artifacts."""
    job = shared.get()
    source, total = job.source(), Brought()
    for kept in some:
        total.add(_Bringing(job, source, kept).all())
    return total


class _Bringing:
    """One artifact on its way from the source into the store."""

    def __init__(self, job: Job, source: Source, kept: Kept) -> None:
        self.job, self.source, self.kept = job, source, kept
        self.core: Core = job.destination._core
        self.done = Brought(artifacts=1)
        self.empty, self.latest = True, datetime.min.replace(tzinfo=UTC)

    def all(self) -> Brought:
        try:
            artifact = self._artifact()
        except InvalidName as error:
            self._note("name", str(error), lost=True)
            return self.done
        with telling(self.core, artifact.label):
            rest = list(self.kept.versions)
            while rest:
                rest = self._some(artifact, rest)
        if not self.job.dry_run:
            self.core.forget(artifact)
        return self.done

    def _artifact(self) -> ArtifactId:
        place = self.kept.place
        if place.name.startswith(USER_PREFIX):
            raise InvalidName(f"a name of a scope's own does not begin with {USER_PREFIX!r}: {place.name[:80]!r}")
        scope = ScopeId(place.app, place.user, place.session, self.core.custody)
        return self.core.room(ArtifactId(scope, place.name))

    def _some(self, artifact: ArtifactId, rest: list[Held]) -> list[Held]:
        """Bring in versions for as long as what was seen of the destination may be relied on; those that are left."""
        began = Clocked.read(CLOCKS)
        backend = self.core.backend
        view = run(look_all(artifact), backend)
        wanted = [(held.number, held.at, held.size) for held in rest]
        stands: dict[int, Standing] = run(standings(artifact, view, wanted), backend)
        top, self.empty = view.top, not view.payloads
        for at, held in enumerate(rest):
            if began.age(CLOCKS) > HINT_TTL:
                return rest[at:]
            stand = stands[held.number]
            if stand == "there":
                self.done.already += 1
            elif stand == "ended":
                self._ended(held)
            elif stand == "taken":
                return self._stop(rest[at:], "taken", "something else has that number at the destination")
            else:
                missing = range(top + 1, held.number)
                if len(missing) > MOST_EMPTY:
                    why = f"{len(missing)} numbers before it were never given; at most {MOST_EMPTY} can be left empty"
                    return self._stop(rest[at:], "gap", why)
                told = self._one(artifact, held, stand, missing)
                if isinstance(told, tuple):
                    return self._stop(rest[at:], *told)
                if told:
                    top = max(top, held.number)
        return []

    def _one(self, artifact: ArtifactId, held: Held, stand: Standing, missing: range) -> bool | tuple[What, str]:
        """Bring in one version, and tell whether its number is given now; or why nothing that follows can come in."""
        if self.job.dry_run:
            self._gap(missing, held)
            self._count(stand, held.size or 0)
            return True
        try:
            about = self.job.layout.describe(self.source, self.kept, held)
            coming, file = self._coming(about, held)
        except Damaged as error:  # its number stays empty
            self._note("unreadable", str(error), held, lost=True)
            return False
        except Unreadable as error:
            return "unreadable", str(error)
        except InvalidRef as error:
            return "pointer", str(error)
        backend = self.core.backend
        with closing(file) if file is not None else nullcontext():
            env = run(self.core.writing(), backend)
            marks = (missing[0] if missing else 0,) if self.empty and held.number else ()
            run(fill(env, artifact, missing, first=self.empty), backend)
            pieces = None if file is None else PieceSource(file)
            try:
                outcome = run(place(env, artifact, coming, marks=marks), backend, pieces)
            except (ForeignPayload, IntegrityError) as error:
                return "taken", str(error)
        if outcome == "taken":
            if stand == "changed":
                return "changed", "it was brought in before, and the source holds other bytes under that number now"
            return "taken", "something else has that number at the destination"
        self.empty = False
        if outcome == "ended":
            self._ended(held)
            return True
        self._gap(missing, held)
        if coming.at < self.latest:
            about.notes.append(("order", "it is older than a version below it, so reads as of a time may pass it over"))
        self.latest = max(self.latest, coming.at)
        for what, why in about.notes:
            self._note(what, why, held)
        self._count(stand, coming.size)
        return True

    def _coming(self, about: Described, held: Held) -> tuple[Coming, Any]:
        """The version that is to be placed, and the file that holds its content if it is long."""
        size, sha256, data, file = 0, "", None, None
        if about.uri is not None:
            check_uri(about.uri, self.core.schemes)
        elif not about.removal:
            size, sha256, data, file = self.source.content(about.path, about.size)
        try:
            mime_type = self._type(about, data if data is not None else file.read(HEAD_BYTES) if file else b"")
            coming = Coming(
                number=held.number,
                at=about.at,
                mime_type=mime_type,
                metadata=self._metadata(about),
                size=size,
                sha256=sha256,
                data=data,
                removal=about.removal,
                uri=about.uri,
            )
            if file is not None:
                file.seek(0)
        except BaseException:
            if file is not None:
                file.close()
            raise
        return coming, file

    def _type(self, about: Described, head: bytes) -> str:
        guessed = guess(self.kept.place.name, head)
        if not about.mime_type:
            return guessed
        try:
            return check_type(about.mime_type)
        except InvalidMetadata as error:
            about.notes.append(("MIME type", f"it was stored as {guessed}: {error}"))
            return guessed

    def _metadata(self, about: Described) -> Mapping[str, Any]:
        try:
            return check_metadata(about.metadata)
        except InvalidMetadata as error:
            about.notes.append(("metadata", f"it was stored without: {error}"))
            return {}

    def _count(self, stand: Standing, size: int) -> None:
        if stand == "changed":  # of another time, but with the same bytes
            self.done.already += 1
        else:
            self.done.versions += 1
            self.done.size_bytes += size

    def _gap(self, missing: range, held: Held) -> None:
        """Tell of numbers that the source does not have either; not of those below the first that it ever gives."""
        absent = sorted(set(missing) - {one.number for one in self.kept.versions} - set(range(self.job.layout.first)))
        if len(absent) == 1:
            self._note("gap", f"the source has no version {absent[0]}, and that number is never given", held)
        elif absent:
            why = f"the source lacks {len(absent)} versions from {absent[0]} to {absent[-1]}, and they are never given"
            self._note("gap", why, held)

    def _ended(self, held: Held) -> None:
        self._note("ended", "that number was deleted or given up at the destination", held, lost=True)

    def _stop(self, rest: Sequence[Held], what: What, why: str) -> list[Held]:
        self._note(what, why, rest[0], lost=True)
        for held in rest[1:]:
            self._note("left out", f"version {rest[0].number} before it could not be brought in", held, lost=True)
        return []

    def _note(self, what: What, why: str, held: Held | None = None, *, lost: bool = False) -> None:
        label, where = self.kept.place.label, self.kept.where
        if held is not None:
            label, where = f"{label}@{held.number}", self.source._below(held.path)
        self.done.notes.append(ImportNote(what=what, source=where, artifact=label, lost=lost, why=why))
