"""One artifact on its way to another store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from threading import Event
from typing import Any, NamedTuple

from artifactfs.backends.base import WHOLE_LIMIT, Backend, Entry, Got, Upload, Written
from artifactfs.drivers import perform, run
from artifactfs.errors import IntegrityError, UnsupportedFormat
from artifactfs.layout import ArtifactId, parse_entry
from artifactfs.migrated import Tally
from artifactfs.protocol.claim import rewrite_record
from artifactfs.protocol.env import Env
from artifactfs.protocol.listing import View
from artifactfs.protocol.marks import EMPTY_TYPE, mark_hidden
from artifactfs.protocol.ops import Abort, Begin, Commit, Create, Delete, Get, Op, Part, Put, Replace, together
from artifactfs.protocol.read import AT_ONCE
from artifactfs.protocol.transplant import REWRITTEN, Told, Whole, create_record, decoded, look_at, plan
from artifactfs.records import CONTENT_TYPE, Pointer, Removed, TagRecord, Tombstone, decode_tag
from artifactfs.refs import is_tag

PIECE = 4 * 1024 * 1024
"""Bytes of a long payload that are held at a time."""


class Item(NamedTuple):
    """An artifact, and what both stores list of it; keys by their names in the folders where they belong.

    `marks` and `tags` are those of the source, `marked` and `tagged` those of the destination.
    """

    artifact: ArtifactId
    here: Sequence[Entry]
    there: Sequence[Entry]
    marks: Sequence[str]
    marked: Sequence[str]
    tags: Sequence[str]
    tagged: Sequence[str]


class Way(NamedTuple):
    """From where to where; `env` is None where nothing is to be written. `pointers_only`: no bytes are saved there.

    `stopped` is set when nothing is waited for any more but what is being published.
    """

    source: Backend
    destination: Backend
    env: Env | None
    pointers_only: bool
    stopped: Event


class Transfer:
    """One artifact on its way: its marks, its numbers in their order, hints, and last its tags.

    Marks come before what they speak of, and tags after it, as savers see to. Numbers ascend, so that at the destination
    too each was claimed after the one below it.
    """

    def __init__(self, way: Way, item: Item, tally: Tally) -> None:
        self.artifact, self.item, self.tally = item.artifact, item, tally
        self.source, self.destination, self.env, self.pointers_only, self.stopped = way
        self.here, self.there = View(), View()
        self.here.add(item.here)
        self.there.add(item.there)
        self.top = self.there.top
        self.marks, self.marked = _numbers(item.marks), _numbers(item.marked)
        self.shown = -1  # the highest number that is a version in both, and no removal
        self.others: set[int] = set()  # numbers that mean something else at the destination

    def run(self) -> None:
        for entry in self.item.here:
            if parse_entry(entry.name) is None:
                self.tally.tell("left_out", self.artifact.folder + entry.name, "no key of this format")
        self._empty(self.artifact.mark(mark) for mark in self.marks - self.marked)
        for numbers in self._batches():
            self._batch(numbers)
        self._look_for_more()
        self._empty(self.artifact.hint(hint) for hint in self._hints() - self.there.hints)
        self._tags()
        self._tidy()

    def _tell(self, number: int, kind: str, why: str) -> None:
        if kind == "conflicts":
            self.others.add(number)
        self.tally.tell(kind, f"{self.artifact.label}@{number}", why)

    def _ask(self, backend: Backend, ops: Sequence[Op]) -> tuple[Any, ...]:
        return perform(tuple(ops), backend, None) if ops else ()

    def _empty(self, keys: Iterable[str]) -> None:
        if self.env is not None:
            self._ask(self.destination, [Put(key, b"", EMPTY_TYPE) for key in sorted(keys)])

    def _batches(self) -> Iterator[list[int]]:
        """Some numbers at a time, of as many bytes as one request may hold; a longer payload's by itself."""
        some: list[int] = []
        held = 0
        for number in sorted(self.here.payloads.keys() | self.here.records.keys()):
            size = 0 if number in self.there.payloads else self.here.payloads.get(number, 0)
            if some and (len(some) == AT_ONCE or held + size > WHOLE_LIMIT):
                yield some
                some, held = [], 0
            some.append(number)
            held += size
        if some:
            yield some

    def _go_on(self) -> None:
        if self.stopped.is_set():
            raise CancelledError

    def _batch(self, numbers: Sequence[int]) -> None:
        self._go_on()
        payload = self.env is not None
        looks = [
            look_at(self.artifact, n, self.here.payloads.get(n), payload=payload and n not in self.there.payloads)
            for n in numbers
        ]
        known = [number for number in numbers if number in self.there.records]
        records: dict[int, Got | None] = dict(
            zip(known, self._ask(self.destination, [Get(self.artifact.record(n)) for n in known]), strict=True)
        )
        new: list[tuple[Whole, bool]] = []
        for number, whole in zip(numbers, run(together(*looks), self.source), strict=True):
            if isinstance(whole, Told):
                got = records.get(number)
                if got is not None and isinstance(decoded(self.artifact, number, got), Tombstone):
                    self.tally.count("already")  # it has ended at the destination, whatever becomes of it at the source
                else:
                    self._tell(number, whole.trouble, whole.why)
            elif whole is not None:
                if self.pointers_only and not isinstance(whole.record, (Pointer, Removed, Tombstone)):
                    self._tell(number, "left_out", "the destination is of mode='pointer_only', and takes no bytes")
                    continue
                todo = plan(self.artifact, whole, records.get(number), self.there.payloads.get(number))
                match todo:
                    case Told():
                        self._tell(number, todo.trouble, todo.why)
                    case "copy" | "publish":
                        self.top = max(self.top, number)
                        new.append((whole, todo == "copy"))
                    case "already":
                        self._is_there(whole)
                        self.tally.count("already")
                    case "compare":
                        self._compare(whole)
                    case "bury" | "sweep":
                        self._end(whole, records.get(number), rewrite=todo == "bury")
        self._plant(new)

    def _plant(self, new: Sequence[tuple[Whole, bool]]) -> None:
        """Create the records, one after the other, then the payloads; and read back what is there then."""
        created: list[Whole] = []
        for whole, record in new:
            if self.env is None:
                self._copied(whole)
            elif whole.size >= 0 and whole.data is None:
                self._stream(whole, record)
            elif record and whole.raw and not run(create_record(self.artifact, whole), self.destination):
                self._tell(whole.number, "conflicts", "the destination has given that number away at this moment")
            else:
                created.append(whole)
        with_payload = [whole for whole in created if whole.data is not None]
        key = self.artifact.payload
        self._ask(
            self.destination,
            [Create(key(one.number), one.data, one.content_type) for one in with_payload if one.data is not None],
        )
        seen = self._ask(self.destination, [Get(key(whole.number)) for whole in with_payload])
        digests = {
            whole.number: None if got is None else hashlib.sha256(got.data).hexdigest()
            for whole, got in zip(with_payload, seen, strict=True)
        }
        self._check(created, digests)

    def _stream(self, whole: Whole, record: bool) -> None:
        """Copy a long payload in pieces. Its record is created when all of it is there, and it is published then."""
        key = self.artifact.payload(whole.number)
        begin = Begin(key, whole.content_type)
        published = False
        try:
            self._ask(self.destination, [begin])
            (upload,) = begin.begun
            digest = self._digest(self.source, whole, upload)
            if digest is None or (whole.digest is not None and digest != whole.digest):
                gone = digest is None
                why = "was taken away or replaced while it was read" if gone else "has another digest than was saved"
                self._tell(whole.number, "failed" if gone else "damaged", f"the payload {why}")
            elif record and whole.raw and not run(create_record(self.artifact, whole), self.destination):
                self._tell(whole.number, "conflicts", "the destination has given that number away at this moment")
            else:
                written: Written
                (written,) = self._ask(self.destination, [Commit(upload)])
                published = written.done
                whole = whole._replace(digest=digest)
                self._check([whole], {whole.number: self._digest(self.destination, whole)})
        finally:
            if not published:
                self._ask(self.destination, [Abort(upload) for upload in begin.begun])

    def _digest(self, backend: Backend, whole: Whole, upload: Upload | None = None) -> str | None:
        """The digest of a payload, which goes to *upload* on the way; None where it is another one or none by now."""
        digest = hashlib.sha256()
        for start in range(0, max(whole.size, 1), PIECE):
            got: Got | None
            self._go_on()
            (got,) = self._ask(backend, [Get(self.artifact.payload(whole.number), start, start + PIECE)])
            if got is None or got.size != whole.size or len(got.data) != min(PIECE, whole.size - start):
                return None
            digest.update(got.data)
            if upload is not None:
                self._ask(self.destination, [Part(upload, got.data)])
        return digest.hexdigest()

    def _check(self, planted: Sequence[Whole], digests: dict[int, str | None]) -> None:
        """Hold what is at the destination now against what was read; *digests* are those of the payloads there."""
        records = self._ask(self.destination, [Get(self.artifact.record(whole.number)) for whole in planted])
        for whole, got in zip(planted, records, strict=True):
            number = whole.number
            same = digests.get(number) == whole.digest if whole.size >= 0 else True
            if same and (b"" if got is None else got.data) == whole.raw:
                self._copied(whole)
            elif got is not None and got.data != whole.raw:
                record = decoded(self.artifact, number, got)
                if isinstance(record, Tombstone) and record.reason == "deleted":
                    # The payload, which may have come behind the tombstone, goes as it does in a save.
                    self._ask(self.destination, [Delete((self.artifact.payload(number),))])
                    self._tell(number, "left_out", "it was deleted for good at the destination at this moment")
                else:
                    self._tell(number, "conflicts", "the destination has given that number away at this moment")
            else:
                self._tell(
                    number,
                    "conflicts",
                    "what is at the destination now is not what was written: look who else writes there",
                )

    def _is_there(self, whole: Whole) -> None:
        if not isinstance(whole.record, (Removed, Tombstone)):
            self.shown = max(self.shown, whole.number)

    def _copied(self, whole: Whole) -> None:
        self._is_there(whole)
        self.tally.count("copied")
        self.tally.count("copied_bytes", max(whole.size, 0))

    def _compare(self, whole: Whole) -> None:
        """A payload that no record describes, in either store."""
        if self.env is None or self._digest(self.source, whole) == self._digest(self.destination, whole):
            self.tally.count("already")
        else:
            self._tell(
                whole.number, "conflicts", "another program wrote a payload there in both stores, and they differ"
            )

    def _end(self, whole: Whole, got: Got | None, *, rewrite: bool) -> None:
        """Delete at the destination what was deleted for good at the source: the tombstone first, as it is there."""
        number = whole.number
        if self.env is None:
            return self.tally.count("deleted")
        if rewrite:
            if number >= max(self.there.payloads, default=-1):
                mark = max(self.top, number)
                run(mark_hidden(self.artifact, mark), self.destination)
                self.marked.add(mark)
            if got is None:
                done = run(create_record(self.artifact, whole), self.destination)
            else:
                done = run(rewrite_record(self.env, self.artifact, number, whole.raw, got.tag), self.destination).done
            if not done:
                return self._tell(number, "failed", "its record at the destination was changed at this moment")
        self._ask(self.destination, [Delete((self.artifact.payload(number),))])
        return self.tally.count("deleted")

    def _look_for_more(self) -> None:
        """Tell of versions at the destination, among the numbers of the source, that the source does not have."""
        ours = self.here.payloads.keys() | self.here.records.keys()
        extra = sorted(number for number in self.there.payloads.keys() - ours if number < self.here.top)
        for start in range(0, len(extra), AT_ONCE):
            some = extra[start : start + AT_ONCE]
            records = self._ask(self.destination, [Get(self.artifact.record(number)) for number in some])
            for number, got in zip(some, records, strict=True):
                record = None if got is None else decoded(self.artifact, number, got)
                if not isinstance(record, Tombstone):
                    self._tell(
                        number,
                        "conflicts",
                        "the source has nothing there: it was deleted for good and compacted since, or erased; delete it at "
                        "the destination, too, if nobody has saved it there",
                    )

    def _hints(self) -> set[int]:
        """Those of the source that are true at the destination."""
        return {hint for hint in self.here.hints if hint <= self.top}

    def _tidy(self) -> None:
        """Take away marks and hints that the source has no more, where a version and a higher hint make them needless."""
        marks = [self.artifact.mark(mark) for mark in self.marked - self.marks if mark < self.shown]
        highest = max(self._hints(), default=-1)
        hints = [self.artifact.hint(hint) for hint in self.there.hints - self.here.hints if hint < highest]
        if self.env is not None and (marks or hints):
            self._ask(self.destination, [Delete((*marks, *hints))])

    def _tags(self) -> None:
        """Set the tags of the source, but none that would name something else at the destination.

        Where that has another one, the one that was set later counts.
        """
        names = [tag for tag in self.item.tags if is_tag(tag)]
        ours = self._ask(self.source, [Get(self.artifact.tag(tag)) for tag in names])
        known = [tag for tag in names if tag in set(self.item.tagged)]
        theirs: dict[str, Got | None] = dict(
            zip(known, self._ask(self.destination, [Get(self.artifact.tag(tag)) for tag in known]), strict=True)
        )
        for tag, got in zip(names, ours, strict=True):
            old = theirs.get(tag)
            if got is None or (old is not None and old.data == got.data):
                continue
            label = f"{self.artifact.label}@{tag}"
            record, other = self._decoded(tag, got), self._decoded(tag, old)
            if record is not None and record.version in self.others:
                self.tally.tell("conflicts", label, "the version that it names is something else at the destination")
            elif record is not None and other is not None and record.write_id == other.write_id:
                self.tally.tell("left_out", label, REWRITTEN)
            elif record is not None and other is not None and record.timestamp < other.timestamp:
                continue  # by somebody who works at the destination already
            elif self.env is not None and not self._set_tag(self.env, self.artifact.tag(tag), got.data, old):
                self.tally.tell("failed", label, "it was moved at the destination at this moment")
            else:
                self.tally.count("tags")

    def _decoded(self, tag: str, got: Got | None) -> TagRecord | None:
        """The tag that was read; None where it is none that this release knows."""
        try:
            return None if got is None else decode_tag(got.data, self.artifact.tag(tag))
        except (IntegrityError, UnsupportedFormat):
            return None

    def _set_tag(self, env: Env, key: str, data: bytes, old: Got | None) -> bool:
        written: Written
        if old is None:
            op: Op = Create(key, data, CONTENT_TYPE)
        else:
            op = (
                Replace(key, data, CONTENT_TYPE, old.tag)
                if env.conditional
                else Put(key, data, CONTENT_TYPE, once=True)
            )
        (written,) = self._ask(self.destination, [op])
        if written.done:
            return True
        got: Got | None
        (got,) = self._ask(self.destination, [Get(key)])
        return got is not None and got.data == data


def _numbers(names: Sequence[str]) -> set[int]:
    """What marks speak of; other keys among them mean nothing."""
    return {int(name) for name in names if name.isdecimal()}
