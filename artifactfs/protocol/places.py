"""What the keys of a listing of all that lies in a store are: of which artifact, and which of its numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from artifactfs.custody import Custody
from artifactfs.layout import HIDDEN, ArtifactId, ScopeId, parse_entry
from artifactfs.names import USER_SCOPE, decode, is_segment

Kind: TypeAlias = Literal["payload", "record", "hint", "mark"]


class Place(NamedTuple):
    """Where a key belongs."""

    artifact: ArtifactId
    kind: Kind
    number: int


class Places:
    """Tells of each key where it belongs. Keys of one artifact come one after the other, so the last one is kept."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._last: tuple[list[str], ArtifactId | None] = ([], None)

    def of(self, key: str) -> Place | None:
        """None for what belongs to no artifact, or is spelled as no name is: another program's, or the store's own."""
        *folders, entry = key.split("/")
        if len(folders) == 5 and folders[3] == HIDDEN:
            artifact = self._artifact([*folders[:3], folders[4]])
            mark = parse_entry(entry)
            if artifact is None or mark is None or mark[0] != "payload":
                return None
            return Place(artifact, "mark", mark[1])
        found = parse_entry(entry) if len(folders) == 4 else None
        artifact = self._artifact(folders) if found is not None else None
        match found:
            case (("payload" | "record" | "hint") as kind, number) if artifact is not None:
                return Place(artifact, kind, number)
        return None

    def _artifact(self, folders: list[str]) -> ArtifactId | None:
        last, artifact = self._last
        if folders != last:
            artifact = self._read(*folders)
            self._last = folders, artifact
        return artifact

    def _read(self, app: str, user: str, session: str, name: str) -> ArtifactId | None:
        shared = session == USER_SCOPE
        whats = (app, "app"), (user, "user"), (session, "session"), (name, "name")
        if not all(is_segment(segment, what) for segment, what in whats if not (shared and what == "session")):
            return None
        inner = None if shared else decode(session, "session")
        scope = ScopeId(decode(app, "app"), decode(user, "user"), inner, self._custody, as_stored=True)
        return ArtifactId(scope, decode(name))
