"""Collecting what was left behind: by savers that crashed, deletes that were cut off, uploads that nobody completes.

One listing of all keys shows what may be a leftover. Each is looked at by itself before it is touched, by the rules that
savers and deleters follow too, so that nothing is taken that a running one may still need (docs/spec.md, "Collect").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from artifactfs.backends.base import Entry, Got, Page, Unfinished
from artifactfs.backends.local_files import TEMPORARY
from artifactfs.custody import SEALED_MORE, Custody
from artifactfs.errors import IntegrityError, UnsupportedFormat
from artifactfs.layout import STORE_FOLDER, ArtifactId
from artifactfs.protocol.env import Env
from artifactfs.protocol.fence import fence, may_come_in_parts, settle
from artifactfs.protocol.listing import look
from artifactfs.protocol.ops import Delete, Discard, Get, List, ListUnfinished, Now, Steps, together
from artifactfs.protocol.places import Places
from artifactfs.protocol.read import AT_ONCE, newest
from artifactfs.records import FENCE_SIZE, Record, Removed, Tombstone, decode, fits, is_fence, longest_tombstone

PROBED = f"{STORE_FOLDER}probe/"

Kind: TypeAlias = Literal["claim", "fence", "payload", "upload", "temporary file", "mark", "hint", "probe"]
"""What was left behind.

claim
    A number whose saver has not published, and has not been heard of for ten minutes. It is fenced: ended for good.
fence
    A fence whose number was not marked as ended. It is.
payload
    Bytes of a version that was deleted, under its tombstone.
upload
    Parts of an upload that nobody can complete any more.
temporary file
    The same on a local folder.
mark, hint
    Small keys that newer ones have made needless.
probe
    What a probe of the store left behind when it was cut off.
"""


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was left behind.

    Attributes:
        kind: what it is.
        key: where it lies, relative to the root of the store.
        artifact: ``app/user/session/name`` as a person reads it; empty where the key tells of none.
        version: the number that it belongs to; None where it has none.
        why: why it goes, or why it stays.
        size_bytes: how many bytes it takes; None where the store does not tell.
    """

    kind: Kind
    key: str
    why: str
    artifact: str = ""
    version: int | None = None
    size_bytes: int | None = 0


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection has done, or with *dry_run* what it would do.

    Attributes:
        dry_run: nothing was changed.
        collected: what went. These lists take memory, and nothing else of the report does.
        left: what looks left behind and stays, for it may still be needed, or cannot be judged here.
    """

    dry_run: bool
    collected: tuple[Leftover, ...] = ()
    left: tuple[Leftover, ...] = ()

    @property
    def bytes_freed(self) -> int:
        """Bytes of what went, as far as the store tells them."""
        return sum(one.size_bytes or 0 for one in self.collected)


def collect(env: Env, custody: Custody, folder: str, *, dry_run: bool = False) -> Steps[Collected]:
    """Collect what was left behind below *folder*: ``""`` for a whole store, or that of a scope.

    One listing for a thousand keys and one of unfinished uploads; reads only of what may be a leftover.
    """
    now: float
    uploads: Sequence[Unfinished]
    page: Page
    now, uploads = yield (Now(), ListUnfinished(folder))
    run = _Collection(env, custody, now, dry_run)
    yield from _some_at_once(run.upload(one) for one in uploads)
    after: str | None = ""
    while after is not None:
        (page,) = yield (List(folder, after, deep=True),)
        yield from _some_at_once(run.entries(folder, page.entries))
        after = page.next
    yield from _some_at_once(run.end())
    by_key = (tuple(sorted(found, key=lambda one: (one.key, one.kind))) for found in (run.collected, run.left))
    collected, left = by_key
    return Collected(dry_run=dry_run, collected=collected, left=left)


def _some_at_once(steps: Iterable[Steps[None]]) -> Steps[None]:
    waiting: list[Steps[None]] = []
    for one in steps:
        waiting.append(one)
        if len(waiting) == AT_ONCE:
            yield from together(*waiting)
            waiting = []
    if waiting:
        yield from together(*waiting)


class _Collection:
    """A collection that is under way. `now` is the store's time at its beginning: nothing is older than it says."""

    def __init__(self, env: Env, custody: Custody, now: float, dry_run: bool) -> None:
        self.env, self.now, self.dry_run, self.keyless = env, now, dry_run, custody.keys is None
        self.places = Places(custody)
        self.collected: list[Leftover] = []
        self.left: list[Leftover] = []
        self.uploads: set[str] = set()
        self.payload: Entry | None = None  # the last one listed, whose record comes next
        self.artifact: ArtifactId | None = None  # whose keys are being listed
        self.hints: list[int] = []
        self.highest = -1  # of its payloads
        self.marks: dict[ArtifactId, list[int]] = {}  # in its scope

    # what is listed

    def entries(self, folder: str, entries: Iterable[Entry]) -> Iterator[Steps[None]]:
        """The steps that the next page of a listing of *folder* asks for."""
        for entry in entries:
            key = folder + entry.name
            if key.startswith(PROBED):
                if self.now - entry.modified > self.grace:
                    yield self._probe(key, entry)
                continue
            place = self.places.of(key)
            if place is None:
                continue
            if place.kind == "mark":
                yield from self._next(None, place.artifact)
                self.marks.setdefault(place.artifact, []).append(place.number)
                continue
            yield from self._next(place.artifact, place.artifact)
            match place.kind:
                case "hint":
                    self.hints.append(place.number)
                case "payload":
                    self.payload, self.highest = entry, max(self.highest, place.number)
                case "record":
                    payload, self.payload = self.payload, None
                    if payload is None or entry.name.rpartition(".")[0] != payload.name:
                        if self.now - entry.modified >= self.env.claim_ttl:
                            yield self._claim(place.artifact, place.number)
                    elif payload.size == FENCE_SIZE or self._may_be_ended(place.artifact, place.number, entry, payload):
                        yield self._ended(place.artifact, place.number, payload.size)

    def end(self) -> Iterator[Steps[None]]:
        """The steps that are left when all is listed."""
        yield from self._next(None, None)

    @property
    def grace(self) -> float:
        """Seconds after which no save can still need what it began."""
        return self.env.give_up + self.env.claim_ttl

    def _next(self, artifact: ArtifactId | None, of_scope: ArtifactId | None) -> Iterator[Steps[None]]:
        """The listing has come to *artifact*, in the scope of *of_scope*."""
        if artifact != self.artifact:
            if self.artifact is not None:
                if len(self.hints) > 1:
                    yield self._hints(self.artifact, sorted(self.hints)[:-1])
                marks = self.marks.pop(self.artifact, [])
                if marks and min(marks) < self.highest:
                    yield self._marks(self.artifact, marks)
            self.artifact, self.hints, self.highest = artifact, [], -1
        first = next(iter(self.marks), None)
        if first is not None and (of_scope is None or of_scope.scope != first.scope):
            # Of names that sort before the marks, and of such as have no keys.
            marked, self.marks = self.marks, {}
            yield from (self._marks(one, numbers) for one, numbers in marked.items())

    def _may_be_ended(self, artifact: ArtifactId, number: int, record: Entry, payload: Entry) -> bool:
        """Whether the sizes leave it open that there is a tombstone.

        Without keys a sealed one looks as long as a plain record does. It was written after its payload, mostly.
        """
        if artifact.custody.may_be_tombstone(artifact, number, record.size):
            return True
        sealed = longest_tombstone(artifact.name, number) + SEALED_MORE
        return self.keyless and record.size <= sealed and record.modified > payload.modified

    # what is done with it

    def _claim(self, artifact: ArtifactId, number: int) -> Steps[None]:
        """A number with a record and no payload."""
        key = artifact.record(number)
        got: Got | None
        (got,) = yield (Get(key),)
        if got is None:
            return
        try:
            record: Record | None = decode(got.data, key)
        except (IntegrityError, UnsupportedFormat) as error:
            return self._stays("claim", key, f"its record cannot be read: {error}", artifact, number)
        age = self.now - got.modified
        if isinstance(record, Tombstone) or age < self.env.claim_ttl:
            return
        assert record is not None
        in_parts = may_come_in_parts(record)
        if in_parts and not self.env.fence_streams:
            why = (
                "a stream may still be completed over a fence in this store; say nobody_writes=True when nobody writes"
            )
            return self._stays("claim", key, why, artifact, number)
        if self.keyless and record.encryption:
            return self._stays("claim", key, "it is sealed, and what ends it needs keys", artifact, number)
        if not self.dry_run:
            view = yield from look(artifact)
            if (yield from settle(self.env, artifact, number, None if view.payloads else view.top)) != "ended":
                return
        self._goes("claim", key, f"its saver was not heard of for {_told(age)}", artifact, number)
        if in_parts:
            # By the whole key, too: MinIO lists no others.
            uploads: Sequence[Unfinished]
            (uploads,) = yield (ListUnfinished(artifact.payload(number)),)
            for one in uploads:
                if one.key == artifact.payload(number):
                    yield from self._discard(one, "its claim has ended", artifact, number)

    def _ended(self, artifact: ArtifactId, number: int, size: int) -> Steps[None]:
        """A number with a payload that may be a fence, or lie under a tombstone."""
        key = artifact.payload(number)
        got: Got | None
        payload: Got | None
        (got,) = yield (Get(artifact.record(number)),)
        try:
            record = None if got is None else decode(got.data)
        except (IntegrityError, UnsupportedFormat):
            return
        if isinstance(record, Tombstone):
            if record.reason == "deleted":  # a fence has to stay: it keeps a slow saver from publishing
                if not self.dry_run:
                    yield (Delete((key,)),)
                self._goes("payload", key, "its version was deleted", artifact, number, size)
        elif record is not None and size == FENCE_SIZE:
            (payload,) = yield (Get(key, 0, FENCE_SIZE + 1),)
            if payload is None or not is_fence(payload.data) or fits(record, payload.data):
                return
            if self.keyless and record.encryption:
                return self._stays("fence", key, "it is sealed, and what ends it needs keys", artifact, number)
            if self.dry_run or (yield from fence(self.env, artifact, number, None)):
                self._goes("fence", key, "its number was fenced, and not marked as ended", artifact, number)

    def upload(self, upload: Unfinished) -> Steps[None]:
        """An upload that has not ended."""
        age = self.now - upload.started
        place = self.places.of(upload.key)
        artifact, number = None, None
        if place is not None and place.kind == "payload":
            artifact, number = place.artifact, place.number
        elif _kind(upload) == "upload":
            return self._stays(
                "upload", upload.key, "no version lies there: it is another program's", None, None, upload.size
            )
        if age > self.grace:
            yield from self._discard(upload, f"it began {_told(age)} ago, and no save takes so long", artifact, number)
            return
        if artifact is not None and number is not None and (yield from _has_ended(artifact, number)):
            yield from self._discard(upload, "its number has ended", artifact, number)
            return
        why = f"it began {_told(age)} ago, and may still be completed"
        self._stays(_kind(upload), upload.key, why, artifact, number, upload.size)

    def _discard(self, upload: Unfinished, why: str, artifact: ArtifactId | None, number: int | None) -> Steps[None]:
        if upload.token not in self.uploads:
            self.uploads.add(upload.token)
            if not self.dry_run:
                yield (Discard(upload),)
            self._goes(_kind(upload), upload.key, why, artifact, number, upload.size)

    def _marks(self, artifact: ArtifactId, marks: Sequence[int]) -> Steps[None]:
        """Marks that newer versions may have made needless."""
        found, _ = yield from newest(artifact)
        if found is None or isinstance(found.record, Removed):
            return
        old = [number for number in sorted(marks) if number < found.number]
        if old and not self.dry_run:
            yield (Delete(tuple(artifact.mark(number) for number in old)),)
        for number in old:
            self._goes("mark", artifact.mark(number), f"version {found.number} is in view", artifact, number)

    def _hints(self, artifact: ArtifactId, old: Sequence[int]) -> Steps[None]:
        if not self.dry_run:
            yield (Delete(tuple(artifact.hint(number) for number in old)),)
        for number in old:
            self._goes("hint", artifact.hint(number), "there is a higher one", artifact, number)

    def _probe(self, key: str, entry: Entry) -> Steps[None]:
        if not self.dry_run:
            yield (Delete((key,)),)
        why = f"its probe was cut off {_told(self.now - entry.modified)} ago"
        self._goes("probe", key, why, None, None, entry.size)

    # what is told of it

    def _goes(
        self, kind: Kind, key: str, why: str, artifact: ArtifactId | None, number: int | None, size: int | None = 0
    ) -> None:
        self.collected.append(_leftover(kind, key, why, artifact, number, size))

    def _stays(
        self, kind: Kind, key: str, why: str, artifact: ArtifactId | None, number: int | None, size: int | None = 0
    ) -> None:
        self.left.append(_leftover(kind, key, why, artifact, number, size))


def _leftover(
    kind: Kind, key: str, why: str, artifact: ArtifactId | None, number: int | None, size: int | None
) -> Leftover:
    label = "" if artifact is None else artifact.label
    return Leftover(kind=kind, key=key, why=why, artifact=label, version=number, size_bytes=size)


def _has_ended(artifact: ArtifactId, number: int) -> Steps[bool]:
    """Whether nobody can publish under *number* any more; a saver that still sends its stream sends it again."""
    got: Got | None
    (got,) = yield (Get(artifact.record(number)),)
    try:
        return got is not None and isinstance(decode(got.data), Tombstone)
    except (IntegrityError, UnsupportedFormat):
        return False


def _kind(upload: Unfinished) -> Kind:
    """A temporary file is named by itself; an upload in a bucket has a token of its own, whatever its key looks like."""
    name = upload.key.rpartition("/")[2]
    return "temporary file" if name.startswith(TEMPORARY) and upload.token.endswith(upload.key) else "upload"


def _told(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
