"""A search without an inventory: a listing of all keys where a hit may be, and a read of each record that may be one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from artifactfs.custody import Custody
from artifactfs.inventory.refresh import told
from artifactfs.inventory.walk import Places, Seen, Walk
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.protocol.ops import Emit, Lazy, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, confirm
from artifactfs.protocol.tags import tags_in
from artifactfs.records import Record, Removed
from artifactfs.search.query import Hit, Query, hit_of, limited


def scan(custody: Custody, query: Query) -> Lazy[Hit]:
    """Look through the store: a listing of all keys where it may be, and a read of each record that may be asked for."""
    return limited(_scan(custody, query), query.limit)


def _scan(custody: Custody, query: Query) -> Lazy[Hit]:
    walk, places = Walk(query.folder(custody)), Places(custody)
    tags = _Tags(query)
    rest: list[Seen] = []
    while not walk.ended:
        rest += [one for one in (yield from walk.page()) if not one.is_tag]
        folders = [(folder, list(seen)) for folder, seen in groupby(rest, key=lambda one: one.folder)]
        rest = [] if walk.ended or not folders else folders.pop()[1]
        asked = [(places.artifact(folder), seen) for folder, seen in folders]
        asked = [(artifact, seen) for artifact, seen in asked if query.fits_place(artifact)]
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            for artifact, _ in some:
                yield from tags.learn(artifact.scope)
            for hits in (yield from together(*(_versions(query, artifact, seen, tags) for artifact, seen in some))):
                for hit in hits:
                    yield (Emit(hit),)


class _Tags:
    """The tags of the scopes that a scan comes through."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._known: dict[str, dict[str, dict[str, int | None]]] = {}

    def learn(self, scope: ScopeId) -> Steps[None]:
        if scope.folder not in self._known:
            wanted = self._query.fits_place
            found = yield from tags_in(scope, lambda name, tag: wanted(ArtifactId(scope, name)))
            while len(self._known) > AT_ONCE:
                del self._known[next(iter(self._known))]
            self._known[scope.folder] = found

    def of(self, artifact: ArtifactId, number: int) -> list[str]:
        found = self._known[artifact.scope.folder].get(artifact.name, {})
        return sorted(tag for tag, named in found.items() if named == number)


def _versions(query: Query, artifact: ArtifactId, seen: Sequence[Seen], tags: _Tags) -> Steps[list[Hit]]:
    """What is asked for of one artifact, newest first."""
    sizes = {int(one.entry): one.size for one in seen}
    numbers = sorted(sizes, reverse=True)
    hits: list[Hit] = []
    newest = True
    step = AT_ONCE if query.every else 1
    for start in range(0, len(numbers), step):
        some = numbers[start : start + step]
        for found in (yield from together(*(confirm(artifact, number, sizes[number]) for number in some))):
            if isinstance(found, Found):
                hit = _of_record(query, artifact, found.record, found.number, tags, newest)
                newest = False
                if not isinstance(found.record, Removed) and query.fits(hit):
                    hits.append(hit)
        if not (query.every or newest):
            break
    return hits


def _of_record(query: Query, artifact: ArtifactId, record: Record, number: int, tags: _Tags, newest: bool) -> Hit:
    scope = artifact.scope
    return hit_of(
        query,
        app=scope.app,
        user=scope.stored_user,
        session=scope.session,
        name=artifact.name,
        version=number,
        tags=tags.of(artifact, number),
        newest=newest,
        **told(record),
    )
