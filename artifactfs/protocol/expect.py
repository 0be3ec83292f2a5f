"""Compare-and-set: claim a number such that the version it becomes directly follows the expected one.

Every number in between must be settled first (a fence or a tombstone stands there, or a stale claim is fenced now), and
the claim must be of the number just above all that was listed: whoever loses it lists again.
"""

from __future__ import annotations

from typing import Literal, NoReturn

from artifactfs.errors import Conflict
from artifactfs.layout import ArtifactId
from artifactfs.protocol.claim import Claim, Draft, Seen, abandon, try_claim
from artifactfs.protocol.env import Env
from artifactfs.protocol.fence import settle
from artifactfs.protocol.listing import View, look, look_all
from artifactfs.protocol.ops import Steps
from artifactfs.protocol.read import Found, confirm, fetch
from artifactfs.records import Removed

Expected = int | Literal["absent"]


def claim_after(env: Env, artifact: ArtifactId, draft: Draft, expect: Expected, known: int | None) -> Steps[Claim]:
    """Claim the number whose version will directly follow *expect*.

    *known* is the newest number where that was seen a short while ago, and was that of a version: then no listing is
    needed, for a create-only claim of the next one says that nothing came in between.

    Raises:
        Conflict: the newest version is another, or is about to be.
    """
    while True:
        followed: int | None
        seen = Seen()
        if expect != "absent" and known == expect:
            followed, number = expect, expect + 1
        else:
            view = yield from _view_from(artifact, expect)
            met = yield from followed_version(env, artifact, view, expect)
            if met == "look again":
                continue
            followed = met
            number, seen = view.top + 1, Seen.in_view(artifact, view)
        claim = yield from try_claim(env, artifact, draft, number, seen)
        known = None
        if claim is None:
            continue
        if followed is None or (yield from still_there(artifact, followed)):
            return claim
        yield from abandon(env, artifact, claim)
        if expect == "absent":
            continue
        _conflict(artifact, expect, f"version {expect} is not there", in_progress=False)


def still_there(artifact: ArtifactId, number: int) -> Steps[bool]:
    return isinstance((yield from fetch(artifact, number, strict=False)), Found)


def followed_version(
    env: Env, artifact: ArtifactId, view: View, expect: Expected
) -> Steps[int | Literal["look again"] | None]:
    """The version that the next one will directly follow: *expect*, or for ``absent`` a removal, or None.

    Goes from the top downwards, and settles every number that it passes. A claim that turns out to have been published
    meanwhile is a version that no listing has shown yet: look again.
    """
    bottom = -1 if expect == "absent" else expect
    mark = None if view.payloads else view.top
    above = {number for number in view.payloads.keys() | view.records.keys() if number > bottom}
    for number in sorted(above, reverse=True):
        if number in view.payloads:
            seen = yield from confirm(artifact, number, view.payloads[number])
            if not isinstance(seen, Found):
                continue
            if expect == "absent" and isinstance(seen.record, Removed):
                return number
            _conflict(artifact, expect, f"version {number} is there", in_progress=False)
        else:
            state = yield from settle(env, artifact, number, mark)
            if state == "live":
                _conflict(artifact, expect, f"version {number} is being saved", in_progress=True)
            if state == "published":
                return "look again"
    if expect == "absent":
        return None
    if expect not in view.payloads:
        _conflict(artifact, expect, f"version {expect} is not there", in_progress=False)
    return expect


def _view_from(artifact: ArtifactId, expect: Expected) -> Steps[View]:
    view = yield from look(artifact)
    if view.floor > (0 if expect == "absent" else expect):
        view = yield from look_all(artifact)
    return view


def _conflict(artifact: ArtifactId, expect: Expected, why: str, *, in_progress: bool) -> NoReturn:
    raise Conflict(
        f"{artifact.label!r} was expected to be {'absent' if expect == 'absent' else f'at version {expect}'}, but {why}; "
        "nothing was saved: load it again and decide anew",
        artifact=artifact.label,
        in_progress=in_progress,
    )
