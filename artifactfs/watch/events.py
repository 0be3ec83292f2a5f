"""What a watch tells: an event for each version that is published, removed or deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from artifactfs.records import Blob, Pointer, Removed

Kind: TypeAlias = Literal["published", "removed", "deleted"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to one version of one artifact.

    Attributes:
        kind: ``published``: there is a new version, a blob or a pointer. ``removed``: there is a new version that takes
            the artifact out of view. ``deleted``: the version is gone for good.
        app, user, session: where; *session* is None for what a user's sessions share. What `ArtifactStore.watch` tells
            bears users as the store calls them.
        name: of the artifact, without ``user:``.
        version: its number.
        record: of a new version; None where it cannot be read or authenticated here, and for what was deleted.
        at: when, in UTC by the clock of the store; None where nothing in the store tells any more.
    """

    kind: Kind
    app: str
    user: str
    session: str | None
    name: str
    version: int
    record: Blob | Pointer | Removed | None = None
    at: datetime | None = None
