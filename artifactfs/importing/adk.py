"""What Google's Agent Development Kit has saved: by its file service, by its services for Google Cloud Storage (Python
and Go), and by the S3 service of its community.

Only the file service has a level for the word ``apps``; the others write ``{app}/{user}/{session}/{name}/{N}``, in which
names may hold slashes.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from artifactfs.importing.base import Described, Held, Kept, Place, written
from artifactfs.importing.report import ImportNote
from artifactfs.importing.solace import NUMBER, foreign, lies_at
from artifactfs.importing.source import Damaged, Entry, Source, Unreadable, of_listing
from artifactfs.layout import USER_PREFIX
from artifactfs.mime import UNKNOWN
from artifactfs.names import USER_SCOPE

DISPLAY_NAME, IS_TEXT, FILE_URI, FILE_TYPE = "adkDisplayName", "adkIsText", "adkFileUri", "adkFileMimeType"
OLD_FILE_URI = "file_uri"
TEXT = "text/plain"
HOPS = 5
"""References that lead from one to the next, at most, as the source follows them."""

_METADATA = "metadata.json"
_FILE = re.compile(
    r"(?:apps/(?P<app>.+?)/)?users/(?P<user>.+?)/(?:sessions/(?P<session>.+?)/)?artifacts/(?P<name>.+)"
    r"/versions/(?P<number>[^/]+)/(?P<file>[^/]+)"
)
_REFERENCE = re.compile(
    r"artifact://apps/(?P<app>.+?)/users/(?P<user>.+?)/(?:sessions/(?P<session>.+?)/)?artifacts/(?P<name>.+)"
    r"/versions/(?P<number>\d+)"
)
_GONE = "an empty octet-stream stands for an artifact that was taken back: it came in as a removal"


@dataclass(frozen=True)
class AdkFiles:
    """As the file service writes: a folder a version, with the payload and what is known of it. *app* is that of trees
    which an early release wrote, and which name none.
    """

    app: str | None = None
    depth: int = 4
    first: int = 0

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        payloads: defaultdict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
        about: dict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
        for entry in entries:
            match = _FILE.fullmatch(entry.name)
            if match is None:
                yield foreign(entry, "it belongs to no version of an artifact")
                continue
            key: tuple[str, ...] = (match["app"] or "", match["user"], match["session"] or "", match["name"])
            if match["number"].startswith("."):
                yield foreign(entry, "it belongs to a save that did not end")
            elif not NUMBER.fullmatch(match["number"]):
                yield foreign(entry, "it belongs to no version of an artifact")
            elif entry.info["type"] != "file":
                yield ImportNote(
                    what="foreign", source=entry.name, lost=True, why="it is a link, which is not followed"
                )
            elif match["file"] == match["name"].rpartition("/")[2]:
                payloads[key][int(match["number"])] = entry
            elif match["file"] == _METADATA:
                about[key][int(match["number"])] = entry
            else:
                yield foreign(entry, "it is neither the payload of a version nor tells of one")
        for key in sorted(payloads.keys() | about.keys()):
            for number in sorted(about[key].keys() - payloads[key].keys()):
                yield foreign(about[key][number], "it tells of a version that is not there")
            if payloads[key]:
                yield self._kept(source, key, payloads[key], about[key])

    def _kept(
        self, source: Source, key: tuple[str, ...], payloads: Mapping[int, Entry], about: Mapping[int, Entry]
    ) -> Kept | ImportNote:
        app, user, session, name = key
        last = max(payloads)
        where = payloads[last].name.rpartition("/versions/")[0]
        if not app and self.app is None:
            why = "an early release wrote it, which did not keep the app: give app="
            return ImportNote(what="no app", source=where, lost=True, why=why)
        if last in about:  # a name may be spelled otherwise than its folder
            try:
                told = _told(source, about[last].path, about[last].size).get("fileName")
            except Unreadable as error:
                return ImportNote(what="unreadable", source=where, lost=True, why=str(error))
            name = told if told and isinstance(told, str) else name
        place = Place(app or self.app or "", user, session or None, name.removeprefix(USER_PREFIX))
        versions = [
            Held(
                number,
                entry.path,
                entry.size,
                None,
                {"about": lies_at(about.get(number)), "at": entry.at},
            )
            for number, entry in sorted(payloads.items())
        ]
        return Kept(place, where, tuple(versions))

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        told = {} if held.told["about"] is None else _told(source, *held.told["about"])
        try:
            when = datetime.fromtimestamp(told["createTime"], UTC)
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            when = written(held.told["at"])
        own = told.get("customMetadata")
        metadata = dict(own) if isinstance(own, dict) else {}
        about = Described(held.path, held.size, when, told.get("mimeType") or TEXT, metadata)
        if not told:
            about.notes.append(("metadata", "what tells of it is not there or cannot be read: it was taken for text"))
        elif not told.get("mimeType"):
            metadata[IS_TEXT] = "true"
        if told.get("displayName"):
            metadata[DISPLAY_NAME] = told["displayName"]
        elif held.size == 0 and about.mime_type == UNKNOWN:
            about.removal = True
            about.notes.append(("removal", _GONE))
        return about


@dataclass(frozen=True)
class AdkBucket:
    """As the services for Google Cloud Storage write, of which only the one in Python knows *removals*."""

    removals: bool
    first: int
    depth: int = 2

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        for where, place, found in _by_folder(entries, self._place):
            if isinstance(found, ImportNote):
                yield found
                continue
            assert place is not None
            versions = []
            for number, entry in sorted(found.items()):
                told = of_listing(entry.info)
                size = None if _uri(told["metadata"]) else entry.size
                versions.append(Held(number, entry.path, size, entry.at, told))
            yield Kept(place, where, tuple(versions))

    def _place(self, folder: Sequence[str]) -> Place:
        app, user, session, *name = folder
        text = "/".join(name)
        if session == USER_SCOPE and text.startswith(USER_PREFIX):
            return Place(app, user, None, text.removeprefix(USER_PREFIX))
        return Place(app, user, session, text)

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        path, told, hops = held.path, held.told, 0
        uri = first = _uri(told["metadata"])
        while uri is not None and uri.startswith("artifact://"):
            hops += 1
            if hops > HOPS:
                raise Damaged(f"it refers to {first!r}, from where more than {HOPS} references lead on")
            path = source.path(_target(kept.place, uri))
            if not source.holds(path):
                raise Damaged(f"it refers to {uri!r}, which is not there")
            told = source.head(path)
            uri = _uri(told["metadata"])
        own = held.told["metadata"]
        about = Described(path, held.size, written(held.at), told["type"], dict(own))
        if uri is not None:
            about.uri, about.mime_type = uri, told["metadata"].get(FILE_TYPE) or told["type"] or UNKNOWN
        elif first is not None:
            about.notes.append(("reference", f"it refers to {first!r}, and came in with the bytes that are there"))
        elif self.removals and held.size == 0 and told["type"] == UNKNOWN and not own.keys() & {DISPLAY_NAME, IS_TEXT}:
            about.removal = True
            about.notes.append(("removal", _GONE))
        return about


@dataclass(frozen=True)
class AdkCommunityBucket:
    """As the community's S3 service writes: names of the user's scope without ``user:``, metadata as JSON texts."""

    depth: int = 2
    first: int = 0

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        for where, place, found in _by_folder(entries, self._place):
            if isinstance(found, ImportNote):
                yield found
                continue
            assert place is not None
            held = [Held(number, entry.path, entry.size, entry.at) for number, entry in sorted(found.items())]
            yield Kept(place, where, tuple(held))

    def _place(self, folder: Sequence[str]) -> Place:
        app, user, session, *name = folder
        return Place(app, user, None if session == USER_SCOPE else session, "/".join(name))

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        told = source.head(held.path)
        metadata = {name: _value(text) for name, text in told["metadata"].items()}
        return Described(held.path, held.size, written(held.at), told["type"], metadata)


def _by_folder(
    entries: Sequence[Entry], place_of: Any
) -> Iterator[tuple[str, Place | None, dict[int, Entry] | ImportNote]]:
    """The versions in each folder, and what is none."""
    found: defaultdict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
    for entry in entries:
        *levels, last = entry.name.split("/")
        if len(levels) < 4 or not NUMBER.fullmatch(last):
            yield entry.name, None, foreign(entry, "it is no version of an artifact")
        else:
            found[tuple(levels)][int(last)] = entry
    for folder in sorted(found):
        yield "/".join(folder), place_of(folder), found[folder]


def _told(source: Source, path: str, size: int | None) -> dict[str, Any]:
    """What is known of a version; nothing where that is no JSON object, as the source itself has it."""
    try:
        told = json.loads(source.telling(path, size))
    except (Damaged, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _uri(metadata: Mapping[str, Any]) -> str | None:
    return metadata.get(FILE_URI) or metadata.get(OLD_FILE_URI)


def _target(place: Place, uri: str) -> str:
    """Where a reference leads, below the location; never out of the user's, nor into another session's."""
    match = _REFERENCE.fullmatch(uri)
    if match is None:
        raise Damaged(f"it refers to {uri!r}, which names no version of an artifact")
    if (match["app"], match["user"]) != (place.app, place.user) or match["session"] not in (None, place.session):
        raise Damaged(f"it refers to {uri!r}, which lies outside of its own scope, where the source does not follow")
    name, session = match["name"], match["session"]
    if session is None or name.startswith(USER_PREFIX):
        session, name = USER_SCOPE, USER_PREFIX + name.removeprefix(USER_PREFIX)
    return f"{place.app}/{place.user}/{session}/{name}/{match['number']}"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
