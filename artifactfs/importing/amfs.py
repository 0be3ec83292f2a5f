"""What the Agent Memory File System has written: ``{namespace}/{entity path}/{key}/v001_current.json``.

A version that was followed by another ends in ``_superseded``. What comes in is the whole entry, as the JSON that it is:
the namespace is the app, the entity's path the user, and the key a name in that user's scope.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from artifactfs.importing.base import Described, Held, Kept, Place, written
from artifactfs.importing.report import ImportNote
from artifactfs.importing.solace import foreign
from artifactfs.importing.source import Damaged, Entry, Source, Unreadable

JSON = "application/json"
_VERSION = re.compile(r"v([0-9]{3,18})_(current|superseded)\.json")
_NOT_METADATA = frozenset({"value", "embedding"})
"""Fields of any size, which are in the payload."""


@dataclass(frozen=True)
class AmfsEntries:
    depth: int = 1
    first: int = 1

    def sort(self, source: Source, entries: Sequence[Entry]) -> Iterator[Kept | ImportNote]:
        found: defaultdict[tuple[str, ...], dict[int, Entry]] = defaultdict(dict)
        for entry in sorted(entries):  # "current" sorts first
            *levels, last = entry.name.split("/")
            match = _VERSION.fullmatch(last)
            if len(levels) < 3 or match is None or entry.info["type"] != "file":
                yield foreign(entry, "it is no version of an entry")
            elif int(match[1]) in found[tuple(levels)]:
                yield foreign(entry, "the same version is there as the current one, too, which was taken")
            else:
                found[tuple(levels)][int(match[1])] = entry
        for folder in sorted(found):
            namespace, *path, key = folder
            entity = "/".join(path)
            newest = found[folder][max(found[folder])]
            try:  # a slash may belong to the entity's path or to the key
                told = _entry(source.telling(newest.path, newest.size))
                owner, name = told.get("entity_path"), told.get("key")
                if isinstance(owner, str) and isinstance(name, str) and f"{owner}/{name}" == f"{entity}/{key}":
                    entity, key = owner, name
            except Damaged:
                pass
            except Unreadable as error:
                yield ImportNote(what="unreadable", source="/".join(folder), lost=True, why=str(error))
                continue
            versions = [
                Held(number, entry.path, entry.size, None, {"at": entry.at})
                for number, entry in sorted(found[folder].items())
            ]
            yield Kept(Place(namespace, entity, None, key), "/".join(folder), tuple(versions))

    def describe(self, source: Source, kept: Kept, held: Held) -> Described:
        try:
            told = _entry(source.telling(held.path, held.size))
        except Damaged as error:
            why = f"{error}: its bytes came in as they are"
            return Described(held.path, held.size, written(held.told["at"]), JSON, notes=[("metadata", why)])
        try:
            at = datetime.fromisoformat(told["provenance"]["written_at"])
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (KeyError, TypeError, ValueError, OverflowError):
            at = written(held.told["at"])
        metadata = {name: value for name, value in told.items() if name not in _NOT_METADATA}
        about = Described(held.path, held.size, at, JSON, metadata)
        if (told.get("entity_path"), told.get("key")) != (kept.place.user, kept.place.name):
            why = f"it calls itself {told.get('key')!r} of {told.get('entity_path')!r}, and lies among the versions of this"
            about.notes.append(("name", why))
        return about


def _entry(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON ({error})") from error
    if not isinstance(told, dict):
        raise Damaged("it is no JSON object")
    return told
