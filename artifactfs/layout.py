"""Where things are stored: from an identity to keys and back (docs/spec.md, "Layout"). Pure, no I/O."""

from __future__ import annotations

from functools import cached_property

from artifactfs.custody import NONE, Custody
from artifactfs.errors import InvalidName
from artifactfs.keys.base import Identity
from artifactfs.names import USER_SCOPE, check, encode, spell

STORE_FOLDER = "@store/"
"""What the store knows of itself; beside the apps."""

RECORD = ".metadata"
HIDDEN = "@hidden"
TAGS = "@tags"
HINT_EVERY = 100
"""Every so many versions a hint is written, and a tombstone with a number divisible by it outlives `compact`, so that
between a hint and the newest number, and between any two keys below it, there is never a longer gap."""

USER_PREFIX = "user:"
"""A name that starts so addresses the user scope from every session."""


class ScopeId:
    """A session of a user of an app, or with ``session=None`` what all that user's sessions share.

    *custody* says what protects what lies there. `stored_user` is what the store calls the user; *as_stored*: so does the
    caller.

    >>> ScopeId("shop", "alice", "s1").folder, ScopeId("shop", "alice", None).folder
    ('shop/alice/s1/', 'shop/alice/user/')
    """

    def __init__(
        self, app: str, user: str, session: str | None, custody: Custody = NONE, *, as_stored: bool = False
    ) -> None:
        self.app, self.user, self.custody = check(app, "app"), check(user, "user"), custody
        self.stored_user = user if as_stored else custody.user(app, user)
        self.session = None if session is None else check(session, "session")
        inner = USER_SCOPE if session is None else encode(session, "session")
        self.folder = f"{encode(app, 'app')}/{encode(self.stored_user, 'user')}/{inner}/"
        self.label = f"{app}/{user}/{USER_SCOPE if session is None else session}"
        self.hidden_folder = f"{self.folder}{HIDDEN}/"
        self.tags_folder = f"{self.folder}{TAGS}/"

    @property
    def user_scope(self) -> ScopeId:
        """The scope that this one's ``user:`` names lie in."""
        if self.session is None:
            return self
        return ScopeId(self.app, self.user, None, self.custody, as_stored=self.stored_user == self.user)

    def artifact(self, name: str) -> ArtifactId:
        """The artifact that *name* addresses from here, in the user's scope where it starts with ``user:``."""
        if isinstance(name, str) and name.startswith(USER_PREFIX):
            inner = name[len(USER_PREFIX) :]
            if inner.startswith(USER_PREFIX):
                raise InvalidName(f"name {name[:80]!r} says {USER_PREFIX!r} twice; once addresses the user's scope")
            return ArtifactId(self.user_scope, inner)
        return ArtifactId(self, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScopeId) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def __repr__(self) -> str:
        return f"ScopeId({self.app!r}, {self.user!r}, {self.session!r})"


class ArtifactId:
    """An artifact, and the keys of all that belongs to it.

    >>> report = ScopeId("shop", "alice", "s1").artifact("report.csv")
    >>> report.payload(3), report.record(3)
    ('shop/alice/s1/report.csv/3', 'shop/alice/s1/report.csv/3.metadata')
    """

    def __init__(self, scope: ScopeId, name: str) -> None:
        self.scope, self.name = scope, check(name)
        self.segment = spell(self.name)
        self.folder = f"{scope.folder}{self.segment}/"

    @cached_property
    def label(self) -> str:
        """``app/user/session/name`` as a person reads it."""
        return f"{self.scope.label}/{self.name}"

    @property
    def custody(self) -> Custody:
        return self.scope.custody

    def identity(self, write_id: str) -> Identity:
        """What the keys of one save of this artifact are bound to."""
        return Identity(self.scope.app, self.scope.stored_user, self.scope.session or "", self.name, write_id)

    def payload(self, number: int) -> str:
        return f"{self.folder}{number}"

    def record(self, number: int) -> str:
        return f"{self.folder}{number}{RECORD}"

    def hint(self, number: int) -> str:
        return f"{self.folder}!{number}"

    def mark(self, number: int) -> str:
        return f"{self.hidden_folder}{number}"

    def tag(self, tag: str) -> str:
        return f"{self.tags_folder}{tag}"

    @property
    def hidden_folder(self) -> str:
        return f"{self.scope.hidden_folder}{self.segment}/"

    @property
    def tags_folder(self) -> str:
        return f"{self.scope.tags_folder}{self.segment}/"

    @property
    def longest_key(self) -> str:
        """A key at least as long as any that this artifact will need."""
        return self.record(10**9)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArtifactId) and self.folder == other.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    def __repr__(self) -> str:
        return f"ArtifactId({self.label!r})"


def parse_entry(name: str) -> tuple[str, int] | None:
    """What a key in an artifact's folder is: ``("payload" | "record" | "hint", number)``, or None for anything else."""
    if name.endswith(RECORD):
        kind, number = "record", name[: -len(RECORD)]
    elif name.startswith("!"):
        kind, number = "hint", name[1:]
    else:
        kind, number = "payload", name
    if not (number.isdecimal() and number.isascii()) or len(number) > 19 or (number[0] == "0" and number != "0"):
        return None
    return kind, int(number)
