"""What a listing of an artifact's folder shows, and how to find the newest number without listing them all.

Keys sort as text (``10`` before ``9``) and a listing gives a thousand a page. Four facts make the top cheap to find:
every number was claimed after the one below it; `compact` leaves a key at every hundredth number; powers of ten sort
first, so the first page tells how many digits the newest number has; and now and then a saver writes an empty key ``!N``,
which sorts before all and says that N or more is the newest (docs/spec.md, "Newest").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from artifactfs.backends.base import Entry, Page
from artifactfs.layout import HINT_EVERY, ArtifactId, parse_entry
from artifactfs.protocol.ops import List, Steps


@dataclass(slots=True)
class View:
    """Keys of an artifact's folder: all with a number of `floor` or above, perhaps some below.

    `payloads` maps a number to the payload's size in bytes, `records` to the record's size and store time. `hints` are
    the numbers of hint keys; `unhinted` says that the newest had to be searched, for want of a hint.
    """

    payloads: dict[int, int] = field(default_factory=dict)
    records: dict[int, tuple[int, float]] = field(default_factory=dict)
    hints: set[int] = field(default_factory=set)
    floor: int = 0
    newest_time: float = 0.0
    unhinted: bool = False

    def add(self, entries: Iterable[Entry]) -> None:
        newest = self.newest_time
        for name, size, modified in entries:
            found = parse_entry(name)
            if found is None:
                continue
            kind, number = found
            if kind == "payload":
                self.payloads[number] = size
            elif kind == "record":
                self.records[number] = (size, modified)
            else:
                self.hints.add(number)
                continue
            if modified > newest:
                newest = modified
        self.newest_time = newest

    def powers(self) -> set[int]:
        """The powers of ten that have a key."""
        return {number for number in self.records.keys() | self.payloads.keys() if str(number).strip("0") == "1"}

    @property
    def top(self) -> int:
        """The highest number that has a key; -1 where none has."""
        return max(max(self.payloads, default=-1), max(self.records, default=-1))

    def same_keys(self, other: View) -> bool:
        return self.payloads.keys() == other.payloads.keys() and self.records.keys() == other.records.keys()


def look(artifact: ArtifactId, *, newest: bool = True) -> Steps[View]:
    """A fresh view of the artifact from some number up to its newest: one listing to about 400 versions, else two.

    With *newest* one at any number where the store below tells its newest numbers, of which there are a few then; without
    it all are in the view where it takes one listing.
    """
    page: Page
    (page,) = yield (List(artifact.folder, newest=newest),)
    view = View(floor=page.floor)
    view.add(page.entries)
    if page.next is None:
        return view
    start: int | None
    if view.hints:
        start = max(view.hints | view.powers())
    else:
        start = yield from _search(artifact, max(view.top, 0))
        view.unhinted = True
    while start is not None:
        tail = View(floor=start, hints=view.hints, unhinted=view.unhinted)
        start = yield from _climb(artifact, tail)
        view = tail
    return view


def look_all(artifact: ArtifactId) -> Steps[View]:
    """A view of every key of the artifact."""
    view = View()
    after: str | None = ""
    while after is not None:
        (page,) = yield (List(artifact.folder, after),)
        view.add(page.entries)
        after = page.next
    return view


def _climb(artifact: ArtifactId, view: View) -> Steps[int | None]:
    """Fill *view* with all numbers of as many digits as its floor has, from there on.

    A power of ten from which to climb again is returned where numbers of more digits are there. The first page has shown
    none, so one can have come since only if all nines are taken by now; then a listing from the power on can tell.
    """
    digits = len(str(view.floor))
    after: str | None = _just_before(view.floor)
    while after is not None:
        page: Page
        (page,) = yield (List(artifact.folder, after),)
        view.add(page.entries)
        if len(str(view.top)) > digits:
            return _power(len(str(view.top)) - 1)
        stone = _next_stone(max(view.top, view.floor))
        if len(str(stone)) == digits and page.next is not None and _passed(page.next, stone):
            return None
        after = page.next
    power = _power(digits)
    if max(view.top, view.floor) < power - 1:
        return None
    (page,) = yield (List(artifact.folder, _just_before(power), limit=1),)
    beyond = View()
    beyond.add(page.entries)
    return power if beyond.top >= power else None


def _search(artifact: ArtifactId, known: int) -> Steps[int]:
    """A number at most a hundred below the newest, found by looking at hundredth numbers alone."""
    low, step = known // HINT_EVERY, 1
    while (yield from _is_there(artifact, (low + step) * HINT_EVERY)):
        low, step = low + step, step * 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if (yield from _is_there(artifact, middle * HINT_EVERY)):
            low = middle
        else:
            high = middle
    return low * HINT_EVERY


def _is_there(artifact: ArtifactId, number: int) -> Steps[bool]:
    page: Page
    (page,) = yield (List(artifact.folder, _just_before(number), limit=1),)
    return any((parse_entry(entry.name) or ("", -1))[1] == number for entry in page.entries)


def _power(digits: int) -> int:
    """The smallest number of more than so many digits."""
    return int("1" + "0" * digits)


def _next_stone(number: int) -> int:
    return (number // HINT_EVERY + 1) * HINT_EVERY


def _just_before(number: int) -> str:
    """A text that sorts before the payload of *number*, and after every other number's keys that sort before it.

    Its last digit is lowered by one and followed by a character above all that keys hold; or, where it is 0, the text
    without it is followed by a character between ``.`` and the digits.
    """
    text = str(number)
    last = text[-1]
    return text[:-1] + "/" if last == "0" else text[:-1] + chr(ord(last) - 1) + "~"


def _passed(position: str, number: int) -> bool:
    """Whether a listing that goes on after *position* can no longer bring a key of *number*."""
    return position >= f"{number}.metadata"
