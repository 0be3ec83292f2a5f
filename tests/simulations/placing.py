"""Placing as processes of the simulator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any

from artifactfs.protocol import place as place_module
from artifactfs.protocol.listing import look_all
from artifactfs.protocol.ops import Steps
from artifactfs.testing.simulated_processes import Process

from .processes import ARTIFACT, _plainly, data_of, env
from .properties import Role, content_of

AT = datetime(2024, 5, 17, tzinfo=UTC)

Place = Callable[..., Steps[Any]]


def placer(
    name: str, number: int, of: str = "elsewhere", *, place: Place = place_module.place, may_fail: bool = False
) -> Process:
    """Brings in the version *number* that holds the data of *of*, as an import does: not where it stands already."""
    data = data_of(of)
    coming = place_module.Coming(
        number, AT, "text/plain", {}, size=len(data), sha256=hashlib.sha256(data).hexdigest(), data=data
    )

    def steps() -> Steps[Any]:
        own = env(name)
        view = yield from look_all(ARTIFACT)
        stands = yield from place_module.standings(ARTIFACT, view, [(number, AT, len(data))])
        if stands[number] in ("there", "taken", "ended"):
            return stands[number]
        yield from place_module.fill(own, ARTIFACT, range(view.top + 1, number), first=not view.payloads)
        return (yield from place(own, ARTIFACT, coming))

    def outcome(result: Any, emitted: Sequence[Any]) -> Hashable:
        if isinstance(result, Exception):
            return _plainly(result, emitted)
        return ("placed", number) if result in ("placed", "there") else ("done",)

    content = content_of(data, place_module.origin(ARTIFACT, number))
    return Process(name, steps, outcome, role=Role("other", content, number=number, may_fail=may_fail))
