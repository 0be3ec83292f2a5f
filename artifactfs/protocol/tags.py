"""Tags: words that name a version of an artifact, and may be moved to another. One small object each.

A tag is read fresh each time. It is created, and moved on the condition that it is still the one that was read, so that
of two who move it at the same time from the same version only one succeeds (docs/spec.md, "Tags").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import UNSET

from artifactfs.backends.base import Got, Page, Written
from artifactfs.errors import (
    BackendError,
    BackendUnavailable,
    Conflict,
    IntegrityError,
    KeyUnavailable,
    UnsafeBackend,
    UnsupportedFormat,
    VersionNotFound,
)
from artifactfs.layout import ArtifactId, ScopeId
from artifactfs.names import decode as decode_name
from artifactfs.names import is_segment
from artifactfs.protocol.env import Env
from artifactfs.protocol.ops import Create, Delete, Get, List, Put, Replace, Steps, together
from artifactfs.protocol.publish import ROUNDS
from artifactfs.protocol.read import AT_ONCE
from artifactfs.protocol.sealing import begin, data_key
from artifactfs.records import CONTENT_TYPE, TagRecord, decode_tag, encode
from artifactfs.refs import is_tag

ExpectedTag: TypeAlias = int | Literal["absent"]

UNREADABLE = (IntegrityError, KeyUnavailable, UnsupportedFormat)
"""Why what a tag names cannot be told."""


def put_tag(env: Env, artifact: ArtifactId, tag: str, number: int, expect: ExpectedTag | None) -> Steps[None]:
    """Let *tag* name version *number*.

    Raises:
        Conflict: it does not name the version that is expected, or there is one although none is; nothing was changed.
        BackendUnavailable: that is so, and the request was sent more than once: it may have been moved, and by others since.
        UnsafeBackend: the store does not rewrite on a condition, and an existing tag was to be moved on one.
    """
    key, write_id = artifact.tag(tag), env.write_id()
    seal = yield from begin(artifact, write_id)
    record = TagRecord(
        filename=artifact.name,
        tag=tag,
        version=number,
        timestamp=env.stamp(),
        write_id=write_id,
        encryption=UNSET if seal is None else seal.encryption,
    )
    data = encode(record) if seal is None else seal.stamp_tag(artifact, record, encode(record))
    sent_again = False
    for _ in range(ROUNDS):
        got: Got | None
        (got,) = yield (Get(key),)
        if got is not None and got.data == data:
            return  # the answer to an earlier round was lost
        if expect is not None:
            yield from _check(artifact, tag, got, expect, sent_again)
        written: Written
        if got is None:
            (written,) = yield (Create(key, data, CONTENT_TYPE),)
        elif env.conditional:
            (written,) = yield (Replace(key, data, CONTENT_TYPE, got.tag),)
        elif expect is None:
            (written,) = yield (Put(key, data, CONTENT_TYPE, once=True),)
        else:
            raise UnsafeBackend(
                f"tag {tag!r} of {artifact.label!r} cannot be moved with expect=: the store does not rewrite on a "
                "condition; move it without, where nobody else moves it",
                artifact=artifact.label,
            )
        if written.done:
            return
        sent_again = sent_again or written.tries > 1
    raise BackendError(
        f"tag {tag!r} of {artifact.label!r} was moved by others {ROUNDS} times meanwhile; try again",
        artifact=artifact.label,
    )


def _check(artifact: ArtifactId, tag: str, got: Got | None, expect: ExpectedTag, sent_again: bool) -> Steps[None]:
    there = None if got is None else (yield from _number(artifact, tag, got.data))
    if there == (None if expect == "absent" else expect):
        return
    now = "there is no such tag" if there is None else f"it names version {there}"
    wanted = "none to be there" if expect == "absent" else f"it to name version {expect}"
    if sent_again:
        raise BackendUnavailable(
            f"tag {tag!r} of {artifact.label!r}: the store had to be asked again, and {now} by now; it may have named in "
            "between what you asked for",
            artifact=artifact.label,
            landed=True,
        )
    raise Conflict(f"tag {tag!r} of {artifact.label!r}: {now}; you expected {wanted}", artifact=artifact.label)


def remove_tag(artifact: ArtifactId, tag: str) -> Steps[None]:
    """Take *tag* away.

    Raises:
        VersionNotFound: there is none.
    """
    (got,) = yield (Get(artifact.tag(tag)),)
    if got is None:
        raise unknown(artifact, tag)
    yield (Delete((artifact.tag(tag),)),)


def resolve(artifact: ArtifactId, tag: str) -> Steps[int]:
    """The number of the version that *tag* names; that version may be gone.

    Raises:
        VersionNotFound: there is no such tag.
        IntegrityError, KeyUnavailable: it is not what was set, or that cannot be told here.
    """
    got: Got | None
    (got,) = yield (Get(artifact.tag(tag)),)
    if got is None:
        raise unknown(artifact, tag)
    return (yield from _number(artifact, tag, got.data))


def unknown(artifact: ArtifactId, tag: str) -> VersionNotFound:
    return VersionNotFound(f"artifact {artifact.label!r} has no tag {tag!r}", artifact=artifact.label, version=tag)


def _number(artifact: ArtifactId, tag: str, data: bytes) -> Steps[int]:
    record = decode_tag(data, artifact.tag(tag))
    if (record.filename, record.tag) != (artifact.name, tag):
        raise IntegrityError(
            f"the tag {artifact.tag(tag)!r} says that it is {record.tag!r} of {record.filename!r}: it was moved or "
            "altered; set it again",
            artifact=artifact.label,
        )
    if artifact.custody.needs_key(artifact, record, data):
        artifact.custody.check_tag(artifact, tag, data, (yield from data_key(artifact, record)))
    return record.version


def tags_of(artifact: ArtifactId) -> Steps[dict[str, int]]:
    """Each tag of an artifact with the number that it names, sorted.

    Raises:
        IntegrityError, KeyUnavailable: of one of them that cannot be told.
    """
    found: dict[str, int] = {}
    for tag in (yield from _listed(artifact.tags_folder)):
        if is_tag(tag):
            (got,) = yield (Get(artifact.tag(tag)),)
            if got is not None:
                found[tag] = yield from _number(artifact, tag, got.data)
    return found


def tags_in(
    scope: ScopeId, wanted: Callable[[str, str], bool] = lambda name, tag: True
) -> Steps[dict[str, dict[str, int | None]]]:
    """The tags of all artifacts in *scope* by name, those that are *wanted* of them; None where the number cannot be told.

    One listing for a thousand tags, and one read for each.
    """
    listed = yield from _listed(scope.tags_folder, deep=True)
    places = [place for path in listed for place in tag_at(scope, path) if wanted(place[0].name, place[1])]
    found: dict[str, dict[str, int | None]] = {}
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        numbers = yield from together(*(_told(artifact, tag) for artifact, tag in some))
        for (artifact, tag), number in zip(some, numbers, strict=True):
            if number != _GONE:
                found.setdefault(artifact.name, {})[tag] = number
    return found


def tag_at(scope: ScopeId, path: str) -> list[tuple[ArtifactId, str]]:
    """The tag whose key in the scope's folder of tags is *path*; none, where another program put something there."""
    segment, _, tag = path.partition("/")
    return [(ArtifactId(scope, decode_name(segment)), tag)] if is_tag(tag) and is_segment(segment) else []


_GONE = -1


def _told(artifact: ArtifactId, tag: str) -> Steps[int | None]:
    try:
        return (yield from resolve(artifact, tag))
    except VersionNotFound:
        return _GONE
    except UNREADABLE:
        return None


def _listed(folder: str, *, deep: bool = False) -> Steps[list[str]]:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page: Page
        (page,) = yield (List(folder, after, deep=deep),)
        found += [entry.name for entry in page.entries]
        after = page.next
    return found
