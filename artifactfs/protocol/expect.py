"""Compare-and-set: claim a number such that the version it becomes directly follows the expected one.

Every number in between must be settled first (a fence or a tombstone stands there, or a stale claim is fenced now), and
the claim must be of the number just above all that was listed: whoever loses it lists again.
"""

from __future__ import annotations

from typing import Literal, NoReturn

from artifactfs.backends.base import Got
from artifactfs.errors import Conflict
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import Claim, Draft, Memory, Seen, abandon, try_claim
from artifactfs.protocol.env import Clocked, Env
from artifactfs.protocol.fence import settle
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Get, Steps
from artifactfs.protocol.read import AT_ONCE, Found, confirm, fetch
from artifactfs.records import Removed, Tombstone, decode

Expected = int | Literal["absent"]


def claim_after(env: Env, artifact: ArtifactId, draft: Draft, expect: Expected, memory: Memory | None) -> Steps[Claim]:
    """Claim the number whose version will directly follow *expect*.

    Where *memory* has that as the newest version no listing is needed: a create-only claim of the next number says that
    nothing came in between.

    Raises:
        Conflict: the newest version is another, or is about to be.
    """
    while True:
        followed: int | None
        if memory is not None and memory.next - 1 == expect:
            followed, number, seen = expect, memory.next, memory.seen
        else:
            at = Clocked.read(env)
            view = yield from look(artifact)
            met = yield from followed_version(env, artifact, view, expect)
            if met == "look deeper":
                view = yield from look_all(artifact)
                met = yield from followed_version(env, artifact, view, expect)
            if isinstance(met, str):
                continue
            followed, number, seen = met, view.top + 1, Seen.in_view(at, artifact, view)
        memory = None
        claim = yield from try_claim(env, artifact, draft, number, seen)
        if claim is None:
            continue
        if (yield from _follows(env, artifact, claim, followed)):
            return claim
        if expect != "absent":
            _conflict(artifact, expect, f"version {expect} is not there", in_progress=False)


def _follows(env: Env, artifact: ArtifactId, claim: Claim, followed: int | None) -> Steps[bool]:
    """Whether the version to follow is there now that its successor is claimed; else the claim is given up."""
    there = False
    try:
        there = followed is None or (yield from still_there(artifact, followed))
    except GeneratorExit:
        raise
    except BaseException:
        yield from abandon(env, artifact, claim)
        raise
    if not there:
        yield from abandon(env, artifact, claim)
    return there


def still_there(artifact: ArtifactId, number: int) -> Steps[bool]:
    return isinstance((yield from fetch(artifact, number, strict=False)), Found)


def followed_version(
    env: Env, artifact: ArtifactId, view: View, expect: Expected
) -> Steps[int | Literal["look again", "look deeper"] | None]:
    """The version that the next one will directly follow: *expect*, or for ``absent`` a removal, or None.

    Goes from the top downwards, and settles every number that it passes. A claim that turns out to have been published
    meanwhile is a version that no listing has shown yet: look again. Where the view does not reach down far enough, look
    deeper.
    """
    bottom = -1 if expect == "absent" else expect
    mark = None if view.payloads else view.top
    keys = view.payloads.keys() | view.records.keys()
    above = sorted((number for number in keys if number > bottom and number >= view.floor), reverse=True)
    for start in range(0, len(above), AT_ONCE):
        some = above[start : start + AT_ONCE]
        ended = yield from _ended_among(artifact, view, some)
        for number in some:
            if number in ended:
                continue
            if number in view.payloads:
                seen = yield from confirm(artifact, number, view.payloads[number])
                if not isinstance(seen, Found):
                    continue
                if expect == "absent" and isinstance(seen.record, Removed):
                    return number
                _conflict(artifact, expect, f"version {number} is there", in_progress=False)
            state = yield from settle(env, artifact, number, mark)
            if state == "live":
                _conflict(artifact, expect, f"version {number} is being saved", in_progress=True)
            if state == "published":
                return "look again"
    if view.floor > max(bottom, 0):
        return "look deeper"
    if expect == "absent":
        return None
    if expect not in view.payloads:
        _conflict(artifact, expect, f"version {expect} is not there", in_progress=False)
    return expect


def _ended_among(artifact: ArtifactId, view: View, numbers: list[int]) -> Steps[set[int]]:
    """Those of *numbers* without a payload that a tombstone has ended; all that their sizes leave open are read at once."""
    short = [
        number
        for number in numbers
        if number not in view.payloads and artifact.custody.may_be_tombstone(artifact, number, view.records[number][0])
    ]
    if not short:
        return set()
    read: tuple[Got | None, ...]
    read = yield tuple(Get(artifact.record(number)) for number in short)
    return {
        number
        for number, got in zip(short, read, strict=True)
        if got is not None and isinstance(decode(got.data, artifact.record(number)), Tombstone)
    }


def _conflict(artifact: ArtifactId, expect: Expected, why: str, *, in_progress: bool) -> NoReturn:
    raise Conflict(
        f"{artifact.label!r} was expected to be {'absent' if expect == 'absent' else f'at version {expect}'}, but {why}; "
        "nothing was saved: load it again and decide anew",
        artifact=artifact.label,
        in_progress=in_progress,
    )
