"""``ls`` and ``tree``: what lies in a store, an app, a user, a session or a folder of names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import plain, record_json, record_row, say, say_array, say_table
from artifactfs.errors import ArtifactNotFound, InvalidRef

if TYPE_CHECKING:
    from artifactfs.records import Blob, Pointer
    from artifactfs.refs import Ref
    from artifactfs.store import Scope


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder of some *kind* or an artifact; *name* is what a person appends to what was listed."""

    kind: str
    name: str
    ref: Ref
    record: Blob | Pointer | None = None

    @property
    def shown(self) -> str:
        return self.name if self.kind == "artifact" else f"{self.name}/"

    def json(self) -> dict[str, Any]:
        if self.record is None:
            return {"type": self.kind, "name": self.name, "ref": str(self.ref)}
        return {"type": self.kind, "name": self.name, **record_json(self.record, self.ref)}


@command("ls")
@click.argument("ref", type=REF, default="")
@click.option("-l", "--long", is_flag=True, help="With version, time, size and type of each artifact.")
@click.option("-R", "--recursive", is_flag=True, help="All artifacts below, instead of what lies directly there.")
def ls(invocation: Invocation, ref: str, long: bool, recursive: bool) -> None:
    """List what lies in a store, a scope or a folder."""
    where = invocation.ref(ref)
    records = long or invocation.json
    found = (all_below if recursive else directly_in)(invocation, where, records=records)
    if invocation.json:
        say_array(entry.json() for entry in found)
    elif long:
        say_table((_row(entry) for entry in found), right=(0, 2))
    else:
        for entry in found:
            say(click.style(plain(entry.shown), bold=True) if entry.kind != "artifact" else plain(entry.shown))


def _row(entry: Entry) -> list[str]:
    if entry.record is None:
        return ["", "", "", f"({entry.kind})", entry.shown]
    return [*record_row(entry.record)[:4], entry.shown]


@command("tree")
@click.argument("ref", type=REF, default="")
def tree(invocation: Invocation, ref: str) -> None:
    """Draw what lies below a place as a tree."""
    where = invocation.ref(ref)
    found = all_below(invocation, where, records=invocation.json)
    if invocation.json:
        say_array(entry.json() for entry in found)
        return
    branches: dict[str, Any] = {}
    for entry in found:
        branch = branches
        for piece in entry.name.split("/"):
            branch = branch.setdefault(piece, {})
    say(plain(str(where)))
    _draw(branches, "")


def _draw(branches: dict[str, Any], indent: str) -> None:
    for place, (name, inner) in enumerate(branches.items(), 1):
        last = place == len(branches)
        say(f"{indent}{'└── ' if last else '├── '}{plain(name)}{'/' if inner else ''}")
        _draw(inner, indent + ("    " if last else "│   "))


# what lies there


def directly_in(invocation: Invocation, ref: Ref, *, records: bool) -> Iterable[Entry]:
    """What lies directly in a folder; where there is none, the artifact itself.

    Raises:
        ArtifactNotFound: neither is there.
    """
    if ref.session is None and not ref.user_scope:
        entries = _folders(invocation, ref)
    else:
        entries = _grouped(_names(invocation, ref, records=records), ref)
    return _or_itself(invocation, ref, entries)


def all_below(invocation: Invocation, ref: Ref, *, records: bool) -> Iterable[Entry]:
    """Every artifact below a folder; where there is none, the artifact itself.

    Raises:
        ArtifactNotFound: neither is there.
    """
    return _or_itself(invocation, ref, _deep(invocation, ref, "", records=records))


def _deep(invocation: Invocation, ref: Ref, above: str, *, records: bool) -> Iterator[Entry]:
    if ref.session is None and not ref.user_scope:
        for folder in _folders(invocation, ref):
            yield from _deep(invocation, folder.ref, f"{above}{folder.name}/", records=records)
        return
    for entry in _names(invocation, ref, records=records):
        yield replace(entry, name=above + entry.name)


def _or_itself(invocation: Invocation, ref: Ref, entries: Iterable[Entry]) -> Iterator[Entry]:
    empty = True
    for entry in entries:
        empty = False
        yield entry
    if not empty or ref.app is None:
        return
    if ref.name is None:
        raise ArtifactNotFound(f"nothing lies at {ref}")
    record = invocation.scope_of(ref).stat(ref.name, ref.version)
    yield Entry("artifact", _spelled(ref.name).rpartition("/")[2], ref, record)


def _folders(invocation: Invocation, ref: Ref) -> Iterator[Entry]:
    from artifactfs.refs import Ref as Made

    store = invocation.open()
    if ref.app is None:
        for app in store.apps():
            yield _folder("app", Made(app))
    elif ref.user is None:
        for user in store.users(ref.app):
            yield _folder("user", Made(ref.app, user))
    else:
        for session in store.sessions(ref.app, ref.user):
            yield _folder("session", Made(ref.app, ref.user, session))
        if any(True for _ in store.scope(ref.app, ref.user).names()):
            yield _folder("user scope", Made(ref.app, ref.user, user_scope=True))


def _folder(kind: str, ref: Ref) -> Entry:
    return Entry(kind, ref.path.rpartition("/")[2], ref)


def _names(invocation: Invocation, ref: Ref, *, records: bool) -> Iterator[Entry]:
    """The artifacts below a scope or a folder of names, in a scope or as it was."""
    from artifactfs.refs import Tag

    prefix = "" if ref.name is None else f"{ref.name}/"
    scope = invocation.scope_of(ref)
    at = None if isinstance(ref.selector, Tag) else _moment(ref)
    pairs: Iterable[tuple[str, Blob | Pointer | None]]
    if isinstance(ref.selector, Tag):
        pairs = _tagged(scope, prefix, ref.selector.name)
    elif records:
        pairs = scope.records(prefix, at, shared=False)
    else:
        pairs = ((name, None) for name in scope.names(prefix, at=at, shared=False))
    for name, record in pairs:
        rest = name[len(prefix) :]
        if rest.strip("/") or not prefix:
            yield Entry("artifact", _spelled(rest), replace(ref, name=name), record)


def _tagged(scope: Scope, prefix: str, tag: str) -> Iterator[tuple[str, Blob | Pointer]]:
    """The artifacts that have *tag*, at the version that it names; not where that was deleted since."""
    from artifactfs.drivers import run
    from artifactfs.protocol.names import sort_key
    from artifactfs.protocol.tags import tags_in

    found = run(tags_in(scope.id, lambda name, one: one == tag and name.startswith(prefix)), scope.store.backend)
    for name in sorted(found, key=sort_key):
        with suppress(FileNotFoundError):
            yield name, scope.stat(name, tag)


def _moment(ref: Ref) -> datetime | None:
    """As of when a folder is listed."""
    if ref.selector is None or ref.selector == "latest":
        return None
    if isinstance(ref.selector, datetime):
        return ref.selector
    raise InvalidRef(
        f"{ref} selects a version by its number, and the artifacts of a folder have numbers of their own: write /@latest/, "
        "a tag or a time (/@2026-11-20T19:03:17Z/) behind the session"
    )


def _grouped(entries: Iterable[Entry], ref: Ref) -> Iterator[Entry]:
    """*entries*, those in the same folder as that folder, once."""
    seen = set()
    for entry in entries:
        folder, slash, _ = entry.name.partition("/")
        if not slash:
            yield entry
        elif folder not in seen:
            seen.add(folder)
            assert entry.ref.name is not None
            depth = len(_components(entry.ref.name)) - entry.name.count("/")
            inner = "/".join(_components(entry.ref.name)[:depth])
            yield Entry("folder", folder, replace(entry.ref, name=inner, selector=ref.selector, view=ref.view))


def _spelled(name: str) -> str:
    from artifactfs.refs import spell_name

    return spell_name(name)


def _components(name: str) -> list[str]:
    from artifactfs.refs import components

    return components(name)
