"""What Solace Agent Mesh has saved, on a disk or in a bucket: ``{app}/{user}/{session or "user"}/{name}/{N}``.

On a disk ``{N}.meta`` beside a version holds its MIME type; in a bucket the object has it. What a person wrote about a
version is an artifact beside it, ``{name}.metadata.json``, of the same version.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from artifactfs.importing.base import Described, Held, Kept, Place, written
from artifactfs.importing.report import ImportNote
from artifactfs.importing.source import Damaged, Entry, Source, Unreadable
from artifactfs.layout import USER_PREFIX
from artifactfs.names import USER_SCOPE

COMPANION = ".metadata.json"
NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def foreign(entry: Entry, why: str) -> ImportNote:
    """A file that is no version of anything."""
    return ImportNote(what="foreign", source=entry.name, why=why)


def lies_at(entry: Entry | None) -> tuple[str, int | None] | None:
    """Path and bytes of a file that tells of a version."""
    return None if entry is None else (entry.path, entry.size)


def not_normal(place: Place) -> bool:
    """Whether the source may have changed the name: it brings names into a normal form before it uses them."""
    return not place.name.isascii()


@dataclass(frozen=True)
class SolaceFiles:
    """As its filesystem service writes. *app* is that of trees which have no level for it."""

    app: str | None = None
    depth: int = 2
    first: int = 0

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        found: defaultdict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
        types: dict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
        for entry in entries:
            *levels, last = entry.name.split("/")
            digits = last.removesuffix(".meta")
            if len(levels) not in (3, 4) or not NUMBER.fullmatch(digits):
                yield foreign(entry, "it is no version of an artifact, nor does it tell of one")
            elif entry.info["type"] != "file":
                yield ImportNote(
                    what="foreign", source=entry.name, lost=True, why="it is a link, which is not followed"
                )
            else:
                (found if digits == last else types)[tuple(levels)][int(digits)] = entry
        for folder in sorted(found.keys() | types.keys()):
            for number in sorted(types[folder].keys() - found[folder].keys()):
                yield foreign(types[folder][number], "it tells of a version that is not there")
            if not found[folder]:
                continue
            where = "/".join(folder)
            if len(folder) == 3 and self.app is None:
                why = "there is no level for the app, which a namespace that ends in a slash leaves out: give app="
                yield ImportNote(what="no app", source=where, lost=True, why=why)
                continue
            app = self.app if len(folder) == 3 and self.app is not None else folder[0]
            user, session, name = folder[-3:]
            place = Place(app, user, None if session == USER_SCOPE else session, name)
            if not_normal(place):
                yield ImportNote(what="name", source=where, artifact=place.label, why=NORMAL)
            companions = found.get((*folder[:-1], name + COMPANION), {})
            versions = []
            for number, entry in sorted(found[folder].items()):
                told = {"meta": lies_at(types[folder].get(number)), "companion": lies_at(companions.get(number))}
                versions.append(Held(number, entry.path, entry.size, entry.at, told))
            yield Kept(place, where, tuple(versions))

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        about = Described(held.path, held.size, written(held.at))
        if held.told["meta"]:
            try:
                about.mime_type = _object(source.telling(*held.told["meta"]))["mime_type"]
            except (Damaged, KeyError) as error:
                about.notes.append(("MIME type", f"it was guessed: the file that tells it cannot be read ({error})"))
        else:
            why = "it was guessed: the file that tells it is not there, without which the source does not load the version"
            about.notes.append(("MIME type", why))
        tell(source, held, about)
        return about


@dataclass(frozen=True)
class SolaceBucket:
    """As its S3 service writes. Apps and names may hold slashes: what an object says of itself tells them apart."""

    depth: int = 2
    first: int = 0

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        found: defaultdict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
        for entry in entries:
            *levels, last = entry.name.split("/")
            if len(levels) < 4 or not NUMBER.fullmatch(last):
                yield foreign(entry, "it is no version of an artifact")
            else:
                found[tuple(levels)][int(last)] = entry
        for folder in sorted(found):
            where = "/".join(folder)
            place = _plainly(folder) if len(folder) == 4 else None
            if place is None:
                try:
                    place = _by_metadata(source, folder, next(iter(found[folder].values())))
                except Unreadable as error:
                    yield ImportNote(what="unreadable", source=where, lost=True, why=str(error))
                    continue
            if place is None:
                place = _plainly(folder)
                why = "it does not say itself which of its slashes belong to the app and which to the name: to the app, then"
                yield ImportNote(what="name", source=where, artifact=place.label, why=why)
            if not_normal(place):
                yield ImportNote(what="name", source=where, artifact=place.label, why=NORMAL)
            companions = found.get((*folder[:-1], folder[-1] + COMPANION), {})
            versions = []
            for number, entry in sorted(found[folder].items()):
                told = {"companion": lies_at(companions.get(number))}
                versions.append(Held(number, entry.path, entry.size, entry.at, told))
            yield Kept(place, where, tuple(versions))

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        about = Described(held.path, held.size, written(held.at), source.head(held.path)["type"])
        tell(source, held, about)
        return about


def _plainly(folder: tuple[str, ...]) -> Place:
    *app, user, session, name = folder
    return Place("/".join(app), user, None if session == USER_SCOPE else session, name)


def _by_metadata(source: Source, folder: tuple[str, ...], entry: Entry) -> Place | None:
    """The place of what has more slashes than it needs, if the object says whose they are."""
    told = source.head(entry.path)["metadata"]
    try:
        name, user, session = told["original_filename"], told["user_id"], told["session_id"]
    except KeyError:
        return None
    rest = list(folder)
    taken = []
    for text in (name.removeprefix(USER_PREFIX), USER_SCOPE if name.startswith(USER_PREFIX) else session, user):
        count = text.count("/") + 1
        taken.append("/".join(rest[-count:]))
        del rest[-count:]
    if not rest or (taken[1] == USER_SCOPE) != name.startswith(USER_PREFIX):
        return None
    return Place("/".join(rest), taken[2], None if taken[1] == USER_SCOPE else taken[1], taken[0])


NORMAL = "the source brings names into Unicode's form NFKC: another name may have been given"


def tell(source: Source, held: Held, about: Described) -> None:
    """Take what the companion tells for the version's metadata."""
    if held.told["companion"] is None:
        return
    try:
        about.metadata = _object(source.telling(*held.told["companion"]))
    except Damaged as error:
        about.notes.append(("metadata", f"it was stored without: what tells of it cannot be read ({error})"))


def _object(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise Damaged("it is no JSON object")
    return told
