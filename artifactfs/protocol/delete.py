"""Deleting for good: the bytes of a version are gone, a tombstone keeps its number taken.

First comes a look whether the version is there (a claim must not be ended this way), then the tombstone, then the
payload goes: from the tombstone on, the version does not exist for any reader.
"""

from __future__ import annotations

from artifactfs.backends.base import Got
from artifactfs.errors import ArtifactNotFound, VersionNotFound
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import bury
from artifactfs.protocol.env import Env
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.marks import mark_hidden
from artifactfs.protocol.ops import Delete, Steps, together
from artifactfs.protocol.read import AT_ONCE, Found, Gone, confirm, fetch


def delete_version(env: Env, artifact: ArtifactId, number: int) -> Steps[None]:
    """Delete one version. The artifact's name gets its mark first where this is the newest version there is.

    Raises:
        VersionNotFound: there is no such version. Where one was deleted already, its payload is removed once more.
    """
    seen = yield from is_deletable(artifact, number)
    if isinstance(seen, Found):
        view = yield from look(artifact)
        if not (yield from _newer_exists(artifact, view, number)):
            yield from mark_hidden(artifact, max(view.top, number))
    if seen in ("vanished", "fence") or not (yield from end_version(env, artifact, number, seen)):
        raise VersionNotFound(
            f"artifact {artifact.label!r} has no version {number} to delete", artifact=artifact.label, version=number
        )


def delete_all(env: Env, artifact: ArtifactId) -> Steps[None]:
    """Delete every published version, the newest last; numbers that are claimed and not published are left alone.

    Raises:
        ArtifactNotFound: there is none.
    """
    view = yield from look_all(artifact)
    while not (yield from _delete_listed(env, artifact, view)):
        before, view = view, (yield from look_all(artifact))
        if view.same_keys(before):  # else others have deleted all that was listed, and perhaps saved more
            raise ArtifactNotFound(f"there is no artifact {artifact.label!r} to delete", artifact=artifact.label)


def _delete_listed(env: Env, artifact: ArtifactId, view: View) -> Steps[bool]:
    """Delete the versions that *view* shows; False where none of them was there any more."""
    numbers = sorted(view.payloads)
    if numbers:
        yield from mark_hidden(artifact, view.top)
    found = False
    older, last = numbers[:-1], numbers[-1:]
    for some in [*(older[start : start + AT_ONCE] for start in range(0, len(older), AT_ONCE)), last]:
        ended = yield from together(*(end_version(env, artifact, number) for number in some))
        found = found or any(ended)
    return found


def end_version(env: Env, artifact: ArtifactId, number: int, seen: Found | Gone | None = None) -> Steps[bool]:
    """Tombstone and remove one version, which was just *seen*; False where there is none.

    A tombstone that is met after an attempt of ours may be our own, whose answer was lost: the version was there, and
    is gone by now.
    """
    tried = False
    while True:
        if seen is None:
            seen = yield from is_deletable(artifact, number)
        if isinstance(seen, Found):
            got = Got(seen.raw, len(seen.raw), 0.0, seen.tag) if seen.tag else None
            if (yield from bury(env, artifact, number, got, "deleted")) is None:
                tried, seen = True, None
                continue
        elif seen != "deleted":
            return False
        yield (Delete((artifact.payload(number),)),)
        return tried or isinstance(seen, Found)


def is_deletable(artifact: ArtifactId, number: int) -> Steps[Found | Gone]:
    """The version if it is there, damaged or not; a claim must not be ended this way."""
    return (yield from fetch(artifact, number, strict=False))


def _newer_exists(artifact: ArtifactId, view: View, number: int) -> Steps[bool]:
    """Whether a version above *number* is there, so that deleting it hides nothing."""
    for above in sorted((one for one in view.payloads if one > number), reverse=True):
        if isinstance((yield from confirm(artifact, above, view.payloads[above])), Found):
            return True
    return False
