"""The page that a backend gives which sees a whole folder at once and is asked for its newest numbers."""

from __future__ import annotations

from collections.abc import Callable

from artifactfs.backends.base import Entry, Page
from artifactfs.layout import RECORD

ENOUGH = 4
"""Payloads on such a page: mostly the first is the newest version, and few above it were taken away."""

MOST = 100
"""Numbers that are looked at; where so many claims lie above the newest payload, a whole listing tells sooner."""


def newest_page(top: int, entry: Callable[[str], Entry | None], enough: int = ENOUGH) -> Page | None:
    """The keys from *top*, which no number in the folder is above, down to the fourth payload below (*enough* of them).

    *entry* gives the entry of a name if it is there. None where the hundred highest numbers hold no payload.
    """
    entries: list[Entry] = []
    payloads = 0
    number = top + 1
    while number > 0 and payloads < enough and number > top + 1 - MOST:
        number -= 1
        name = str(number)
        record = entry(name + RECORD)
        if record is not None:
            entries.append(record)
        payload = entry(name)
        if payload is not None:
            entries.append(payload)
            payloads += 1
    if number > 0 and not payloads:
        return None
    return Page(tuple(entries), (), None, number)
