"""``du``: how much is stored, from one listing of all keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from artifactfs.cli.invocation import REF, Invocation, command
from artifactfs.cli.output import dumps, say, say_table, size_text
from artifactfs.errors import ArtifactNotFound, InvalidRef

if TYPE_CHECKING:
    from artifactfs.layout import ArtifactId
    from artifactfs.protocol.ops import Lazy
    from artifactfs.refs import Ref
    from artifactfs.store import ArtifactStore


@dataclass(slots=True)
class Amount:
    """What is stored somewhere: payloads of versions, and objects of any kind with their bytes."""

    versions: int = 0
    objects: int = 0
    size: int = 0

    def add(self, size: int, is_version: bool) -> None:
        self.versions += is_version
        self.objects += 1
        self.size += size

    def json(self) -> dict[str, int]:
        return {"versions": self.versions, "objects": self.objects, "bytes": self.size}


@command("du")
@click.argument("ref", type=REF, default="")
def du(invocation: Invocation, ref: str) -> None:
    """Tell how much is stored below a place.

    All versions count, records and what else is kept of them as well: bytes as the store holds them.
    """
    where = invocation.ref(ref)
    if where.selector is not None:
        raise InvalidRef(f"du counts all versions: leave {ref!r:.200} without its selector")
    total, parts = Amount(), dict[str, Amount]()
    for part, size, is_version in keys_below(invocation.open(), where):
        total.add(size, is_version)
        if part:
            parts.setdefault(part, Amount()).add(size, is_version)
    if not total.objects and where.app is not None:
        raise ArtifactNotFound(f"nothing lies at {where}")
    if invocation.json:
        told: list[dict[str, Any]] = [{"name": part, **amount.json()} for part, amount in parts.items()]
        say(dumps({"ref": str(where), **total.json(), "parts": told}))
        return
    rows = [("size", "versions", "")]
    rows += [(size_text(amount.size), str(amount.versions), part) for part, amount in parts.items()]
    rows.append((size_text(total.size), str(total.versions), str(where)))
    say_table(rows, right=(0, 1))


def keys_below(store: ArtifactStore, ref: Ref) -> Iterator[tuple[str, int, bool]]:
    """Of each key below *ref* the part that it lies in, as ``ls`` prints it, its bytes, and whether it is a payload.

    The part is empty where the key is the place's own.
    """
    from artifactfs.drivers import iterate
    from artifactfs.layout import STORE_FOLDER
    from artifactfs.protocol.places import Places

    places = Places(store._core.custody)
    last: ArtifactId | None = None
    part: str | None = ""
    for key, size in iterate(_listed(_folder(store, ref)), store.backend):
        place = places.of(key)
        if place is None:
            if ref.name is None and not key.startswith(STORE_FOLDER):
                yield "", size, False
            continue
        if place.artifact is not last:
            last, part = place.artifact, _part(ref, place.artifact)
        if part is not None:
            yield part, size, place.kind == "payload"


def _listed(folder: str) -> Lazy[tuple[str, int]]:
    from artifactfs.protocol.ops import Emit, List

    after: str | None = ""
    while after is not None:
        (page,) = yield (List(folder, after, deep=True),)
        for entry in page.entries:
            yield (Emit((folder + entry.name, entry.size)),)
        after = page.next


def _folder(store: ArtifactStore, ref: Ref) -> str:
    from artifactfs.names import encode

    if ref.app is None:
        return ""
    if ref.user is None:
        return f"{encode(ref.app, 'app')}/"
    scope = store.scope(ref.app, ref.user, ref.session).id
    if ref.session is None and not ref.user_scope:
        return scope.folder.removesuffix("user/")
    return scope.folder


def _part(ref: Ref, artifact: ArtifactId) -> str | None:
    """The part of *ref* that an artifact lies in; empty where it is *ref* itself, None where it lies elsewhere."""
    from artifactfs.refs import Ref as Made
    from artifactfs.refs import components, spell

    scope = artifact.scope
    if ref.app is None:
        return Made(scope.app).path + "/"
    if ref.user is None:
        return spell(scope.user, in_name=False) + "/"
    if ref.session is None and not ref.user_scope:
        return (
            Made(scope.app, scope.user, scope.session, user_scope=scope.session is None).path.rpartition("/")[2] + "/"
        )
    rest = artifact.name
    if ref.name is not None:
        if rest == ref.name:
            return ""
        if not rest.startswith(f"{ref.name}/"):
            return None
        rest = rest[len(ref.name) + 1 :]
    first, *inner = components(rest)
    return spell(first) + "/" * bool(inner)
