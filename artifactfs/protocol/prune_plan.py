"""What a prune would delete of an artifact: from a listing where that tells enough, else from its records and tags.

Nothing is read where sizes and times in a listing show already that all versions are kept. Where something may go, those
that take a place among the last are read, too: a damaged version must not displace a good one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from artifactfs.backends.base import Entry, Page
from artifactfs.errors import IntegrityError, KeyUnavailable, UnsupportedFormat
from artifactfs.layout import ArtifactId, parse_entry
from artifactfs.protocol.listing import View
from artifactfs.protocol.ops import List, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, Gone, confirm, surely_a_version
from artifactfs.protocol.sealing import authenticated
from artifactfs.protocol.tags import UNREADABLE, tags_of
from artifactfs.records import FENCE_SIZE, Removed, fits_size
from artifactfs.retention import Candidate, RetentionRule, decide

_Looked: TypeAlias = "tuple[Candidate, Found] | Gone"


class Listed(View):
    """All keys of an artifact. `stored` maps a number to the store's time of its payload, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[int, float] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        super().add(entries)
        for name, _, modified in entries:
            match parse_entry(name):
                case ("payload", number):
                    self.stored[number] = modified

    def at(self, number: int) -> datetime:
        return datetime.fromtimestamp(self.stored[number], UTC)

    def latest(self, number: int) -> datetime:
        """The store's newer time of payload and record: what was stamped before was stamped by then."""
        _, modified = self.records.get(number, (0, 0.0))
        return datetime.fromtimestamp(max(self.stored[number], modified), UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy makes of an artifact.

    `kept` says what keeps each of its versions, `held` which of them could not be judged, and `going` are those that nothing
    keeps, the oldest first. Of `left` only the payloads are there: their deletes were cut off. `may_come_back`: a version
    that comes could keep some of those that go, for they are going because the artifact was removed.
    """

    listed: Listed
    kept: dict[int, tuple[str, ...]]
    held: frozenset[int] = frozenset()
    going: tuple[Found, ...] = ()
    left: tuple[int, ...] = ()
    may_come_back: bool = False

    def for_those_in(self, numbers: Container[int]) -> Plan:
        """Without deleting any but *numbers*, nor a removal that has another version below it then."""
        ours = [found for found in self.going if found.number in numbers]
        lowest = min(self.kept.keys() - {found.number for found in ours}, default=None)
        going = (
            found for found in ours if lowest is None or found.number < lowest or not isinstance(found.record, Removed)
        )
        return replace(self, going=tuple(going))


def make_plan(artifact: ArtifactId, rule: RetentionRule, now: datetime, listed: Listed) -> Steps[Plan]:
    """Decide on all versions that *listed* shows. Nothing is read where that shows already that all are kept."""
    numbers = sorted(listed.payloads)
    expiring = _may_expire(rule, now, listed)
    doubtful = _doubtful(artifact, rule, now, listed, numbers, expiring)
    if not doubtful:
        there = [number for number in numbers if _is_listed_as_version(artifact, listed, number)]
        candidates = [Candidate(number, listed.at(number), None, not listed.payloads[number]) for number in there]
        return Plan(listed, decide(rule, candidates, now))
    counted = numbers[-max(rule.keep_last or 0, rule.keep_newest) or len(numbers) :]
    some = {*doubtful, *counted, *(number for number in numbers if not surely_a_version(artifact, listed, number))}
    seen = yield from _look_at(artifact, rule, listed, numbers if rule.thins or expiring else sorted(some))
    if not all(_counts(seen.get(number)) for number in counted):
        seen |= yield from _look_at(artifact, rule, listed, [number for number in numbers if number not in seen])
    read: dict[int, tuple[Candidate, Found | None]] = {
        number: (Candidate(number, listed.at(number)), None) for number in numbers if number not in seen
    }
    read |= {number: one for number, one in seen.items() if isinstance(one, tuple)}
    left = tuple(number for number, one in seen.items() if one == "deleted")
    if expiring and _may_be_saved_to(artifact, listed):
        rule = msgspec.structs.replace(rule, expire_removed=None)
    candidates = [read[number][0] for number in sorted(read)]
    kept = decide(rule, candidates, now)
    held = {one.number for one in candidates if one.held}
    if not all(kept.values()):
        tags = yield from tags_by_number(artifact)
        if isinstance(tags, str):
            held |= {number for number, reasons in kept.items() if not reasons}
            kept = {number: reasons or (tags,) for number, reasons in kept.items()}
        else:
            candidates = [one._replace(tags=tags.get(one.number, ())) for one in candidates]
            kept = decide(rule, candidates, now)
    claims = [
        number for number in listed.records.keys() - listed.payloads.keys() if _is_claim(artifact, listed, number)
    ]
    if claims:
        below = ("a save below it may be under way",)
        lowest = min(claims)
        kept |= {
            one.number: below for one in candidates if one.removal and one.number > lowest and not kept[one.number]
        }
    going = [read[number][1] for number, reasons in kept.items() if not reasons]
    comes_back = expiring and any(one.removal for one in candidates)
    return Plan(listed, kept, frozenset(held), tuple(one for one in going if one is not None), left, comes_back)


def _may_expire(rule: RetentionRule, now: datetime, listed: Listed) -> bool:
    """Whether the sizes and times in a listing allow that the artifact was removed so long ago that it goes as a whole."""
    span = rule.expire_removed
    return span is not None and any(
        not size and now - listed.at(number) > span for number, size in listed.payloads.items()
    )


def _doubtful(
    artifact: ArtifactId, rule: RetentionRule, now: datetime, listed: Listed, numbers: list[int], expiring: bool
) -> list[int]:
    """Those of *numbers* that a listing alone does not show to be kept, should they be versions.

    Whatever is none only makes more be kept, and so does a removal, but for one with nothing below it.
    """
    if not numbers or (expiring and not listed.payloads[numbers[-1]]):
        return numbers
    top, kept = numbers[-1], set(numbers if rule.keep_all else ())
    if rule.keep_last is not None:
        kept |= {*numbers[-rule.keep_last :]}
    if rule.keep_within is not None:
        kept |= {number for number in numbers if listed.at(number) >= now - rule.keep_within}
    if rule.keep_newest and listed.payloads[top]:
        kept.add(top)
    if not listed.payloads[numbers[0]] and not rule.keep_all:
        kept.discard(numbers[0])
    return [number for number in numbers if number not in kept or _is_left(artifact, listed, number)]


def _is_left(artifact: ArtifactId, listed: Listed, number: int) -> bool:
    """Whether sizes tell that what is there was deleted, but for its payload."""
    return listed.payloads[number] != FENCE_SIZE and not _is_listed_as_version(artifact, listed, number)


def _is_listed_as_version(artifact: ArtifactId, listed: Listed, number: int) -> bool:
    """Whether sizes allow that a number is a version: a record as short as a tombstone's can only be a removal's."""
    if not listed.payloads[number] or number not in listed.records:
        return True
    return not artifact.custody.may_be_tombstone(artifact, number, listed.records[number][0])


def _may_be_saved_to(artifact: ArtifactId, listed: Listed) -> bool:
    """Whether there is a claim above all versions: a save that is under way, or was, before its saver crashed."""
    newest = max(listed.payloads)
    return any(number > newest and _is_claim(artifact, listed, number) for number in listed.records)


def _is_claim(artifact: ArtifactId, listed: Listed, number: int) -> bool:
    """Whether the size of a record that has no payload allows more than a tombstone, or the claim of a removal."""
    return not artifact.custody.may_be_tombstone(artifact, number, listed.records[number][0])


def _look_at(
    artifact: ArtifactId, rule: RetentionRule, listed: Listed, numbers: Sequence[int]
) -> Steps[dict[int, _Looked]]:
    """`_look` at each of *numbers*, some at a time."""
    seen: dict[int, _Looked] = {}
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        found = yield from together(*(_look(artifact, rule, listed, number) for number in some))
        seen |= zip(some, found, strict=True)
    return seen


def _counts(looked: _Looked | None) -> bool:
    """Whether it is a version that takes a place among the last, and not damaged."""
    return isinstance(looked, tuple) and not looked[0].held and not looked[0].removal


def _look(artifact: ArtifactId, rule: RetentionRule, listed: Listed, number: int) -> Steps[_Looked]:
    """What is to be known of a version that was listed; or why it is none.

    Where its key is not to be had, the listing tells when it came, and its record whether it is a removal: who could forge
    that could as well delete it. When it was saved is not believed then.
    """
    found = yield from confirm(artifact, number, listed.payloads[number])
    if not isinstance(found, Found):
        return found
    candidate = Candidate(number, listed.at(number), removal=isinstance(found.record, Removed))
    if not found.raw:
        if artifact.custody.takes_plain:
            return candidate._replace(time=candidate.stored), found
        return candidate._replace(held="nothing authenticates it, for it has no record"), found
    try:
        record, _ = yield from authenticated(artifact, number, found.raw)
    except KeyUnavailable as error:
        if rule.thins and not candidate.removal:
            key_id = error.__dict__.get("key_id")
            candidate = candidate._replace(held=f"when it was saved cannot be told without the key {key_id!r}")
        return candidate, found
    except (IntegrityError, UnsupportedFormat) as error:
        return candidate._replace(held=f"damaged, or of a later release: {error}"), found
    if not fits_size(record, listed.payloads[number]):
        return candidate._replace(held="damaged: its payload does not match its record"), found
    return candidate._replace(time=min(record.timestamp, listed.latest(number))), found


def tags_by_number(artifact: ArtifactId) -> Steps[dict[int, tuple[str, ...]] | str]:
    """The tags of each version that has any; or why they cannot be told."""
    found: dict[int, tuple[str, ...]] = {}
    try:
        tags = yield from tags_of(artifact)
    except UNREADABLE as error:
        return f"a tag might name it: {error}"
    for tag, number in tags.items():
        found[number] = (*found.get(number, ()), tag)
    return found


def list_all(artifact: ArtifactId) -> Steps[Listed]:
    listed = Listed()
    after: str | None = ""
    while after is not None:
        page: Page
        (page,) = yield (List(artifact.folder, after),)
        listed.add(page.entries)
        after = page.next
    return listed
