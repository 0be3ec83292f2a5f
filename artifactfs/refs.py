"""References: what an ``artifact://`` URL says, as a value, and the one spelling of it that people are shown.

`Ref.parse` and ``str`` are inverse of each other for every reference (docs/spec.md, "References"). This is the only
place where text of a URL or of a filesystem path is percent-decoded, and it happens once. Pure, no I/O.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from artifactfs.errors import InvalidName, InvalidRef
from artifactfs.names import USER_SCOPE, check

SCHEME = "artifact://"
_USER_PREFIX = "user:"

_TAG = re.compile(r"[a-z][a-z0-9-]{0,62}")
_SELECTOR = re.compile(
    r"(?P<number>-?[0-9]+)"
    r"|(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))"
    rf"|(?P<tag>{_TAG.pattern})"
)
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_GLOB = re.compile(r"[*?\[]")
_PLAIN = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_. -]*[A-Za-z0-9_-])?")
# What globbing, URL parsers and path functions would read as theirs, and what no terminal shows.
_ALWAYS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029%/\\*?\[\]#]")
# A slash that parts folders: those at an end of a name, and each that follows another, belong to the name's own text.
_BOUNDARY = re.compile(r"(?<=[^/])/(?=/*[^/])")


def is_tag(text: object) -> bool:
    """Whether *text* is a word that a tag may be: ``[a-z][a-z0-9-]{0,62}``, and not ``latest``."""
    return isinstance(text, str) and _TAG.fullmatch(text) is not None and text != "latest"


def check_tag(text: object) -> str:
    """*text*, if it may be a tag.

    Raises:
        InvalidRef: it may not.
    """
    if not is_tag(text):
        raise InvalidRef(f"{text!r:.80} is no tag: write 1 to 63 of a-z, 0-9 and -, a letter first, not 'latest'")
    return str(text)


@dataclass(frozen=True, slots=True)
class Tag:
    """A selector that is a word, as `is_tag` says."""

    name: str

    def __post_init__(self) -> None:
        check_tag(self.name)


Version: TypeAlias = int | str | datetime
"""What a store resolves: a number (negative: from the newest), ``"latest"``, a tag, or the newest not later than a time."""

Selector: TypeAlias = int | Literal["latest"] | datetime | Tag


def components(name: str) -> list[str]:
    """*name* parted into its folders and its last piece; ``"/".join`` of them is *name* again, and none is empty.

    >>> components("reports/q1.csv"), components("a//b/")
    (['reports', 'q1.csv'], ['a', '/b/'])
    """
    return _BOUNDARY.split(name)


def spell(text: str, *, in_name: bool = True) -> str:
    """One component of a path, percent-encoded where it would be misread, and only there.

    Depends on the component alone, so that what lies in a folder is spelled as the folder and then itself.
    *in_name* is False for an app, a user or a session: no selector is looked for there.

    >>> spell("q1 (final).csv"), spell("logo@2.csv"), spell("logo@2"), spell("..")
    ('q1 (final).csv', 'logo@2.csv', 'logo%402', '%2E%2E')
    """
    if _PLAIN.fullmatch(text):
        return text
    if text in {".", ".."}:
        return "%2E" * len(text)
    at = text.rfind("@") if in_name else -1
    if at >= 0 and not _SELECTOR.fullmatch(text, at + 1):
        at = -1
    last = len(text) - 1
    return "".join(
        _escape(char)
        if place == at
        or _ALWAYS.match(char)
        or (place in {0, last} and (char.isspace() or char == ":"))
        or (char == ":" and ":" in (text[place - 1], text[place + 1]))
        else char
        for place, char in enumerate(text)
    )


def spell_name(name: str) -> str:
    """An artifact's name as a path below its session.

    >>> spell_name("reports/q1.csv"), spell_name("a//b"), spell_name("100%")
    ('reports/q1.csv', 'a/%2Fb', '100%25')
    """
    return "/".join(map(spell, components(name)))


def spell_pattern(pattern: str) -> str:
    """A glob pattern over paths, its components without ``*?[`` respelled as `Ref` prints them, so that it matches.

    Without any wildcard it is given back as it is.

    >>> spell_pattern("shop/alice/s1/C#/*.csv")
    'shop/alice/s1/C%23/*.csv'

    Raises:
        InvalidRef: as `Ref.parse`, of what stands before the first component with a wildcard.
    """
    if not _GLOB.search(pattern):
        return pattern
    pieces = pattern.split("/")
    fixed = next(place for place, piece in enumerate(pieces) if _GLOB.search(piece))
    # The x makes a folder of what stands before it: "a@3" is no version there.
    head = Ref.parse("/".join([*pieces[:fixed], "x"])).path.split("/")[:-1]
    tail = [piece if _GLOB.search(piece) else spell(_decode(piece, pattern)) for piece in pieces[fixed:]]
    return "/".join(head + tail)


@dataclass(frozen=True, slots=True)
class Ref:
    """The whole tree, an app, a user, a session, or an artifact in one; with or without a selector.

    What is given stands below what is given before it; without `name` it is a folder. A name may also be that of a
    folder: text alone cannot tell. `user_scope` stands in a session's place. With `view` the selector is spelled as the
    segment after the session, and then holds for a folder as well. Equal references are those of one spelling:

    >>> Ref.parse("artifact://shop/alice/s1/report.csv@3")
    Ref(app='shop', user='alice', session='s1', name='report.csv', selector=3, view=False, user_scope=False)
    >>> str(Ref("shop", "alice", "s1", "reports/q1.csv", "latest", view=True))
    'artifact://shop/alice/s1/@latest/reports/q1.csv'

    A name that starts with ``user:`` is one of the user scope, wherever it is said. Times become UTC.

    Raises:
        InvalidName: a part is empty, too long, or holds NUL or a lone surrogate.
        InvalidRef: a part without the one above it, or a selector that is none.
    """

    app: str | None = None
    user: str | None = None
    session: str | None = None
    name: str | None = None
    selector: Selector | None = None
    view: bool = False
    user_scope: bool = False
    _path: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name is not None and self.name.startswith(_USER_PREFIX):
            object.__setattr__(self, "session", None)
            object.__setattr__(self, "user_scope", True)
            object.__setattr__(self, "name", self.name[len(_USER_PREFIX) :])
            if self.name.startswith(_USER_PREFIX):
                raise InvalidName(f"the name says {_USER_PREFIX!r} twice; once addresses the user's scope")
        if self.user_scope and self.session is not None:
            raise InvalidRef(f"the user scope and session {self.session!r:.80} cannot both be meant")
        scope = USER_SCOPE if self.user_scope else self.session
        parts = {"app": self.app, "user": self.user, "session": scope, "name": self.name}
        missing = None
        for what, text in parts.items():
            if text is None:
                missing = missing or what
            elif missing:
                raise InvalidRef(f"{what} {text!r:.80} is given without its {missing}")
            else:
                check(text, what)
        object.__setattr__(self, "selector", _checked(self.selector))
        if self.selector is None:
            if self.view:
                raise InvalidRef("a view needs a selector")
        elif self.name is None and (scope is None or not self.view):
            raise InvalidRef("a selector stands after a name, or as a segment of its own right after the session")

    @classmethod
    def parse(cls, text: str) -> Ref:
        """What *text* says: a URL with or without ``artifact://``, and without a chained root.

        Raises:
            InvalidRef: it says nothing, or could mean two things; the message says how to write either.
            InvalidName: as the constructor.
        """
        if not isinstance(text, str):
            raise InvalidRef(f"a reference must be a str, not {type(text).__name__}")
        path = text.removeprefix(SCHEME).strip("/")
        if not path:
            return cls()
        if "::" in path:
            raise InvalidRef(f"{text!r:.200} holds '::', which chains filesystems; write %3A%3A where a name holds it")
        raw = path.split("/")
        for piece in raw:
            if piece in {"", ".", ".."}:
                raise InvalidRef(
                    f"{text!r:.200} holds the component {piece!r}, which other programs resolve and a name seldom means; "
                    "write a dot of a name as %2E, and a slash beside another slash or at an end as %2F"
                )
        if len(raw) > 2 and raw[0] == "apps" and raw[2] == "users":
            return cls._parse_adk(text, raw)
        parts = [_decode(piece, text) for piece in raw]
        app, user, session = (*parts, None, None)[:3]
        user_scope = raw[2:3] == [USER_SCOPE]
        raw, parts = raw[3:], parts[3:]
        selector: Selector | None = None
        view = bool(raw) and raw[0].startswith("@") and _SELECTOR.fullmatch(raw[0], 1) is not None
        if view:
            selector = _read(raw[0][1:], text)
            raw, parts = raw[1:], parts[1:]
        if raw:
            base, at, tail = raw[-1].rpartition("@")
            if at and _SELECTOR.fullmatch(tail):
                if view:
                    raise InvalidRef(
                        f"{text!r:.200} selects a version twice; leave one out, or write %40 for the '@' of a name"
                    )
                if not base:
                    raise InvalidRef(
                        f"{text!r:.200} has a selector after no name; it belongs after a name or right after the session, "
                        "and the '@' of a name is written %40"
                    )
                selector = _read(tail, text)
                parts[-1] = _decode(base, text)
        name = "/".join(parts) if parts else None
        return cls(app, user, None if user_scope else session, name, selector, view, user_scope)

    @classmethod
    def _parse_adk(cls, text: str, raw: list[str]) -> Ref:
        inner: str | None
        match raw:
            case [_, app, _, user, "sessions", session, "artifacts", _, *_, "versions", number] if _is_count(number):
                names, inner = raw[7:-2], session
            case [_, app, _, user, "artifacts", _, *_, "versions", number] if _is_count(number):
                names, inner = raw[5:-2], None
            case _:
                raise InvalidRef(
                    f"{text!r:.200} starts as apps/…/users/… and does not go on as "
                    "/sessions/…/artifacts/…/versions/<number> or /artifacts/…/versions/<number>; "
                    "for an app that is called 'apps' write %61pps"
                )
        return cls(
            _decode(app, text),
            _decode(user, text),
            None if inner is None else _decode(inner, text),
            "/".join(_decode(piece, text) for piece in names),
            int(number),
            user_scope=inner is None,
        )

    @property
    def path(self) -> str:
        """The reference without ``artifact://``: the path that a filesystem takes and returns."""
        if not self._path:
            object.__setattr__(self, "_path", self._spelled())
        return self._path

    def _spelled(self) -> str:
        pieces = [spell(text, in_name=False) for text in (self.app, self.user) if text is not None]
        if self.user_scope:
            pieces.append(USER_SCOPE)
        elif self.session is not None:
            word = self.session == USER_SCOPE or (self.app == "apps" and self.session == "users")
            pieces.append(f"%75{self.session[1:]}" if word else spell(self.session, in_name=False))
        if self.view:
            pieces.append(f"@{_print(self.selector)}")
        if self.name is not None:
            suffix = "" if self.view or self.selector is None else f"@{_print(self.selector)}"
            pieces.append(spell_name(self.name) + suffix)
        return "/".join(pieces)

    def __str__(self) -> str:
        return SCHEME + self.path

    @property
    def version(self) -> Version | None:
        """The selector as a store takes it; None where there is none."""
        return self.selector.name if isinstance(self.selector, Tag) else self.selector

    @property
    def meant(self) -> str:
        """How the name is written that was perhaps meant where a tag is read; empty where none can be."""
        if not isinstance(self.selector, Tag) or self.name is None:
            return ""
        name = f"@{self.selector.name}/{self.name}" if self.view else f"{self.name}@{self.selector.name}"
        with contextlib.suppress(InvalidName):  # too long to be a name, so it was not meant
            said = Ref(self.app, self.user, self.session, name, user_scope=self.user_scope)
            return f"for the artifact that is called {name!r:.200} write {said}"
        return ""


def _is_count(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and not text.startswith("-")


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def _decode(piece: str, text: str) -> str:
    if "%" not in piece:
        return piece
    if _MALFORMED_ESCAPE.search(piece):
        raise InvalidRef(f"{text!r:.200} holds a '%' that two hex digits do not follow; write %25 for the character")
    try:
        return unquote_to_bytes(piece).decode()
    except UnicodeError as error:
        raise InvalidRef(f"{text!r:.200} does not percent-decode to UTF-8; write %25 for a '%'") from error


def _read(selector: str, text: str) -> Selector:
    """The value of what `_SELECTOR` matches."""
    match = _SELECTOR.fullmatch(selector)
    if match is not None and match["number"]:
        if _NUMBER.fullmatch(selector):
            return int(selector)
    elif match is not None and match["time"]:
        try:
            return datetime.fromisoformat(selector.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    elif match is not None:
        return "latest" if selector == "latest" else Tag(selector)
    raise InvalidRef(
        f"'@{selector:.80}' in {text!r:.200} is no version: write a plain number, 'latest' or an RFC 3339 time, "
        "or %40 for the '@' of a name"
    )


def _checked(selector: Selector | None) -> Selector | None:
    match selector:
        case None | Tag() | "latest":
            return selector
        case bool():
            pass
        case int():
            if abs(selector) < 10**19:
                return selector
        case datetime():
            if selector.tzinfo is None:
                raise InvalidRef(f"the time {selector} has no offset; say which zone it is in")
            try:
                return selector.astimezone(UTC)
            except OverflowError:
                pass
    raise InvalidRef(f"{selector!r:.80} is no selector: give a number, 'latest', a datetime or a Tag")


def _print(selector: Selector | None) -> str:
    match selector:
        case Tag():
            return selector.name
        case datetime():
            return selector.replace(tzinfo=None).isoformat() + "Z"
    return str(selector)
