"""What a listing of a whole store shows: each payload with its record, and each tag, whatever lies around them."""

from __future__ import annotations

from typing import NamedTuple

from artifactfs.backends.base import Page
from artifactfs.custody import Custody
from artifactfs.layout import STORE_FOLDER, TAGS, USER_PREFIX, ArtifactId, ScopeId, parse_entry
from artifactfs.names import USER_SCOPE, decode, is_segment, spell
from artifactfs.protocol.ops import List, Steps
from artifactfs.refs import is_tag

_SHARED_NAME = spell(USER_PREFIX)


class Seen(NamedTuple):
    """A payload, or a tag, in *folder* (from the root, with its ``/``), and what a listing tells of it and its record.

    Sizes in bytes, times in seconds by the store's clock; -1 where there is no record.
    """

    folder: str
    entry: str
    size: int
    modified: float
    record_size: int = -1
    record_modified: float = -1.0

    @property
    def is_tag(self) -> bool:
        return self.folder.count("/") == 5


class Walk:
    """A listing of all keys below *folder*, page by page; `ended` once it is through."""

    def __init__(self, folder: str = "") -> None:
        self._root = folder
        self._after: str | None = ""
        self._folder, self._holds = "", ""
        self._last: Seen | None = None

    @property
    def ended(self) -> bool:
        return self._after is None

    def page(self) -> Steps[list[Seen]]:
        """What one more page shows, in the order of keys. The last payload waits for its record."""
        assert self._after is not None
        page: Page
        (page,) = yield (List(self._root, self._after, deep=True),)
        found: list[Seen] = []
        for name, size, modified in page.entries:
            folder, _, entry = f"{self._root}{name}".rpartition("/")
            if folder != self._folder:
                self._folder, self._holds = folder, _holds(folder)
            if self._holds == "tags" and is_tag(entry):
                found.append(Seen(f"{folder}/", entry, size, modified))
            elif self._holds == "versions":
                match parse_entry(entry):
                    case ("payload", _):
                        if self._last is not None:
                            found.append(self._last)
                        self._last = Seen(f"{folder}/", entry, size, modified)
                    case ("record", number) if self._last is not None:
                        if self._last.entry == str(number) and self._last.folder == f"{folder}/":
                            found.append(self._last._replace(record_size=size, record_modified=modified))
                            self._last = None
        self._after = page.next
        if self._after is None and self._last is not None:
            found.append(self._last)
        return found


def _holds(folder: str) -> str:
    """What an entry of *folder* may be: one of the ``versions`` of an artifact, one of its ``tags``, or nothing of these."""
    parts = folder.split("/")
    if folder.startswith(STORE_FOLDER) or not 4 <= len(parts) <= 5:
        return ""
    if parts[2] != USER_SCOPE and parts[-1].startswith(_SHARED_NAME):
        return ""
    if len(parts) == 5:
        return "tags" if parts[3] == TAGS and is_segment(parts[4]) else ""
    return "" if parts[3].startswith("@") else "versions"


class Places:
    """The artifacts that folders are of. Neighbours have their scope in common."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._scope: tuple[str, ScopeId] | None = None

    def artifact(self, folder: str) -> ArtifactId:
        """The artifact that lies in *folder*, or whose tags do.

        Raises:
            IntegrityError: a segment is not how any name is spelled; another program wrote there.
        """
        path, _, segment = folder[:-1].rpartition("/")
        path = path.removesuffix(f"/{TAGS}")
        if self._scope is None or self._scope[0] != path:
            app, user, session = path.split("/")
            inner = None if session == USER_SCOPE else decode(session, "session", f"{app}/{user}/")
            place = decode(app, "app"), decode(user, "user", f"{app}/"), inner
            self._scope = path, ScopeId(*place, self._custody, as_stored=True)
        return ArtifactId(self._scope[1], decode(segment, "name", f"{path}/"))
